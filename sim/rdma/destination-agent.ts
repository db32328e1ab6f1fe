/** Drives the destination's machine: its card, its control channel, and the guest once it is here. */
import { RdmaDestination } from '../../src/protocols/rdma/destination.ts';
import type {
  DestinationEffect,
  DestinationInput,
  PathId,
} from '../../src/protocols/rdma/types.ts';
import type { RdmaWatch } from '../checkers/rdma-watch.ts';
import type { SimTcp, TcpEnd, TcpEvent } from '../transport/tcp.ts';
import type { SimHost } from '../world/host.ts';
import type { RdmaCard } from './card.ts';
import type { OfferedEnd, ToDestination, ToSource } from './messages.ts';
import type { RdmaMove } from './move.ts';
import type { QueuePair, QueuePairEvent } from './queue-pair.ts';
import type { RdmaRegion } from './region.ts';
import { CONTROL_PORT } from './source-agent.ts';

const SMALL_BYTES = 128;
const COMMIT_US: readonly [number, number] = [500, 5_000];

export interface DestinationSurroundings {
  readonly tcp: SimTcp;
  readonly card: RdmaCard;
  readonly watch: RdmaWatch;
  readonly moveOf: (number: number) => RdmaMove;
  readonly resumed: (move: RdmaMove) => void;
  readonly nextSession: () => number;
}

export class DestinationAgent {
  readonly #host: SimHost;
  readonly #around: DestinationSurroundings;
  #session: DestinationSession | null = null;

  constructor(host: SimHost, around: DestinationSurroundings) {
    this.#host = host;
    this.#around = around;
    around.tcp.listen(host, CONTROL_PORT, (end) => {
      end.subscribe((event) => this.#onStranger(end, event));
    });
  }

  /** A source that connects anew waits until nothing of its last session can write any more. */
  #onStranger(end: TcpEnd, event: TcpEvent): void {
    const session = this.#session;
    if (session?.end === end) return session.on(event);
    if (event.type !== 'data') return;
    const message = event.data as ToDestination;
    if (event.damaged || message.type !== 'hello') return end.abort();
    const move = this.#around.moveOf(message.move);
    const begin = (): void => {
      if (!end.isOpen) return;
      this.#session = new DestinationSession(this.#host, this.#around, end, move);
    };
    if (session === null) return begin();
    session.end.abort();
    session.over(begin);
  }
}

class DestinationSession {
  readonly end: TcpEnd;
  readonly #host: SimHost;
  readonly #around: DestinationSurroundings;
  readonly #move: RdmaMove;
  readonly #core: RdmaDestination = new RdmaDestination();
  readonly #pairs = new Map<PathId, QueuePair>();
  readonly #number: number;
  readonly #depth: number;
  readonly #frames = new Map<number, ToDestination & { readonly type: 'frame' }>();
  #key: RdmaRegion;
  #paths = 0;
  #isFenced = false;
  #isOver = false;
  #whenRevoked: (() => void)[] = [];

