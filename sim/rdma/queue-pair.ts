/**
 * A reliable-connected queue pair. The card works without its process: what was posted leaves, arrives and lands
 * whatever the agent does, is read when it leaves and not when it was posted, and still lands when the end that sent
 * it is in ERROR. Only the end that receives can put a stop to it.
 */
import { assert } from '../../src/util/assert.ts';
import type { SimEvent } from '../world/event-queue.ts';
import type { SimHost } from '../world/host.ts';
import {
  mayModify,
  mayPostReceive,
  mayPostSend,
  type QueuePairState,
  responds,
} from './queue-pair-state.ts';
import type { RdmaRegion } from './region.ts';

/** One work request of a send queue. */
export type Work =
  | {
      readonly type: 'write';
      readonly from: RdmaRegion;
      readonly to: RdmaRegion;
      readonly page: number;
      readonly seq: number;
    }
  /** A write with immediate data, signalled. */
  | { readonly type: 'ring'; readonly seq: number; readonly pages: readonly number[] };

export type WorkStatus = 'ok' | 'flushed' | 'retriesExhausted' | 'receiverNotReady' | 'accessError';

/** What the process hears from its completion queue and of asynchronous events, in the order of this queue pair. */
export type QueuePairEvent =
  | { readonly type: 'completed'; readonly work: Work; readonly status: WorkStatus }
  | { readonly type: 'rung'; readonly seq: number; readonly pages: readonly number[] }
  | { readonly type: 'broken' }
  /** In ERROR, and nothing of it is left to complete. */
  | { readonly type: 'flushed' };

/** What checkers see of a card. */
export interface CardObserver {
  /** Memory is read by a card. */
  left(region: RdmaRegion): void;
  placed(region: RdmaRegion, page: number, version: number, seq: number): void;
}

/** What a card put on its wire, whichever queue pair it was. */
export interface Wire {
  lastArrivalUs: number;
}

interface Posted {
  readonly work: Work;
  readonly psn: number;
}

const PAGE_BYTES = 4_096;
const HEADER_BYTES = 64;
const RETRY_US = 60_000;
const RETRIES_MAX = 7;
const NOT_READY_US = 2_000;
const PLACE_US: readonly [number, number] = [0, 5];
/** Now and then memory is busy. */
const PLACE_LATE_PERMYRIAD = 300;
const PLACE_LATE_US: readonly [number, number] = [500, 8_000];
const COMPLETE_US: readonly [number, number] = [1, 150];
const ON_WIRE_MAX = 16;
const HELD_PERMYRIAD = 30;
/** Up to more than the retries take. */
const HELD_US: readonly [number, number] = [20_000, 1_000_000];
/** A switch drops what would have to wait longer. */
const QUEUE_US = 200_000;

export class QueuePair {
  readonly number: number;
  readonly host: SimHost;
  state: QueuePairState = 'RESET';
  onEvent: ((event: QueuePairEvent) => void) | null = null;
  readonly #observer: CardObserver;
  readonly #wire: Wire;
  #peer: QueuePair | null = null;
  /** Posted and not completed, oldest first; the first `#onWire` of them left. */
  readonly #sendQueue: Posted[] = [];
  #onWire = 0;
  /** Being flushed: what becomes of it is on its way to the process. */
  readonly #flushing: Work[] = [];
  #nextPsn = 0;
  #lastArrivalUs = 0;
  #retries = 0;
  #notReady = 0;
  #timer: SimEvent | null = null;
  /** Of what the card receives. */
  #expectedPsn = 0;
  #receives = 0;
  #lastPlacedUs = 0;
  #lastCompletedUs = 0;
  /** Its process is gone, or gave it back. */
  isDestroyed = false;

  constructor(host: SimHost, number: number, observer: CardObserver, wire: Wire) {
    this.#wire = wire;
    this.host = host;
    this.number = number;
    this.#observer = observer;
  }

