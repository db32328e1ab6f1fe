/** Drives the source's machine: its card, its control channel, the rounds of its guest. */
import { RdmaSource } from '../../src/protocols/rdma/source.ts';
import type { PathId, SourceEffect, SourceInput } from '../../src/protocols/rdma/types.ts';
import type { RdmaWatch } from '../checkers/rdma-watch.ts';
import type { SimTcp, TcpEnd, TcpEvent } from '../transport/tcp.ts';
import type { SimHost } from '../world/host.ts';
import type { RdmaCard } from './card.ts';
import type { OfferedEnd, ToDestination, ToSource } from './messages.ts';
import type { RdmaMove } from './move.ts';
import type { QueuePair, QueuePairEvent } from './queue-pair.ts';
import type { RdmaRegion } from './region.ts';

export const CONTROL_PORT = 7_100;
const SMALL_BYTES = 128;
const PAGE_BYTES = 4_096;
const REDIAL_US = 30_000;
const PING_US = 1_000_000;
const REOPEN_US: readonly [number, number] = [2_000, 40_000];
const THINK_US: readonly [number, number] = [500, 6_000];
const ROUNDS: readonly [number, number] = [1, 4];
const PAGES_PER_CHUNK = 4;
/** Of the TCP streams: what one session opens first. */
const TCP_PATH = 0;

export interface SourceSurroundings {
  readonly tcp: SimTcp;
  readonly card: RdmaCard;
  readonly watch: RdmaWatch;
  /** Whose turn it is; another one after a commit. */
  readonly move: () => RdmaMove;
  readonly committed: (move: RdmaMove) => void;
}

export class SourceAgent {
  readonly #host: SimHost;
  readonly #around: SourceSurroundings;

  constructor(host: SimHost, around: SourceSurroundings) {
    this.#host = host;
    this.#around = around;
    this.#dialLater(0);
  }

  #dialLater(afterUs: number): void {
    this.#host.after(afterUs, 'dial', () => {
      const address = { host: this.#host.world.hostAt(1).name, port: CONTROL_PORT };
      this.#around.tcp.dial(this.#host, address, (end) => {
        if (end === null) return this.#dialLater(REDIAL_US);
        new SourceSession(this.#host, this.#around, end, () => this.#dialLater(REDIAL_US));
      });
    });
  }
}

/** One connection's worth of one move. */
class SourceSession {
  readonly #host: SimHost;
  readonly #around: SourceSurroundings;
  readonly #end: TcpEnd;
  readonly #move: RdmaMove;
  readonly #ended: () => void;
  readonly #pairs = new Map<PathId, QueuePair>();
  readonly #keys = new Map<PathId, RdmaRegion>();
  readonly #region: RdmaRegion;
  #core: RdmaSource | null = null;
  #session = 0;
  #depth = 1;
  #roundsLeft: number;
  #isLast = false;
  #lastCompleted = 0;
  #isOver = false;

