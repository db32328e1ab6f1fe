/**
 * Reads that wait: for the leader's first commit of its term, for a round that proves it still
 * leads, for a leader elsewhere to answer, or for the state machine to catch up. Bounded by the
 * caller through `count`.
 */
import type { LogIndex, ReadGuarantee, ReplicaId } from './types.ts';

export interface WaitingRead {
  readonly requestId: number;
  /** Null: asked here. Otherwise the follower to answer, and the life it asked in. */
  readonly from: { readonly id: ReplicaId; readonly incarnation: number } | null;
}

export interface ConfirmingRead extends WaitingRead {
  readonly round: number;
  readonly index: LogIndex;
}

export interface ApplyingRead {
  readonly requestId: number;
  readonly index: LogIndex;
  readonly guarantee: ReadGuarantee['kind'];
}

export class ReadQueue {
  /** Answers to a former life of this replica carry another number. */
  readonly incarnation: number;
  /** Newest round begun in this term, and when recent ones began. */
  round = 0;
  readonly #roundStartsUs: Map<number, number> = new Map();
  /** Leader: no round yet, either before the first commit of the term or behind a round under way. */
  unstarted: WaitingRead[] = [];
  /** Leader: ascending rounds. */
  confirming: ConfirmingRead[] = [];
  /** Follower: sent to the leader, with the time they give up. */
  readonly forwarded: Map<number, number> = new Map();
  /** The index is known, the state machine is not there yet. */
  applying: ApplyingRead[] = [];

  constructor(incarnation: number) {
    this.incarnation = incarnation;
  }

  get count(): number {
    const leading = this.unstarted.length + this.confirming.length;
    return leading + this.forwarded.size + this.applying.length;
  }

  beginRound(nowUs: number): number {
    this.round += 1;
    this.#roundStartsUs.set(this.round, nowUs);
    this.#roundStartsUs.delete(this.round - ROUNDS_KEPT);
    return this.round;
  }

  /** Null for a round too old to say anything about a lease. */
  roundStartUs(round: number): number | null {
    return this.#roundStartsUs.get(round) ?? null;
  }

  /** Rounds count within a term. */
  newTerm(): void {
    this.round = 0;
    this.#roundStartsUs.clear();
  }
}

/** An echo of a round this far back comes later than any lease could last. */
const ROUNDS_KEPT = 1024;
