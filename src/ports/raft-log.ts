import type {
  Effect,
  Persist,
  PersistSnapshotChunk,
  Restored,
  Snapshot,
} from '../protocols/raft/types.ts';
import type { Completion } from '../util/errors.ts';

/** What a Raft core asks to be kept, strictly in this order. */
export type RaftWrite =
  | Persist
  | PersistSnapshotChunk
  | Extract<Effect, { readonly type: 'compact' | 'discardSnapshot' }>;

/**
 * The durable half of one replica: its log, hard state and snapshots. Writes begin in the order in
 * which they were asked for and complete in it; many that wait share one sync. After one of them
 * failed nothing more completes well: what is on the disk is unknown, this life of the replica is over.
 */
export interface RaftLog {
  write(write: RaftWrite, done: Completion<void>): void;
  /** A snapshot that this replica cut itself; its name, term and configuration are kept with it. */
  saveSnapshot(snapshot: Snapshot, data: Uint8Array, done: Completion<void>): void;
  /** Part of an installed or own snapshot, for a follower that needs it. */
  readSnapshot(
    snapshot: Snapshot,
    offset: number,
    lengthBytes: number,
    done: Completion<Uint8Array>,
  ): void;
  /** Whether the bytes received so far have the digest that names them. */
  verifySnapshot(snapshot: Snapshot, done: Completion<boolean>): void;
  close(done: Completion<void>): void;
}

/** Whose log it is. A directory of another group or member is refused, and so is a newer format. */
export interface RaftLogIdentity {
  readonly group: string;
  readonly replica: number;
}

export interface OpenedRaftLog {
  readonly log: RaftLog;
  readonly restored: Restored;
}

/** The name of a snapshot's bytes: lower-case hex of SHA-256. */
export type SnapshotDigest = (data: Uint8Array) => string;