  constructor(host: SimHost, around: DestinationSurroundings, end: TcpEnd, move: RdmaMove) {
    this.#host = host;
    this.#around = around;
    this.end = end;
    this.#move = move;
    this.#number = around.nextSession();
    const random = host.random('session');
    this.#depth = random.between(1, 4);
    move.session = this.#number;
    around.watch.opens(this.#number, move.destination);
    this.#key = around.card.register(move.destination, this.#number);
    if (move.isCommitted) {
      this.#say({ type: 'committed' });
      return;
    }
    const ends = Array.from({ length: random.between(1, 4) }, () => this.#offer());
    const session = this.#number;
    const slots = random.between(2, 8);
    this.#say({ type: 'welcome', session, slots, depth: this.#depth, ends });
  }

  on(event: TcpEvent): void {
    if (event.type === 'writable' || this.#isOver) return;
    if (event.type !== 'data' || event.damaged) {
      this.end.abort();
      return this.over(() => {});
    }
    const message = event.data as ToDestination;
    switch (message.type) {
      case 'hello':
      case 'ping':
        return;
      case 'reopen':
        if (!this.#isFenced) this.#say({ type: 'opened', end: this.#offer() });
        return;
      case 'drain':
        return this.#step({ type: 'askedToDrain', path: message.path });
      case 'frame': {
        const { seq } = message;
        this.#frames.set(seq, message);
        this.#step({ type: 'frame', seq, pages: message.pages.map(([page]) => page) });
        this.#frames.delete(seq);
        return;
      }
      case 'fenced':
        return this.#fenced();
    }
  }

  /** Nothing of it writes any more once `done` is called. */
  over(done: () => void): void {
    this.#isOver = true;
    if (this.#core.isRevoked) return done();
    this.#whenRevoked.push(done);
    this.#step({ type: 'revoke' });
  }

  #say(message: ToSource): void {
    this.end.send(message, SMALL_BYTES, message.type);
  }

  #offer(): OfferedEnd {
    this.#paths += 1;
    const path = this.#paths;
    const pair = this.#around.card.queuePair();
    pair.onEvent = (event) => this.#onPair(path, event);
    pair.toInit();
    this.#pairs.set(path, pair);
    if (!this.#key.isRegistered) {
      this.#key = this.#around.card.register(this.#move.destination, this.#number);
    }
    // Sometimes fewer than the source may use: then it waits for one.
    const receives = this.#host.random('session').between(1, this.#depth);
    this.#step({ type: 'open', path, receives });
    return { path, pair, key: this.#key };
  }

  #onPair(path: PathId, event: QueuePairEvent): void {
    switch (event.type) {
      case 'completed':
        return;
      case 'rung':
        return this.#step({ type: 'rung', path, seq: event.seq, pages: event.pages });
      case 'broken':
        return this.#step({ type: 'broken', path });
      case 'flushed':
        return this.#step({ type: 'flushed', path });
    }
  }

  #step(input: DestinationInput): void {
    if (input.type === 'rung') this.#around.watch.rung(this.#number, input.seq);
    const effects = this.#core.step(input);
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: DestinationEffect): void {
    switch (effect.type) {
      case 'postReceive':
        return this.#pairs.get(effect.path)?.postReceive();
      case 'land':
        return this.#land(effect.seq);
      case 'tellLanded':
        this.#around.watch.landed(this.#number, effect.seq);
        return this.#say({ type: 'landed', seq: effect.seq });
      case 'toError':
        return this.#pairs.get(effect.path)?.toError();
      case 'tellDrained':
        return this.#say({ type: 'drained', path: effect.path });
      case 'destroy':
        return this.#destroy(effect.path);
      case 'invalidateKeys':
        this.#around.card.deregister(this.#key);
        this.#host.after(1, 'keys', () => this.#step({ type: 'keysInvalid' }));
        return;
      case 'armTracker':
        this.#around.watch.revoked(this.#number);
        return;
      case 'revoked':
        for (const done of this.#whenRevoked.splice(0)) done();
        if (this.#isFenced && !this.#isOver) this.#commit();
        return;
    }
  }

  #land(seq: number): void {
    const { watch } = this.#around;
    for (const [page, version] of this.#frames.get(seq)?.pages ?? []) {
      watch.placed(this.#key, page, version, seq);
      this.#move.destination.place(page, version);
    }
  }

  #destroy(path: PathId): void {
    const pair = this.#pairs.get(path);
    this.#pairs.delete(path);
    if (pair === undefined) return;
    this.#around.card.destroy(pair, () => this.#step({ type: 'destroyed', path }));
  }

  #fenced(): void {
    this.#isFenced = true;
    this.#step({ type: 'revoke' });
  }

  #commit(): void {
    this.#host.after(this.#host.random('commit').between(...COMMIT_US), 'commit', () => {
      if (this.#isOver) return;
      this.#move.isCommitted = true;
      this.#around.watch.resumes(this.#move);
      this.#around.resumed(this.#move);
      this.#say({ type: 'committed' });
    });
  }
}
