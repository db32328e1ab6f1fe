/**
 * Connections of a simulated world: a reliable byte stream each way over links that lose, delay, clog
 * and cut. What is lost is sent again, later and later, until one side gives up. A cut is silence: each
 * end finds out by itself, or never (half-open). Ends belong to the process that opened them and go
 * with it; the segments in between belong to the machines.
 */
import { assert } from '../../src/util/assert.ts';
import type { SimEvent } from '../world/event-queue.ts';
import type { SimHost } from '../world/host.ts';
import type { World } from '../world/world.ts';

export type TcpEvent =
  | { readonly type: 'data'; readonly data: unknown; readonly damaged: boolean }
  /** The peer closed its side, in order behind its data. */
  | { readonly type: 'ended' }
  /** Reset, refused, or given up; nothing more follows. */
  | { readonly type: 'broken'; readonly errno: string }
  /** Acknowledged bytes made room. */
  | { readonly type: 'writable' };

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

interface Segment {
  readonly bytes: number;
  readonly data: unknown;
  /** What the trace shows of it. */
  readonly trace: unknown;
}

const RETRY_MIN_US = 200_000;
const RETRY_MAX_US = 1_600_000;
/** As `TCP_USER_TIMEOUT` of the real transports. */
const GIVE_UP_US = 15_000_000;
const SYN_RETRY_US = 1_000_000;
const SEGMENT_OVERHEAD_BYTES = 66;
const END: unique symbol = Symbol('end of stream');

type Accept = (end: TcpEnd) => void;

export class SimTcp {
  readonly world: World;
  readonly ends: Set<TcpEnd> = new Set();
  readonly #listeners = new Map<string, { readonly host: SimHost; readonly accept: Accept }>();
  #ports = 40_000;
  #names = 0;

