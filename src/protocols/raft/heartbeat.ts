/**
 * Rounds. A round is a heartbeat to everybody; its echo from a majority proves that the leader led
 * when the round began. Reads, leases and the check that a majority still answers rest on it.
 */
import { assert } from '../../util/assert.ts';
import type { Progress } from './progress.ts';
import { quorumValue } from './quorum.ts';
import { answerRead } from './read-release.ts';
import { becomeFollower } from './role.ts';
import type { ReplicaState } from './state.ts';
import { expireTransfer, handOver } from './succession.ts';

export function heartbeatTimer(state: ReplicaState): void {
  if (state.role !== 'leader') return;
  if (quorumContactUs(state) < state.nowUs - state.timing.electionUs) {
    return becomeFollower(state, state.term, null, 'no majority answered for an election time-out');
  }
  if (state.isDiskStalled) {
    handOver(state);
    return becomeFollower(state, state.term, null, 'the disk stalled');
  }
  expireTransfer(state);
  beginRound(state);
  armHeartbeat(state);
}

export function armHeartbeat(state: ReplicaState): void {
  const atUs = state.nowUs + state.timing.heartbeatUs;
  state.emit({ type: 'setTimer', id: 'heartbeat', atUs });
}

/** Gives every read that waits for one this round, and asks everybody. */
export function beginRound(state: ReplicaState): void {
  const { reads } = state;
  const round = reads.beginRound(state.nowUs);
  if (state.hasCommittedInTerm) {
    for (const read of reads.unstarted) {
      reads.confirming.push({ ...read, round, index: state.commit });
    }
    reads.unstarted = [];
  }
  for (const peer of state.peers.values()) {
    const commit = Math.min(state.commit, peer.matchIndex);
    const { id: to } = peer;
    state.send({ type: 'heartbeat', from: state.id, to, term: state.term, commit, round }, 'term');
  }
  confirmReads(state);
}

/** A round of its own for waiting reads, unless one is under way already: the next takes them all. */
export function startWaitingReads(state: ReplicaState): void {
  const { reads } = state;
  if (reads.unstarted.length === 0 || reads.confirming.length > 0) return;
  if (state.hasCommittedInTerm) beginRound(state);
}

/** Any answer of this term proves contact; its round proves it since the round's start. */
export function contacted(state: ReplicaState, peer: Progress, round: number): void {
  peer.lastContactUs = state.nowUs;
  if (round <= peer.ackedRound) return;
  assert(round <= state.reads.round, 'a round is begun before it is echoed');
  peer.ackedRound = round;
  peer.ackedRoundUs = state.reads.roundStartUs(round) ?? peer.ackedRoundUs;
  confirmReads(state);
}

function confirmReads(state: ReplicaState): void {
  const { reads } = state;
  if (reads.confirming.length === 0) return;
  const confirmed = quorumValue(state.configuration, (id) =>
    id === state.id ? reads.round : (state.peers.get(id)?.ackedRound ?? 0),
  );
  const count = reads.confirming.findIndex(({ round }) => round > confirmed);
  const ready = reads.confirming.splice(0, count < 0 ? reads.confirming.length : count);
  for (const { requestId, from, index } of ready) {
    if (from === null) answerRead(state, requestId, index, 'linearizable');
    else {
      const { id: to, incarnation } = from;
      const { term } = state;
      state.send(
        { type: 'readIndexReply', from: state.id, to, term, incarnation, requestId, index },
        'term',
      );
    }
  }
  if (ready.length > 0) startWaitingReads(state);
}

export function quorumContactUs(state: ReplicaState): number {
  return quorumValue(state.configuration, (id) =>
    id === state.id ? state.nowUs : (state.peers.get(id)?.lastContactUs ?? 0),
  );
}

/** When the newest round that a majority has echoed began. */
export function confirmedRoundUs(state: ReplicaState): number {
  return quorumValue(state.configuration, (id) =>
    id === state.id ? state.nowUs : (state.peers.get(id)?.ackedRoundUs ?? Number.NEGATIVE_INFINITY),
  );
}
