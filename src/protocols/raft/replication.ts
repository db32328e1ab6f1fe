/**
 * Sending the log: one probe at a time until the logs agree, then a stream that does not wait, cut
 * into messages and bounded by the follower's window. Entries leave while the leader's own disk
 * still writes them.
 */
import { entryBytes } from './entry-size.ts';
import type { Progress } from './progress.ts';
import { offerSnapshot } from './snapshot-transfer.ts';
import type { ReplicaState } from './state.ts';

/** Everything that this follower may get now. */
export function replicateTo(state: ReplicaState, peer: Progress): void {
  while (sendAppend(state, peer)) {
    // Each one takes room in the window, or makes a probe wait.
  }
}

export function replicate(state: ReplicaState): void {
  for (const peer of state.peers.values()) replicateTo(state, peer);
}

/** Followers apply only what they know to be committed; the next append may be far away. */
export function tellCommit(state: ReplicaState): void {
  for (const peer of state.peers.values()) {
    replicateTo(state, peer);
    const held = Math.min(state.commit, peer.nextIndex - 1);
    if (peer.state === 'replicate' && held > peer.toldCommit) sendEmpty(state, peer);
  }
}

/**
 * An append without entries behind everything sent: accepted, it acknowledges all of it; refused,
 * something before it was lost. Sent at most once per heartbeat, however many answers come.
 */
export function resendWhereSilent(state: ReplicaState, peer: Progress): void {
  if (state.nowUs - peer.lastResendUs < state.timing.heartbeatUs) return;
  const isBehind = peer.matchIndex < state.log.lastIndex;
  if (!isBehind && peer.state === 'replicate') return;
  peer.lastResendUs = state.nowUs;
  peer.probeSent = false;
  if (peer.state === 'replicate') sendEmpty(state, peer);
  else if (peer.state === 'probe' && !sendAppend(state, peer)) sendEmpty(state, peer);
}

/** Sends one message with entries; false when there is none to send, or no room. */
function sendAppend(state: ReplicaState, peer: Progress): boolean {
  const { log, limits } = state;
  if (peer.isPaused || peer.nextIndex > log.lastIndex) return false;
  const previousIndex = peer.nextIndex - 1;
  const previousTerm = log.termAt(previousIndex);
  if (previousTerm === null) {
    offerSnapshot(state, peer);
    return false;
  }
  const room = peer.state === 'replicate' ? peer.inflights.freeBytes : limits.messageBytes;
  const entries = log.slice(peer.nextIndex, log.lastIndex, Math.min(room, limits.messageBytes));
  const lastIndex = previousIndex + entries.length;
  if (peer.state === 'replicate') {
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    peer.inflights.add(lastIndex, bytes);
    peer.nextIndex = lastIndex + 1;
  } else {
    peer.probeSent = true;
  }
  peer.toldCommit = Math.min(state.commit, lastIndex);
  const { term, commit } = state;
  const { round } = state.reads;
  state.send(
    {
      type: 'appendRequest',
      from: state.id,
      to: peer.id,
      term,
      previousIndex,
      previousTerm,
      entries,
      commit,
      round,
    },
    'term',
  );
  return true;
}

/** Asks, or tells the commit, at the end of what was sent. */
function sendEmpty(state: ReplicaState, peer: Progress): void {
  const previousIndex = peer.nextIndex - 1;
  const previousTerm = state.log.termAt(previousIndex);
  if (previousTerm === null) {
    offerSnapshot(state, peer);
    return;
  }
  if (peer.state === 'probe') peer.probeSent = true;
  peer.toldCommit = Math.min(state.commit, previousIndex);
  const { term, commit } = state;
  const message = {
    type: 'appendRequest',
    from: state.id,
    to: peer.id,
    term,
    previousIndex,
    previousTerm,
    entries: [],
    commit,
    round: state.reads.round,
  } as const;
  state.send(message, 'term');
}