  /** The card is done with memory when the completion says so, and not before. */
  uses(region: RdmaRegion): boolean {
    const works = [...this.#sendQueue.map(({ work }) => work), ...this.#flushing];
    return works.some((work) => work.type === 'write' && work.from === region);
  }

  // ---- verbs --------------------------------------------------------------------------------------

  toInit(): void {
    this.#modify('INIT');
  }

  toRtr(peer: QueuePair): void {
    this.#modify('RTR');
    this.#peer = peer;
  }

  toRts(): void {
    this.#modify('RTS');
    this.#pump();
  }

  toSqd(): void {
    this.#modify('SQD');
  }

  toError(): void {
    if (this.state === 'ERROR' || this.isDestroyed) return;
    this.#modify('ERROR');
    this.#flush();
  }

  postSend(works: readonly Work[]): void {
    assert(!this.isDestroyed && mayPostSend(this.state), `work is posted in ${this.state}`);
    for (const work of works) {
      this.#sendQueue.push({ work, psn: this.#nextPsn });
      this.#nextPsn += 1;
    }
    if (this.state === 'ERROR') this.#flush();
    else this.#pump();
  }

  postReceive(): void {
    assert(mayPostReceive(this.state), `a receive is posted in ${this.state}`);
    if (!this.isDestroyed) this.#receives += 1;
  }

  /** No byte comes through it any more once that is answered. */
  destroy(done: () => void): void {
    this.#abandon();
    this.host.after(this.#quietInUs() + 1, 'destroyed', done);
  }

  /** The kernel does it for a process that ended. */
  processDied(): void {
    this.#abandon();
    this.onEvent = null;
  }

  /** A failure that nobody asked for. */
  breaks(): void {
    if (this.state === 'ERROR' || this.isDestroyed) return;
    this.#modify('ERROR');
    this.#tell({ type: 'broken' });
    this.#flush();
  }

  // ---- the sending card ---------------------------------------------------------------------------

  #pump(): void {
    const peer = this.#peer;
    if (peer === null) return;
    const { network } = this.host.world;
    while (this.state === 'RTS' && this.#onWire < Math.min(ON_WIRE_MAX, this.#sendQueue.length)) {
      const posted = this.#sendQueue[this.#onWire] as Posted;
      this.#onWire += 1;
      const { work } = posted;
      const version = this.#readNow(work);
      const bytes = work.type === 'write' ? PAGE_BYTES + HEADER_BYTES : HEADER_BYTES;
      const isFull = this.#wire.lastArrivalUs > this.host.world.nowUs + QUEUE_US;
      const arriveUs = isFull ? null : network.carry(this.host, peer.host, bytes);
      if (arriveUs !== null) {
        this.#wire.lastArrivalUs = arriveUs;
        const heldUs = this.#heldUs();
        this.#lastArrivalUs = Math.max(this.#lastArrivalUs, arriveUs + heldUs);
        this.#deliver(peer, this.#lastArrivalUs, 'packet', () =>
          peer.#arrives(posted, version, this),
        );
      }
    }
    if (this.#timer === null && this.#onWire > 0) this.#retryIn(RETRY_US);
  }

  /** The way of one queue pair is not the way of others: a switch on it may hold what it has, and let it go late. */
  #heldUs(): number {
    const random = this.host.random('way');
    return random.chance(HELD_PERMYRIAD) ? random.between(...HELD_US) : 0;
  }

