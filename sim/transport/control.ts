/** Control channels over simulated connections: identity is given, as if certificates had proven it. */
import type {
  ControlChannel,
  ControlEvent,
  ControlTransport,
  HostPort,
} from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import { DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import type { SimHost } from '../world/host.ts';
import type { SimTcp, TcpEnd, TcpEvent } from './tcp.ts';

const MAX_BUFFERED_BYTES = 4 * 2 ** 20;
const HANDSHAKE_TIMEOUT_US = 5_000_000;
const HANDSHAKE_BYTES = 2_000;
const SECRET_BYTES = 32;

/** The three flights of TLS 1.3, reduced to who one is and what both end up sharing. */
type Flight =
  | { readonly type: 'clientHello'; readonly secret: Uint8Array }
  | { readonly type: 'serverFinished'; readonly node: string }
  | { readonly type: 'clientFinished'; readonly node: string };

export function simControl(tcp: SimTcp, host: SimHost): ControlTransport {
  return {
    listen: (address, onChannel, done) => {
      const port = tcp.listen(host, address.port, (end) => accept(end, onChannel));
      host.after(0, 'listening', () => {
        if (port === null) return done(failed(taken(address)));
        done(succeeded({ port, close: () => tcp.unlisten(host, port) }));
      });
    },
    dial: (address, expectedPeer, done) => {
      let isOver = false;
      const finish = (outcome: Parameters<typeof done>[0]): void => {
        if (isOver) return;
        isOver = true;
        timeout.cancel();
        done(outcome);
      };
      const timeout = host.clock.setTimer(host.clock.nowUs() + HANDSHAKE_TIMEOUT_US, () => {
        cancel();
        finish(failed(unreachable(address, 'no handshake in time')));
      });
      const cancel = tcp.dial(host, address, (end) => {
        if (end === null) return finish(failed(unreachable(address, 'refused')));
        const secret = host.world.random(`${host.name}/tls`);
        const bytes = Uint8Array.from({ length: SECRET_BYTES }, () => secret.below(256));
        const channel = new SimChannel(end, expectedPeer, bytes);
        end.send({ type: 'clientHello', secret: bytes } satisfies Flight, HANDSHAKE_BYTES, bytes);
        end.subscribe((event) => {
          if (isOver) return channel.receive(event);
          const flight = event.type === 'data' ? (event.data as Flight) : null;
          if (event.type === 'writable') return;
          if (flight?.type !== 'serverFinished') {
            end.abort();
            return finish(failed(unreachable(address, 'closed by the peer')));
          }
          if (flight.node !== expectedPeer) {
            end.abort();
            const message = `expected node ${expectedPeer}, found ${flight.node}`;
            return finish(failed(new DwcpError('ERR_DWCP_IDENTITY', message)));
          }
          const last: Flight = { type: 'clientFinished', node: host.name };
          end.send(last, HANDSHAKE_BYTES, 'finished');
          finish(succeeded(channel));
        });
      });
    },
  };
}

function accept(end: TcpEnd, onChannel: (channel: ControlChannel) => void): void {
  const { host } = end;
  let channel: SimChannel | null = null;
  let secret: Uint8Array | null = null;
  const timeout = host.clock.setTimer(host.clock.nowUs() + HANDSHAKE_TIMEOUT_US, () => end.abort());
  end.subscribe((event) => {
    if (channel !== null) return channel.receive(event);
    if (event.type === 'writable') return;
    const flight = event.type === 'data' ? (event.data as Flight) : null;
    if (flight?.type === 'clientHello') {
      secret = flight.secret;
      const answer: Flight = { type: 'serverFinished', node: host.name };
      return end.send(answer, HANDSHAKE_BYTES, 'finished');
    }
    timeout.cancel();
    if (flight?.type !== 'clientFinished' || secret === null) return end.abort();
    channel = new SimChannel(end, flight.node, secret);
    onChannel(channel);
  });
}

class SimChannel implements ControlChannel {
  readonly peer: string;
  readonly secret: Uint8Array;
  readonly #end: TcpEnd;
  #listener: ((event: ControlEvent) => void) | null = null;
  /** What came before the subscription: the socket's receive buffer. */
  readonly #early: ControlEvent[] = [];
  #isClosed = false;

  constructor(end: TcpEnd, peer: string, secret: Uint8Array) {
    this.#end = end;
    this.peer = peer;
    this.secret = secret.slice();
  }

  subscribe(listener: (event: ControlEvent) => void): void {
    assert(this.#listener === null, 'a channel is subscribed once');
    this.#listener = listener;
    this.#end.host.after(0, 'early frames', () => {
      for (const event of this.#early.splice(0)) listener(event);
    });
  }

  send(frame: Uint8Array): 'accepted' | 'full' | 'closed' {
    if (this.#isClosed || !this.#end.isOpen) return 'closed';
    if (this.#end.unackedBytes + frame.length > MAX_BUFFERED_BYTES) return 'full';
    const bytes = Uint8Array.from(frame);
    this.#end.send(bytes, bytes.length, bytes);
    return 'accepted';
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#end.close();
    this.#end.host.after(0, 'closed', () => this.#deal({ type: 'closed', error: null }));
  }

  receive(event: TcpEvent): void {
    if (this.#isClosed || event.type === 'writable') return;
    if (event.type === 'data' && !event.damaged) {
      return this.#deal({ type: 'frame', frame: event.data as Uint8Array });
    }
    this.#isClosed = true;
    // TLS takes no record that was touched: the connection ends there.
    if (event.type === 'data') this.#end.abort();
    this.#deal({ type: 'closed', error: event.type === 'ended' ? null : broken(event) });
  }

  #deal(event: ControlEvent): void {
    if (this.#listener === null || this.#early.length > 0) this.#early.push(event);
    else this.#listener(event);
  }
}

function broken(event: TcpEvent): DwcpError {
  const errno = event.type === 'broken' ? event.errno : 'EBADMSG';
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `the connection broke: ${errno}`, { errno });
}

function taken(address: HostPort): DwcpError {
  return new DwcpError('ERR_DWCP_LISTEN', `${address.host}:${address.port} is taken`);
}

function unreachable(address: HostPort, why: string): DwcpError {
  const where = `${address.host}:${address.port}`;
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `cannot reach ${where}: ${why}`);
}
