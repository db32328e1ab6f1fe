/**
 * Leadership that is handed over instead of lost. The old leader says `timeoutNow` to the replica
 * that is furthest, and from then on trusts no lease: the message may arrive at any later time and
 * voters will not protect the old leader from that campaign.
 */
import { assert } from '../../util/assert.ts';
import type { Progress } from './progress.ts';
import { replicateTo } from './replication.ts';
import type { ReplicaState } from './state.ts';
import type { ReplicaId } from './types.ts';

/** An operator's wish: bring `to` up to date, take no proposals meanwhile, then hand over. */
export function transferLeadership(state: ReplicaState, to: ReplicaId): void {
  const refuse = (reason: string): void =>
    state.emit({ type: 'transferEnded', to, ok: false, reason });
  if (state.role !== 'leader') return refuse('not the leader');
  if (state.transfer !== null) return refuse('another transfer is under way');
  if (to === state.id) {
    return state.emit({ type: 'transferEnded', to, ok: true, reason: 'it leads already' });
  }
  const peer = state.peers.get(to);
  if (peer === undefined || !state.configuration.voters.has(to)) return refuse('not a voter');
  state.transfer = { to, deadlineUs: state.nowUs + 2 * state.timing.electionUs };
  continueTransfer(state, peer);
}

/** After every acknowledgement of the chosen one. */
export function continueTransfer(state: ReplicaState, peer: Progress): void {
  if (state.transfer?.to !== peer.id) return;
  if (peer.matchIndex === state.log.lastIndex) return sendTimeoutNow(state, peer.id);
  replicateTo(state, peer);
}

/** It took too long: lead on. */
export function expireTransfer(state: ReplicaState): void {
  const { transfer } = state;
  if (transfer === null || state.nowUs < transfer.deadlineUs) return;
  state.transfer = null;
  const reason = 'it did not take over in time';
  state.emit({ type: 'transferEnded', to: transfer.to, ok: false, reason });
}

/** A leader that cannot stay asks the furthest voter to take over, without waiting for it. */
export function handOver(state: ReplicaState): void {
  let best: Progress | null = null;
  for (const peer of state.peers.values()) {
    if (!state.configuration.voters.has(peer.id)) continue;
    if (best === null || peer.matchIndex > best.matchIndex) best = peer;
  }
  if (best !== null) sendTimeoutNow(state, best.id);
}

function sendTimeoutNow(state: ReplicaState, to: ReplicaId): void {
  assert(state.role === 'leader', 'only a leader hands over');
  state.leaseRevoked = true;
  state.send({ type: 'timeoutNow', from: state.id, to, term: state.term }, 'term');
}
