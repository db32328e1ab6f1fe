/**
 * What a majority holds durably is committed, if the entry is of the leader's own term: counting
 * copies of an older term's entry proves nothing (Raft, section 5.4.2). What hangs on a commit
 * follows here: the state machine, reads that waited, and the next step of a membership change.
 */
import { handToStateMachine } from './apply.ts';
import { isJoint, isVoter } from './configuration.ts';
import { changeConfiguration } from './configuration-change.ts';
import { entryBytes } from './entry-size.ts';
import { startWaitingReads } from './heartbeat.ts';
import { appendOwn } from './leader-log.ts';
import { quorumValue } from './quorum.ts';
import { replicate, tellCommit } from './replication.ts';
import { becomeFollower } from './role.ts';
import type { ReplicaState } from './state.ts';
import { handOver } from './succession.ts';
import type { LogIndex } from './types.ts';

export function advanceCommit(state: ReplicaState): void {
  if (state.role !== 'leader') return;
  const { log } = state;
  const index = quorumValue(state.configuration, (id) =>
    id === state.id ? log.stableIndex : (state.peers.get(id)?.matchIndex ?? 0),
  );
  if (index <= state.commit || log.termAt(index) !== state.term) return;
  const from = state.commit + 1;
  state.commit = index;
  releaseUncommitted(state, from, index);
  tellCommit(state);
  handToStateMachine(state);
  startWaitingReads(state);
  continueMembershipChange(state);
}

function releaseUncommitted(state: ReplicaState, from: LogIndex, to: LogIndex): void {
  if (state.uncommittedBytes === 0) return;
  for (let index = from; index <= to; index += 1) {
    const entry = state.log.at(index);
    if (entry.kind === 'command' && entry.term === state.term) {
      state.uncommittedBytes -= entryBytes(entry);
    }
  }
}

function continueMembershipChange(state: ReplicaState): void {
  const { configuration, configurations } = state;
  if (configurations.currentIndex > state.commit) return;
  if (isJoint(configuration) && configuration.autoLeave) {
    const left = changeConfiguration(configuration, 'leaveJoint', [], { autoLeave: false });
    if (left.ok) {
      appendOwn(state, { kind: 'configuration', configuration: left.configuration });
      replicate(state);
    }
    return;
  }
  // It led until the entry that removes it was committed by the others (thesis, 4.2.2).
  if (!isVoter(configuration, state.id)) {
    handOver(state);
    becomeFollower(state, state.term, null, 'no voter any more');
  }
}

/** Follower: what the leader says is committed, as far as it is known to be the leader's log. */
export function commitTo(state: ReplicaState, index: LogIndex): void {
  if (index <= state.commit) return;
  state.commit = index;
  handToStateMachine(state);
}
