/** What a replica is given: who it is, who the others are, and the ports it lives on. */
import type { dwcp } from '#wire';
import type { OpenedRaftLog, SnapshotDigest } from '../ports/raft-log.ts';
import type { Random } from '../ports/random.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMING } from '../protocols/raft/limits.ts';
import type { Application } from '../protocols/raft/sessions/machine.ts';
import type { RaftLimits, RaftTiming } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import type { ReplicaStatus } from './replica-messages.ts';

export interface ReplicaOptions {
  /** Tells groups apart on one link: `[A-Za-z0-9._-]{1,64}`. */
  readonly group: string;
  readonly self: string;
  /** Every host of the group, this one too; the same set everywhere. */
  readonly members: readonly string[];
  /** Closed when the actor stops. */
  readonly log: OpenedRaftLog;
  readonly digest: SnapshotDigest;
  /** Executed in this actor's turns, and empty when it is given. */
  readonly application: Application;
  readonly random: Random;
  /** To a peer of the group; lost while there is no link. Never answered inside the call. */
  readonly send: (peer: string, envelope: dwcp.IEnvelope) => void;
  readonly timing?: Partial<RaftTiming>;
  readonly limits?: Partial<RaftLimits>;
  readonly proposals?: Partial<ProposalLimits>;
  /** After role, term, leader, voters or phase changed. */
  readonly onStatus?: (status: ReplicaStatus) => void;
  /** After the application took what was committed, or a snapshot. */
  readonly onApplied?: (appliedIndex: number) => void;
  /** What an operator should hear of. */
  readonly report?: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** What may wait on one host. The first two are for each of proposals and reads. */
export interface ProposalLimits {
  readonly waiting: number;
  readonly waitingBytes: number;
  /** Sent and not yet applied; the rest waits here instead of on the way. */
  readonly inflightBytes: number;
  /** What was sent and not heard of for so long is sent again. */
  readonly retryUs: number;
}

/** What two links carry at once, one way, has to fit what a control channel lets wait. */
export const REPLICA_LIMITS: RaftLimits = {
  ...DEFAULT_LIMITS,
  messageBytes: 256 << 10,
  inflightBytes: 2 << 20,
  snapshotChunkBytes: 128 << 10,
};

/** Heartbeats every 50 ms, elections between 150 and 300 ms. */
export const REPLICA_TIMING: RaftTiming = DEFAULT_TIMING;

export const PROPOSAL_LIMITS: ProposalLimits = {
  waiting: 4096,
  waitingBytes: 32 << 20,
  inflightBytes: 1 << 20,
  retryUs: 500_000,
};

/** The core's number of a host: its place among the group's hosts, by code units, from 1 on. */
export function replicaIds(members: readonly string[]): ReadonlyMap<string, number> {
  const sorted = [...members].sort((a, b) => (a < b ? -1 : 1));
  const ids = new Map(sorted.map((host, at) => [host, at + 1]));
  assert(ids.size === members.length && ids.size > 0, 'members are some, and named once');
  return ids;
}