  constructor(host: SimHost, around: SourceSurroundings, end: TcpEnd, ended: () => void) {
    this.#host = host;
    this.#around = around;
    this.#end = end;
    this.#ended = ended;
    this.#move = around.move();
    this.#roundsLeft = host.random('rounds').between(...ROUNDS);
    this.#region = around.card.register(this.#move.source, this.#move.session);
    end.subscribe((event) => this.#on(event));
    this.#say({ type: 'hello', move: this.#move.number });
    this.#pingLater();
  }

  #pingLater(): void {
    this.#host.after(PING_US, 'ping', () => {
      if (this.#isOver) return;
      this.#say({ type: 'ping' });
      this.#pingLater();
    });
  }

  // ---- the control channel ------------------------------------------------------------------------

  #say(message: ToDestination, bytes: number = SMALL_BYTES): void {
    this.#end.send(message, bytes, message.type);
  }

  #on(event: TcpEvent): void {
    if (event.type === 'writable' || this.#isOver) return;
    if (event.type !== 'data' || event.damaged) return this.#over();
    const message = event.data as ToSource;
    switch (message.type) {
      case 'welcome':
        return this.#welcomed(message);
      case 'opened':
        return this.#opened(message.end);
      case 'landed':
        return this.#step({ type: 'landed', seq: message.seq });
      case 'drained':
        this.#host.world.sometimes('the destination said that a queue pair was drained');
        return this.#step({ type: 'drained', path: message.path });
      case 'committed':
        this.#around.committed(this.#move);
        return this.#over();
    }
  }

  #welcomed({ session, slots, depth, ends }: ToSource & { readonly type: 'welcome' }): void {
    this.#session = session;
    this.#depth = depth;
    this.#core = new RdmaSource({ slots, pagesPerChunk: PAGES_PER_CHUNK });
    this.#around.watch.begins(session, slots, this.#move);
    this.#step({ type: 'open', path: TCP_PATH, kind: 'tcp', depth: 2 });
    for (const end of ends) this.#opened(end);
    this.#isLast = this.#move.isStopped;
    this.#send(this.#move.source.allPages());
  }

  #opened({ path, pair: theirs, key }: OfferedEnd): void {
    const pair = this.#around.card.queuePair();
    pair.onEvent = (event) => this.#onPair(path, event);
    pair.toInit();
    pair.toRtr(theirs);
    pair.toRts();
    // Its process may be gone meanwhile; then ours finds nobody there.
    if (!theirs.isDestroyed && theirs.state === 'INIT') {
      theirs.toRtr(pair);
      theirs.toRts();
    }
    this.#pairs.set(path, pair);
    this.#keys.set(path, key);
    this.#step({ type: 'open', path, kind: 'queuePair', depth: this.#depth });
  }

  /** The machine stays until the card is done with our memory. */
  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const isWorking = this.#core?.isWorking() ?? false;
    this.#host.world.sometimes('a session ended with work outstanding', isWorking);
    this.#end.abort();
    this.#around.watch.ends(this.#session);
    if (this.#core === null) this.#free();
    else this.#step({ type: 'finish' });
    this.#ended();
  }

  #free(): void {
    this.#around.watch.frees(this.#region, [...this.#pairs.values()]);
    for (const pair of this.#pairs.values()) this.#around.card.destroy(pair, () => {});
    this.#pairs.clear();
    this.#around.card.deregister(this.#region);
  }

  // ---- the card -----------------------------------------------------------------------------------

  #onPair(path: PathId, event: QueuePairEvent): void {
    switch (event.type) {
      case 'completed': {
        const { work, status } = event;
        const isOk = status === 'ok';
        if (work.type === 'ring') {
          const isLate = work.seq < this.#lastCompleted;
          this.#host.world.sometimes('completions came in another order than their chunks', isLate);
          this.#lastCompleted = Math.max(work.seq, this.#lastCompleted);
          return this.#step({ type: 'completed', path, seq: work.seq, isOk });
        }
        return isOk ? undefined : this.#step({ type: 'broken', path });
      }
      case 'broken':
        return this.#step({ type: 'broken', path });
      case 'rung':
      case 'flushed':
        return;
    }
  }

  #step(input: SourceInput): void {
    const core = this.#core;
    if (core === null) return;
    const effects = core.step(input);
    this.#around.watch.source(this.#session, input, effects, core);
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: SourceEffect): void {
    const { world } = this.#host;
    switch (effect.type) {
      case 'write': {
        const { path, seq, pages } = effect;
        const to = this.#keys.get(path) as RdmaRegion;
        const from = this.#region;
        const works = pages.map((page) => ({ type: 'write', from, to, page, seq }) as const);
        return this.#pairs.get(path)?.postSend(works);
      }
      case 'ring': {
        const { path, seq, pages } = effect;
        return this.#pairs.get(path)?.postSend([{ type: 'ring', seq, pages }]);
      }
      case 'sendFrame': {
        const { seq } = effect;
        const { source } = this.#move;
        const pages = effect.pages.map((page) => [page, source.read(page)] as const);
        return this.#say({ type: 'frame', seq, pages }, pages.length * PAGE_BYTES);
      }
      case 'toError':
        return this.#pairs.get(effect.path)?.toError();
      case 'askDrain':
        return this.#say({ type: 'drain', path: effect.path });
      case 'retired': {
        const pair = this.#pairs.get(effect.path);
        this.#pairs.delete(effect.path);
        if (pair !== undefined) this.#around.card.destroy(pair, () => {});
        if (!this.#isOver) this.#reopenLater();
        return;
      }
      case 'fellBack':
        world.sometimes('pages fell back to TCP', effect.isOn);
        world.sometimes('pages came back from TCP', !effect.isOn);
        return;
      case 'allLanded':
        return this.#roundDone();
      case 'freeRegion':
        return this.#free();
    }
  }

  #reopenLater(): void {
    this.#host.after(this.#host.random('reopen').between(...REOPEN_US), 'reopen', () => {
      if (!this.#isOver) this.#say({ type: 'reopen' });
    });
  }

  // ---- rounds -------------------------------------------------------------------------------------

  #roundDone(): void {
    if (this.#isLast) return this.#say({ type: 'fenced' });
    this.#host.after(this.#host.random('rounds').between(...THINK_US), 'round', () => {
      if (this.#isOver) return;
      this.#roundsLeft -= 1;
      if (this.#roundsLeft <= 0) {
        this.#move.isStopped = true;
        this.#move.source.isRunning = false;
        this.#isLast = true;
      }
      this.#send(this.#move.source.scan());
    });
  }

  #send(pages: readonly number[]): void {
    this.#around.watch.sends(this.#session, pages);
    this.#step({ type: 'send', pages });
  }
}
