/**
 * What others say to a replica, and how it is made. It is told by hosts' names; the numbers that the
 * core knows them by stay inside.
 */
import type { dwcp } from '#wire';
import type { RaftWrite } from '../ports/raft-log.ts';
import type { Input, ReadGuarantee, Role, Snapshot, TimerId } from '../protocols/raft/types.ts';
import type { Completion, Outcome } from '../util/errors.ts';

/**
 * On `full` the sender treats a proposal or a read as `ERR_DWCP_LIMIT` and an envelope as lost. What a
 * replica that is stopped had not taken yet is a dead letter: who asked watches it, too.
 */
export type ReplicaMessage = ReplicaCommand | ReplicaInternal;

export type ReplicaCommand =
  /**
   * Answered with the application's answer when this host has applied the command, which happens once,
   * however often it was sent. Proposals that wait together may be applied in any order.
   *
   * `ERR_DWCP_NO_QUORUM`: patience is over (null: never); it may still be applied later.
   * `ERR_DWCP_LIMIT`: too many wait here, or the command is too large; it was not proposed.
   * `ERR_DWCP_OUTCOME_UNKNOWN`: the group forgot this host's session while a snapshot went past; it was
   * applied once or never, and will not be applied any more.
   * `ERR_DWCP_STORAGE`, `ERR_DWCP_CLOSED`: this replica's life is over; it may still be applied later.
   */
  | {
      readonly type: 'propose';
      readonly command: Uint8Array;
      readonly patienceMs: number | null;
      readonly done: Completion<Uint8Array>;
    }
  /** Answered when the application, as it is on this host, may be read under this guarantee. */
  | {
      readonly type: 'read';
      readonly guarantee: ReadGuarantee;
      readonly patienceMs: number | null;
      readonly done: Completion<ReadPoint>;
    }
  /** Only the leader can; `to` must be a voter. Answered when it leads, or with why it does not. */
  | { readonly type: 'transferLeadership'; readonly to: string; readonly done: Completion<void> }
  | { readonly type: 'status'; readonly done: Completion<ReplicaStatus> }
  | { readonly type: 'linkUp'; readonly peer: string }
  | { readonly type: 'linkDown'; readonly peer: string }
  /** `peer` is who the link says it is. */
  | { readonly type: 'envelope'; readonly peer: string; readonly envelope: dwcp.IEnvelope };

/** The application has applied at least `index`. */
export interface ReadPoint {
  readonly index: number;
  /** What it really rests on: where a lease does not hold the read is linearizable. */
  readonly guarantee: ReadGuarantee['kind'];
}

export interface ReplicaStatus {
  readonly group: string;
  readonly self: string;
  /** Until the application is restored nothing is said and nothing is answered. */
  readonly phase: 'loading' | 'running' | 'halted';
  readonly role: Role;
  readonly term: number;
  /** Null while none is known. */
  readonly leader: string | null;
  readonly voters: readonly string[];
  /** Voters that were not heard lately; only told while there is no leader, or by the leader. */
  readonly missing: readonly string[];
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly waitingProposals: number;
  readonly waitingBytes: number;
  /** Null while a leader is known; else what is missing, for people. */
  readonly problem: string | null;
}

/** What the replica asked for and hears of again. */
export type ReplicaInternal =
  /** All messages that were here when it was asked for have been taken: propose them together, tell what is left to tell. */
  | { readonly type: 'flush' }
  | { readonly type: 'tick' }
  | { readonly type: 'timer'; readonly id: TimerId }
  | {
      readonly type: 'written';
      readonly write: RaftWrite;
      readonly ordinal: number;
      readonly outcome: Outcome<void>;
    }
  /** A snapshot's bytes, for the application. */
  | {
      readonly type: 'loaded';
      readonly snapshot: Snapshot;
      readonly outcome: Outcome<Uint8Array>;
    }
  /** Whatever else the core asked to be done is done. */
  | { readonly type: 'input'; readonly input: Input };
