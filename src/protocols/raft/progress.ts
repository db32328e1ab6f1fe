/**
 * What the leader knows about one other replica.
 *
 *   probe      one append at a time, until it is known where the logs agree
 *   replicate  appends stream without waiting, within the window
 *   snapshot   the entries it needs are compacted: it gets a snapshot first
 *
 * Invariant: matchIndex < nextIndex.
 */
import { assert } from '../../util/assert.ts';
import { Inflights } from './inflights.ts';
import type { LogIndex, RaftLimits, ReplicaId, Snapshot } from './types.ts';

export interface SnapshotTransfer {
  readonly snapshot: Snapshot;
  acknowledgedBytes: number;
  /** The chunk being read or on its way; null: the follower was asked where to go on. */
  requestedOffset: number | null;
  lastSentUs: number;
}

export class Progress {
  readonly id: ReplicaId;
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  matchIndex: LogIndex = 0;
  nextIndex: LogIndex;
  readonly inflights: Inflights;
  transfer: SnapshotTransfer | null = null;
  /** While probing: one is on its way, the next waits for its answer or a heartbeat's. */
  probeSent = false;
  /** Commit index it was told last, so that an advance is told once. */
  toldCommit: LogIndex = 0;
  lastContactUs: number;
  /** Newest round it echoed, and when that round began. */
  ackedRound = 0;
  ackedRoundUs: number = Number.NEGATIVE_INFINITY;
  lastResendUs: number = Number.NEGATIVE_INFINITY;

  constructor(id: ReplicaId, nextIndex: LogIndex, limits: RaftLimits, nowUs: number) {
    this.id = id;
    this.nextIndex = nextIndex;
    this.inflights = new Inflights(limits.inflightMessages, limits.inflightBytes);
    // A member that was just added has not had a chance to answer: silence starts now.
    this.lastContactUs = nowUs;
  }

  get isPaused(): boolean {
    if (this.state === 'probe') return this.probeSent;
    return this.state === 'snapshot' || this.inflights.isFull;
  }

  /** It holds everything up to `index`. True when that is news. */
  acknowledge(index: LogIndex): boolean {
    const isNews = index > this.matchIndex;
    this.matchIndex = Math.max(this.matchIndex, index);
    this.nextIndex = Math.max(this.nextIndex, this.matchIndex + 1);
    this.inflights.freeThrough(this.matchIndex);
    if (this.state === 'probe') this.#enter('replicate', this.matchIndex + 1);
    else if (this.transfer !== null && this.matchIndex >= this.transfer.snapshot.index) {
      this.#enter('replicate', this.matchIndex + 1);
    }
    return isNews;
  }

  probeFrom(nextIndex: LogIndex): void {
    this.#enter('probe', Math.max(nextIndex, this.matchIndex + 1));
  }

  sendSnapshot(snapshot: Snapshot, nowUs: number): void {
    this.#enter('snapshot', Math.max(this.nextIndex, this.matchIndex + 1));
    this.transfer = {
      snapshot,
      acknowledgedBytes: 0,
      requestedOffset: null,
      lastSentUs: nowUs,
    };
  }

  #enter(state: Progress['state'], nextIndex: LogIndex): void {
    assert(nextIndex > this.matchIndex, 'next is above match');
    this.state = state;
    this.nextIndex = nextIndex;
    this.probeSent = false;
    this.transfer = null;
    this.inflights.clear();
  }
}
