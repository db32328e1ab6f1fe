/**
 * Raft, without input and output (Ongaro and Ousterhout 2014; Ongaro's thesis, chapters 3 to 6).
 * One replica is one machine: an input goes in, effects come out, in the order they must be begun.
 *
 *   election     pre-vote, votes, protection of a living leader
 *   replication  probe, stream, window        commit     counting, membership's next step
 *   follower     append, refuse, commit       leader     answers
 *   heartbeat    rounds, check-quorum         read-index guarantees of reads
 *   snapshot-*   offers, chunks, install      compaction the kept tail
 *   succession   hand-over                    disk-queue what is durable when
 */
import { applied } from './apply.ts';
import { snapshotTaken } from './compaction.ts';
import { durable } from './durable.ts';
import { electionTimer, startPreVote } from './election.ts';
import { heartbeatTimer } from './heartbeat.ts';
import { unreachable } from './leader.ts';
import { propose, proposeConfiguration } from './proposals.ts';
import { read } from './read-index.ts';
import { receive } from './receive.ts';
import { snapshotVerified } from './snapshot-receiver.ts';
import { snapshotRead } from './snapshot-transfer.ts';
import { start } from './start.ts';
import { ReplicaState } from './state.ts';
import { statusOf } from './status.ts';
import { transferLeadership } from './succession.ts';
import type { Effect, Input, Raft, RaftOptions, Timed } from './types.ts';

export function createRaft(options: RaftOptions): Raft {
  const state = new ReplicaState(options);
  return {
    step: (input) => step(state, input),
    status: () => statusOf(state),
  };
}

function step(state: ReplicaState, input: Timed<Input>): readonly Effect[] {
  if (state.halted !== null) return refuseHalted(input);
  state.begin(input.nowUs);
  if (input.type === 'persistFailed') return state.halt(input.reason);
  take(state, input);
  return state.finish();
}

function take(
  state: ReplicaState,
  input: Exclude<Input, { readonly type: 'persistFailed' }>,
): void {
  switch (input.type) {
    case 'start':
      return start(state);
    case 'message':
      return receive(state, input.message);
    case 'timer':
      return input.id === 'election' ? electionTimer(state) : heartbeatTimer(state);
    case 'propose':
      return propose(state, input.commands);
    case 'changeConfiguration':
      return proposeConfiguration(state, input);
    case 'transferLeadership':
      return transferLeadership(state, input.to);
    case 'read':
      return read(state, input.requestId, input.guarantee);
    case 'persisted':
      return durable(state, input.token);
    case 'applied':
      return applied(state, input.index);
    case 'snapshotTaken':
      return snapshotTaken(state, input);
    case 'snapshotFailed':
      if (state.takingSnapshotAt === input.index) state.takingSnapshotAt = null;
      return;
    case 'snapshotRead':
      return snapshotRead(state, input);
    case 'snapshotVerified':
      return snapshotVerified(state, input.digest, input.ok);
    case 'unreachable':
      return unreachable(state, input.id);
    case 'campaign':
      return startPreVote(state);
  }
}

/** Only who asks is answered; the rest of this life is silence. */
function refuseHalted(input: Input): readonly Effect[] {
  if (input.type === 'propose') {
    return input.commands.map(({ requestId }) => ({
      type: 'proposalRejected',
      requestId,
      code: 'halted',
      leader: null,
    }));
  }
  if (input.type === 'changeConfiguration') {
    const { requestId } = input;
    return [{ type: 'proposalRejected', requestId, code: 'halted', leader: null }];
  }
  if (input.type === 'read') {
    return [{ type: 'readRejected', requestId: input.requestId, code: 'halted', leader: null }];
  }
  if (input.type === 'transferLeadership') {
    return [{ type: 'transferEnded', to: input.to, ok: false, reason: 'halted' }];
  }
  return [];
}