  constructor(world: World) {
    this.world = world;
    for (const host of world.hosts) host.whenCrashed(() => this.#crashed(host));
  }

  /** The port that was bound, or null when it is taken. Port 0 picks a free one. */
  listen(host: SimHost, port: number, accept: Accept): number | null {
    this.#ports += 1;
    const bound = port === 0 ? this.#ports : port;
    const key = `${host.name}:${bound}`;
    if (this.#listeners.has(key)) return null;
    this.#listeners.set(key, { host, accept });
    return bound;
  }

  unlisten(host: SimHost, port: number): void {
    this.#listeners.delete(`${host.name}:${port}`);
  }

  /** The end is told `connected` by its first event, or that it broke. */
  dial(host: SimHost, address: TcpAddress, connected: (end: TcpEnd | null) => void): () => void {
    const { world } = this;
    const { network } = world;
    const target = world.hostNamed(address.host);
    const key = `${address.host}:${address.port}`;
    let isOver = false;
    const finish = (end: TcpEnd | null): void => {
      if (isOver) return;
      isOver = true;
      connected(end);
    };
    const later = (atUs: number, kind: string, owner: SimHost | null, run: () => void): void => {
      world.schedule(atUs, kind, `${host.name}>${key}`, null, run, owner);
    };
    const attempt = (): void => {
      if (isOver) return;
      const arriveUs = network.carry(host, target, SEGMENT_OVERHEAD_BYTES);
      if (arriveUs !== null) later(arriveUs, 'syn', null, arrive);
      later(world.nowUs + SYN_RETRY_US, 'syn-retry', host, attempt);
    };
    const arrive = (): void => {
      const lost = network.isCut(host, target) || isOver;
      const backUs = lost ? null : network.carry(target, host, SEGMENT_OVERHEAD_BYTES);
      if (backUs === null) return;
      const listener = this.#listeners.get(key);
      // The machine is there even when its agent is not: it refuses.
      if (listener === undefined || !target.up)
        return later(backUs, 'rst', host, () => finish(null));
      const [ours, theirs] = this.#pair(host, target);
      // The kernel completes connections of a process that stands still.
      target.after(0, 'accept', () => {
        if (theirs.isOpen) listener.accept(theirs);
      });
      later(backUs, 'syn-ack', host, () => {
        if (isOver) ours.abort();
        else finish(ours);
      });
    };
    attempt();
    return () => {
      isOver = true;
    };
  }

  /** Breaks every connection between two machines; `tell` says which of the two hear of it. */
  reset(a: SimHost, b: SimHost, tell: readonly SimHost[]): void {
    for (const end of [...this.ends]) {
      const isOfPair = (end.host === a && end.remote === b) || (end.host === b && end.remote === a);
      if (isOfPair && tell.includes(end.host)) end.broke('ECONNRESET');
    }
  }

  #pair(a: SimHost, b: SimHost): readonly [TcpEnd, TcpEnd] {
    this.#names += 1;
    const left = new TcpEnd(this, this.#names, a, b);
    const right = new TcpEnd(this, this.#names, b, a);
    left.pairWith(right);
    right.pairWith(left);
    this.ends.add(left).add(right);
    return [left, right];
  }

  /** The kernel closes the sockets of a killed process: what was sent goes out, or a reset does. */
  #crashed(host: SimHost): void {
    for (const [key, listener] of [...this.#listeners]) {
      if (listener.host === host) this.#listeners.delete(key);
    }
    const chance = host.random('tcp/crash');
    for (const end of [...this.ends]) {
      if (end.host === host && end.isOpen) end.orphaned(chance.below(2) === 0);
    }
  }
}

export class TcpEnd {
  readonly id: number;
  readonly host: SimHost;
  readonly remote: SimHost;
  readonly #tcp: SimTcp;
  readonly #incarnation: number;
  #peer: TcpEnd | null = null;
  #listener: ((event: TcpEvent) => void) | null = null;
  /** Received and not yet given to the process, which may stand still. */
  readonly #inbox: TcpEvent[] = [];
  #draining = false;
  /** Sent and not acknowledged, oldest first; the first `#onWire` of them travel. */
  #queue: Segment[] = [];
  #onWire = 0;
  #unackedBytes = 0;
  /** Delivered, but the way back was cut. */
  #ackWaitsBytes = 0;
  #lastArrivalUs = 0;
  #generation = 0;
  #retry: SimEvent | null = null;
  #retryUs = RETRY_MIN_US;
  #stalledSinceUs: number | null = null;
  #closing = false;
  #open = true;

  constructor(tcp: SimTcp, id: number, host: SimHost, remote: SimHost) {
    this.#tcp = tcp;
    this.id = id;
    this.host = host;
    this.remote = remote;
    this.#incarnation = host.incarnation;
  }

  pairWith(peer: TcpEnd): void {
    this.#peer = peer;
  }

  /** Still able to send or to receive. */
  get isOpen(): boolean {
    return this.#open;
  }

  get unackedBytes(): number {
    return this.#unackedBytes;
  }

  subscribe(listener: (event: TcpEvent) => void): void {
    assert(this.#listener === null, 'a connection is subscribed once');
    this.#listener = listener;
    this.#drainLater();
  }

  send(data: unknown, bytes: number, trace: unknown): void {
    if (!this.#open || this.#closing) return;
    this.#push({ data, bytes, trace });
  }

  /** What was sent still arrives. Nothing is heard any more. */
  close(): void {
    if (!this.#open || this.#closing) return;
    this.#listener = () => {};
    this.#push({ data: END, bytes: 0, trace: 'end' });
    this.#closing = true;
  }

  /** Nothing that is on its way counts any more; the peer hears of it if the wire lets it. */
  abort(): void {
    if (!this.#open) return;
    this.#shut();
    this.#sendReset();
  }

  /** The process is gone; its kernel ends the connection. */
  orphaned(withReset: boolean): void {
    this.#listener = () => {};
    if (withReset) return this.abort();
    if (!this.#closing) this.#push({ data: END, bytes: 0, trace: 'end' });
    this.#closing = true;
  }

  /** This end only: the other one finds out by itself. */
  broke(errno: string): void {
    if (!this.#open) return;
    this.#shut();
    this.#receive({ type: 'broken', errno });
  }

  #push(segment: Segment): void {
    this.#queue.push(segment);
    this.#unackedBytes += segment.bytes;
    this.#pump();
  }

  #pump(): void {
    const { world } = this.#tcp;
    while (this.#open && this.#retry === null && this.#onWire < this.#queue.length) {
      const segment = this.#queue[this.#onWire] as Segment;
      const bytes = segment.bytes + SEGMENT_OVERHEAD_BYTES;
      const arriveUs = world.network.carry(this.host, this.remote, bytes);
      if (arriveUs === null) return this.#stall(false);
      this.#onWire += 1;
      this.#lastArrivalUs = Math.max(arriveUs, this.#lastArrivalUs);
      this.#schedule(this.#lastArrivalUs, segment.trace);
    }
  }

  #schedule(atUs: number, trace: unknown): void {
    const generation = this.#generation;
    const label = `${this.host.name}>${this.remote.name}`;
    const arrive = (): void => {
      if (generation === this.#generation) this.#arrive(trace);
    };
    this.#tcp.world.schedule(atUs, 'segment', label, trace, arrive);
  }

  /** Whichever event it is, the oldest segment is what arrives: order is the connection's. */
  #arrive(trace: unknown): void {
    const { world } = this.#tcp;
    const { network } = world;
    const generation = this.#generation;
    const held = network.waitsForClog(this.host, this.remote, () => {
      if (generation === this.#generation) this.#schedule(world.nowUs, trace);
    });
    if (held) return;
    if (network.isCut(this.host, this.remote)) {
      network.lost += 1;
      return this.#stall(true);
    }
    const segment = this.#queue.shift() as Segment;
    this.#onWire -= 1;
    const peer = this.#peer as TcpEnd;
    if (!peer.#open || peer.#isOrphan()) {
      // Nobody has this socket: the machine answers with a reset.
      this.#shut();
      this.#resetComes();
      return;
    }
    if (network.isCut(this.remote, this.host)) {
      this.#ackWaitsBytes += segment.bytes;
      if (this.#retry === null) this.#stall(false);
    } else {
      this.#acknowledged(segment.bytes);
    }
    const damaged = network.damages(this.host, this.remote);
    if (segment.data === END) peer.#receive({ type: 'ended' });
    else peer.#receive({ type: 'data', data: segment.data, damaged });
    if (segment.data === END) this.#shut();
  }

  #isOrphan(): boolean {
    return !this.host.up || this.host.incarnation !== this.#incarnation;
  }

  #acknowledged(bytes: number): void {
    this.#unackedBytes -= bytes + this.#ackWaitsBytes;
    this.#ackWaitsBytes = 0;
    this.#stalledSinceUs = null;
    this.#retryUs = RETRY_MIN_US;
    if (!this.#closing) this.#receive({ type: 'writable' });
  }

  /** Sends again later, and gives up in the end. What travels may be lost with it. */
  #stall(isAllLost: boolean): void {
    const { world } = this.#tcp;
    if (isAllLost) {
      this.#generation += 1;
      this.#onWire = 0;
    }
    if (this.#retry !== null) return;
    this.#stalledSinceUs ??= world.nowUs;
    const label = `${this.host.name}>${this.remote.name}`;
    this.#retry = world.schedule(world.nowUs + this.#retryUs, 'retransmit', label, null, () => {
      this.#retry = null;
      if (!this.#open) return;
      this.#retryUs = Math.min(RETRY_MAX_US, this.#retryUs * 2);
      if (world.nowUs - (this.#stalledSinceUs ?? world.nowUs) > GIVE_UP_US) {
        return this.broke('ETIMEDOUT');
      }
      const { network } = world;
      const mute = network.isCut(this.remote, this.host) || network.isCut(this.host, this.remote);
      if (this.#ackWaitsBytes > 0 && !mute) this.#acknowledged(0);
      else if (this.#ackWaitsBytes > 0) this.#stall(false);
      this.#pump();
    });
  }

  #sendReset(): void {
    const peer = this.#peer as TcpEnd;
    const { world } = this.#tcp;
    const arriveUs = world.network.carry(this.host, this.remote, SEGMENT_OVERHEAD_BYTES);
    if (arriveUs === null) return;
    const label = `${this.host.name}>${this.remote.name}`;
    world.schedule(arriveUs, 'rst', label, null, () => {
      if (!world.network.isCut(this.host, this.remote)) peer.broke('ECONNRESET');
    });
  }

  /** This end was open until now, so what it is told comes the way of every event. */
  #resetComes(): void {
    const { world } = this.#tcp;
    const backUs = world.network.carry(this.remote, this.host, SEGMENT_OVERHEAD_BYTES);
    const atUs = backUs ?? world.nowUs + GIVE_UP_US;
    const label = `${this.remote.name}>${this.host.name}`;
    const errno = backUs === null ? 'ETIMEDOUT' : 'ECONNRESET';
    world.schedule(atUs, 'rst', label, null, () => this.#receive({ type: 'broken', errno }));
  }

  #receive(event: TcpEvent): void {
    if (this.#isOrphan()) return;
    this.#inbox.push(event);
    if (this.host.paused) return this.#drainLater();
    this.#drain();
  }

  #drainLater(): void {
    if (this.#draining || this.#inbox.length === 0) return;
    this.#draining = true;
    this.host.after(0, 'socket', () => {
      this.#draining = false;
      this.#drain();
    });
  }

  /** Never inside the call of whoever listens. */
  #drain(): void {
    if (this.#draining || this.#listener === null || this.#isOrphan()) return;
    for (let event = this.#inbox.shift(); event !== undefined; event = this.#inbox.shift()) {
      this.#listener(event);
    }
  }

  #shut(): void {
    this.#open = false;
    this.#generation += 1;
    if (this.#retry !== null) this.#retry.cancelled = true;
    this.#retry = null;
    this.#queue = [];
    this.#onWire = 0;
    this.#tcp.ends.delete(this);
  }
}
