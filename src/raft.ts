/**
 * dwcp/raft: the Raft core alone, without input and output, for embedding and for simulation.
 *
 *   const raft = createRaft({ id: 1, restored: founder([1, 2, 3]), random });
 *   perform(raft.step({ type: 'start', nowUs }));
 */

export type { RandomStream } from './ports/random.ts';
export { EMPTY_CONFIGURATION, isJoint, votersOnly } from './protocols/raft/configuration.ts';
export { type ChangeResult, changeConfiguration } from './protocols/raft/configuration-change.ts';
export { describe } from './protocols/raft/describe.ts';
export { founder, joiner } from './protocols/raft/fresh.ts';
export { committedIndex, type VoteResult, voteResult } from './protocols/raft/quorum.ts';
export { createRaft } from './protocols/raft/raft.ts';
export {
  decodeSessionCommand,
  encodeSessionCommand,
  type SessionCommand,
} from './protocols/raft/sessions/command.ts';
export {
  type Application,
  type ProposalOutcome,
  SessionMachine,
  type Settled,
} from './protocols/raft/sessions/machine.ts';
export type { SessionLimits, SessionResult } from './protocols/raft/sessions/table.ts';
export type {
  Command,
  Configuration,
  ConfigurationChange,
  ConfigurationMode,
  Effect,
  Entry,
  HardState,
  Input,
  Lease,
  Linearizable,
  LogIndex,
  Message,
  Raft,
  RaftLimits,
  RaftOptions,
  RaftStatus,
  RaftTiming,
  ReadGuarantee,
  RejectionCode,
  ReplicaId,
  Restored,
  Role,
  Snapshot,
  Stale,
  Term,
  Timed,
} from './protocols/raft/types.ts';
