/** Becoming a follower, from wherever: what a leader or candidate had under way ends here. */
import { dropForwardedReads, dropLeaderReads } from './read-drop.ts';
import { releasePinned } from './snapshot-pins.ts';
import type { ReplicaState } from './state.ts';
import type { ReplicaId, Term } from './types.ts';

export function becomeFollower(
  state: ReplicaState,
  term: Term,
  leader: ReplicaId | null,
  reason: string,
): void {
  const isNewTerm = term > state.term;
  if (isNewTerm) state.setTerm(term, null);
  else if (state.role === 'follower' && state.leader === leader) return;
  const led = state.role === 'leader';
  state.votes.clear();
  state.isTransferCampaign = false;
  if (led) {
    state.peers.clear();
    state.uncommittedBytes = 0;
    // Nobody promises anything to a leader that has stepped down, least of all itself.
    state.heardUs = Number.NEGATIVE_INFINITY;
    state.emit({ type: 'cancelTimer', id: 'heartbeat' });
    releasePinned(state);
  }
  state.changeRole('follower', leader, reason);
  dropLeaderReads(state);
  dropForwardedReads(state);
  endTransfer(state, leader);
  state.drawElectionTimeout();
}

/** Whether a transfer worked is known when the next leader is. */
function endTransfer(state: ReplicaState, leader: ReplicaId | null): void {
  if (state.transfer === null || leader === null) return;
  const { to } = state.transfer;
  state.transfer = null;
  const ok = leader === to;
  const reason = ok ? 'it leads now' : `${leader} leads instead`;
  state.emit({ type: 'transferEnded', to, ok, reason });
}