  #readNow(work: Work): number {
    if (work.type === 'ring') return 0;
    this.#observer.left(work.from);
    return work.from.memory.read(work.page);
  }

  #retryIn(delayUs: number): void {
    const { world } = this.host;
    if (this.#timer !== null) this.#timer.cancelled = true;
    this.#timer = world.schedule(world.nowUs + delayUs, 'retry', this.#name, null, () => {
      this.#timer = null;
      this.#again();
    });
  }

  /** From the oldest that was not acknowledged on. */
  #again(): void {
    if (this.state !== 'RTS' || this.#sendQueue.length === 0) return;
    this.#retries += 1;
    if (this.#retries > RETRIES_MAX) {
      this.host.world.sometimes('retries of a queue pair were exhausted');
      return this.#fails('retriesExhausted');
    }
    this.#onWire = 0;
    this.#pump();
  }

  #acked(psn: number): void {
    if (this.state !== 'RTS' && this.state !== 'SQD') return;
    this.#retries = 0;
    if (this.#sendQueue[0]?.psn === undefined || this.#sendQueue[0].psn <= psn) this.#notReady = 0;
    while ((this.#sendQueue[0]?.psn ?? psn + 1) <= psn) {
      const { work } = this.#sendQueue.shift() as Posted;
      this.#onWire = Math.max(0, this.#onWire - 1);
      if (work.type !== 'ring') continue;
      const { world } = this.host;
      const peer = this.#peer as QueuePair;
      const isPlaced = peer.#lastPlacedUs < world.nowUs;
      world.sometimes('a completion came before its writes were there', !isPlaced);
      this.#tell({ type: 'completed', work, status: 'ok' });
    }
    if (this.#timer !== null) this.#timer.cancelled = true;
    this.#timer = null;
    this.#pump();
  }

  #peerNotReady(psn: number): void {
    if (this.state !== 'RTS' || this.#sendQueue.every((posted) => posted.psn !== psn)) return;
    this.#acked(psn - 1);
    this.#notReady += 1;
    this.host.world.sometimes('a receiver was not ready');
    if (this.#notReady > RETRIES_MAX) return this.#fails('receiverNotReady');
    this.#onWire = Math.max(this.#onWire, 1);
    this.#retryIn(NOT_READY_US);
  }

  #fails(status: WorkStatus): void {
    const first = this.#sendQueue.shift();
    if (first !== undefined) this.#tell({ type: 'completed', work: first.work, status });
    this.breaks();
  }

  /** What is posted completes, in order, and nothing says how much of it went out. */
  #flush(): void {
    if (this.#timer !== null) this.#timer.cancelled = true;
    this.#timer = null;
    const { world } = this.host;
    world.sometimes('work was flushed', this.#sendQueue.length > 0);
    for (const { work, psn } of this.#sendQueue.splice(0)) {
      const peer = this.#peer as QueuePair;
      const isDone = psn < peer.#expectedPsn;
      world.sometimes('a write was there and its completion says flushed', isDone);
      this.#flushing.push(work);
      this.#tell({ type: 'completed', work, status: 'flushed' });
    }
    this.#onWire = 0;
    this.#receives = 0;
    this.#tell({ type: 'flushed' });
  }

  // ---- the receiving card -------------------------------------------------------------------------

  #arrives({ work, psn }: Posted, version: number, from: QueuePair): void {
    const { world } = this.host;
    if (world.network.isCut(from.host, this.host)) return;
    if (this.isDestroyed || !responds(this.state)) {
      world.sometimes('a write met a queue pair that takes none');
      return;
    }
    if (psn > this.#expectedPsn) return;
    // Again, because its acknowledgement was lost: it is not done twice.
    if (psn < this.#expectedPsn)
      return this.#answer(from, () => from.#acked(this.#expectedPsn - 1));
    if (work.type === 'write' && !work.to.isRegistered) {
      world.sometimes('a write met a key that was revoked');
      this.#answer(from, () => from.state === 'RTS' && from.#fails('accessError'));
      return this.breaks();
    }
    if (work.type === 'ring' && this.#receives === 0) {
      return this.#answer(from, () => from.#peerNotReady(psn));
    }
    this.#expectedPsn += 1;
    world.sometimes('a write landed whose queue pair had failed', from.state === 'ERROR');
    if (work.type === 'write') this.#place(work, version);
    else this.#rings(work);
    this.#answer(from, () => from.#acked(psn));
  }

  #place(work: Work & { readonly type: 'write' }, version: number): void {
    const { world } = this.host;
    const random = this.host.random('card');
    const isLate = random.chance(PLACE_LATE_PERMYRIAD);
    const delayUs = random.between(...(isLate ? PLACE_LATE_US : PLACE_US));
    this.#lastPlacedUs = Math.max(this.#lastPlacedUs, world.nowUs + delayUs);
    const { to, page, seq } = work;
    world.schedule(this.#lastPlacedUs, 'place', this.#name, page, () => {
      this.#observer.placed(to, page, version, seq);
      to.memory.place(page, version);
    });
  }

  #rings({ seq, pages }: Work & { readonly type: 'ring' }): void {
    this.#receives -= 1;
    this.#tell({ type: 'rung', seq, pages });
  }

  #answer(to: QueuePair, act: () => void): void {
    const { network } = this.host.world;
    const arriveUs = network.carry(this.host, to.host, HEADER_BYTES);
    if (arriveUs === null) return;
    this.#deliver(to, arriveUs, 'answer', () => {
      if (!network.isCut(this.host, to.host) && !to.isDestroyed) act();
    });
  }

  // -------------------------------------------------------------------------------------------------

  /** After what was placed before, and after what was told before. */
  #tell(event: QueuePairEvent): void {
    const { world } = this.host;
    if (this.isDestroyed) return;
    const delayUs = this.host.random('completions').between(...COMPLETE_US);
    const afterUs = Math.max(world.nowUs + delayUs, this.#lastCompletedUs, this.#lastPlacedUs);
    this.#lastCompletedUs = afterUs;
    this.host.after(afterUs - world.nowUs, event.type, () => {
      if (this.isDestroyed) return;
      if (event.type === 'completed' && event.status === 'flushed') this.#flushing.shift();
      this.onEvent?.(event);
    });
  }

  #quietInUs(): number {
    return Math.max(0, this.#lastPlacedUs - this.host.world.nowUs);
  }

  #abandon(): void {
    if (this.#timer !== null) this.#timer.cancelled = true;
    this.isDestroyed = true;
    this.#sendQueue.length = 0;
    this.state = 'RESET';
  }

  /** Wires know nothing of processes. */
  #deliver(to: QueuePair, atUs: number, kind: string, run: () => void): void {
    const { world } = this.host;
    world.schedule(atUs, kind, `${this.#name}>${to.#name}`, null, run);
  }

  get #name(): string {
    return `${this.host.name}/qp-${this.number}`;
  }

  #modify(to: QueuePairState): void {
    assert(!this.isDestroyed && mayModify(this.state, to), `${this.state} goes to ${to}`);
    this.state = to;
  }
}
