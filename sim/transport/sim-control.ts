/** Control channels of the simulated network: identity is given, as if a certificate had proven it. */
import type {
  ControlChannel,
  ControlEvent,
  ControlTransport,
  HostPort,
} from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import { DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import type { SimConnection, SimNetwork } from './network.ts';

interface SimListener {
  readonly nodeId: string;
  readonly onChannel: (channel: ControlChannel) => void;
}

const MAX_BUFFERED_BYTES = 4 * 2 ** 20;
const HANDSHAKE_TIMEOUT_US = 5_000_000;

export function simControlTransport(network: SimNetwork, nodeId: string): ControlTransport {
  return {
    listen: (address, onChannel, done) => {
      const port = network.bind<SimListener>(address, { nodeId, onChannel });
      network.soon(() => {
        if (port === null) done(failed(taken(address)));
        else done(succeeded({ port, close: () => network.unbind(address.host, port) }));
      });
    },
    dial: (address, expectedPeer, done) => {
      let answered = false;
      const answer = (outcome: Parameters<typeof done>[0]): void => {
        if (answered) return;
        answered = true;
        timeout.cancel();
        done(outcome);
      };
      const timeout = network.clock.setTimer(network.clock.nowUs() + HANDSHAKE_TIMEOUT_US, () =>
        answer(failed(unreachable(address, 'no handshake in time'))),
      );
      network.deliver(nodeId, expectedPeer, () => {
        const listener = network.listenerAt<SimListener>(address);
        network.deliver(nodeId, expectedPeer, () => {
          if (answered) return;
          if (listener === null) return answer(failed(unreachable(address, 'refused')));
          if (listener.nodeId !== expectedPeer) {
            const message = `expected node ${expectedPeer}, found ${listener.nodeId}`;
            return answer(failed(new DwcpError('ERR_DWCP_IDENTITY', message)));
          }
          const pipe = new SimPipe(network, nodeId, expectedPeer);
          listener.onChannel(pipe.ends[1]);
          answer(succeeded(pipe.ends[0]));
        });
      });
    },
  };
}

class SimPipe implements SimConnection {
  readonly a: string;
  readonly b: string;
  readonly ends: readonly [SimEnd, SimEnd];

  constructor(network: SimNetwork, a: string, b: string) {
    this.a = a;
    this.b = b;
    const secret = network.uniqueBytes(32);
    const ends: [SimEnd, SimEnd] = [
      new SimEnd(network, this, a, b, secret, () => ends[1]),
      new SimEnd(network, this, b, a, secret, () => ends[0]),
    ];
    this.ends = ends;
    network.add(this);
  }

  reset(): void {
    const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'the connection was reset');
    for (const end of this.ends) end.end(error);
  }
}

class SimEnd implements ControlChannel {
  readonly peer: string;
  readonly secret: Uint8Array;
  readonly #network: SimNetwork;
  readonly #pipe: SimPipe;
  readonly #self: string;
  readonly #other: () => SimEnd;
  #listener: ((event: ControlEvent) => void) | null = null;
  /** Frames that came before the subscription: the socket's receive buffer. */
  #waiting: ControlEvent[] = [];
  #inFlightBytes = 0;
  #closed = false;

  constructor(
    network: SimNetwork,
    pipe: SimPipe,
    self: string,
    peer: string,
    secret: Uint8Array,
    other: () => SimEnd,
  ) {
    this.#network = network;
    this.#pipe = pipe;
    this.#self = self;
    this.#other = other;
    this.peer = peer;
    this.secret = secret.slice();
  }

  subscribe(listener: (event: ControlEvent) => void): void {
    assert(this.#listener === null, 'a channel is subscribed once');
    this.#listener = listener;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const event of waiting) this.#network.soon(() => listener(event));
  }

  send(frame: Uint8Array): 'accepted' | 'full' | 'closed' {
    if (this.#closed) return 'closed';
    if (this.#inFlightBytes + frame.length > MAX_BUFFERED_BYTES) return 'full';
    const bytes = Uint8Array.from(frame);
    // What a cut wire swallows stays in the sender's buffer, as TCP's would.
    this.#inFlightBytes += bytes.length;
    this.#network.deliver(this.#self, this.peer, () => {
      this.#inFlightBytes -= bytes.length;
      this.#other().#arrive({ type: 'frame', frame: bytes });
    });
    return 'accepted';
  }

  close(): void {
    if (this.#closed) return;
    this.#network.deliver(this.#self, this.peer, () => this.#other().end(null));
    this.end(null);
  }

  end(error: DwcpError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#network.remove(this.#pipe);
    this.#network.soon(() => this.#emit({ type: 'closed', error }));
  }

  #arrive(event: ControlEvent): void {
    if (!this.#closed) this.#emit(event);
  }

  #emit(event: ControlEvent): void {
    if (this.#listener === null) this.#waiting.push(event);
    else this.#listener(event);
  }
}

function taken(address: HostPort): DwcpError {
  return new DwcpError('ERR_DWCP_LISTEN', `${address.host}:${address.port} is taken`);
}

function unreachable(address: HostPort, why: string): DwcpError {
  const where = `${address.host}:${address.port}`;
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `cannot reach ${where}: ${why}`);
}
