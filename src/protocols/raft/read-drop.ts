/** Reads whose leader is gone are refused: who asked asks again, and gets a newer index. */
import type { ReplicaState } from './state.ts';

export function dropLeaderReads(state: ReplicaState): void {
  const { reads } = state;
  for (const { from, requestId } of [...reads.confirming, ...reads.unstarted]) {
    if (from === null) rejectRead(state, requestId, 'leaderChanged');
  }
  reads.confirming = [];
  reads.unstarted = [];
}

export function dropForwardedReads(state: ReplicaState): void {
  for (const requestId of state.reads.forwarded.keys()) {
    rejectRead(state, requestId, 'leaderChanged');
  }
  state.reads.forwarded.clear();
}

export function rejectRead(
  state: ReplicaState,
  requestId: number,
  code: 'leaderChanged' | 'notLeader' | 'tooManyReads',
): void {
  state.emit({ type: 'readRejected', requestId, code, leader: state.leader });
}
