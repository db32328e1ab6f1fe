/** What followers answer their leader. */
import { advanceCommit } from './commit.ts';
import { contacted } from './heartbeat.ts';
import type { Progress } from './progress.ts';
import { replicateTo, resendWhereSilent } from './replication.ts';
import { releasePinned } from './snapshot-pins.ts';
import { resumeTransfer, snapshotProgress } from './snapshot-transfer.ts';
import type { ReplicaState } from './state.ts';
import { continueTransfer } from './succession.ts';
import type { AppendReply, HeartbeatReply, LogIndex, SnapshotReply } from './types.ts';

export function appendReply(state: ReplicaState, message: AppendReply): void {
  const peer = peerOf(state, message);
  if (peer === null) return;
  contacted(state, peer, message.round);
  if (message.matchIndex !== null) return acknowledged(state, peer, message.matchIndex);
  if (message.refused !== null) refused(state, peer, message.refused);
}

export function heartbeatReply(state: ReplicaState, message: HeartbeatReply): void {
  const peer = peerOf(state, message);
  if (peer === null) return;
  contacted(state, peer, message.round);
  if (peer.state === 'snapshot') resumeTransfer(state, peer);
  else resendWhereSilent(state, peer);
}

export function snapshotReply(state: ReplicaState, message: SnapshotReply): void {
  const peer = peerOf(state, message);
  if (peer === null) return;
  contacted(state, peer, message.round);
  if (snapshotProgress(state, peer, message)) acknowledged(state, peer, message.index);
}

/** Null for a replica that is no member any more, and when we do not lead. */
function peerOf(state: ReplicaState, message: { readonly from: number }): Progress | null {
  return state.role === 'leader' ? (state.peers.get(message.from) ?? null) : null;
}

function acknowledged(state: ReplicaState, peer: Progress, index: LogIndex): void {
  const sent = peer.transfer;
  const isNews = peer.acknowledge(index);
  if (sent !== null && peer.transfer === null) releasePinned(state);
  if (isNews) advanceCommit(state);
  if (state.role !== 'leader') return;
  replicateTo(state, peer);
  continueTransfer(state, peer);
}

/** Goes back to where the logs may agree, a whole term at a time. */
function refused(
  state: ReplicaState,
  peer: Progress,
  refusal: NonNullable<AppendReply['refused']>,
): void {
  const { previousIndex, hintIndex, hintTerm, damaged } = refusal;
  // Its promise of an earlier life is void; what it counted for is counted again as it comes.
  if (damaged) peer.matchIndex = Math.min(peer.matchIndex, hintIndex);
  if (peer.state === 'snapshot' || previousIndex <= peer.matchIndex) return;
  if (peer.state === 'probe' && previousIndex !== peer.nextIndex - 1) return;
  const { index } = state.log.agreement(Math.min(hintIndex, previousIndex), hintTerm);
  peer.probeFrom(index + 1);
  replicateTo(state, peer);
}

/** The link broke: what was on its way is lost, so ask where it stands. */
export function unreachable(state: ReplicaState, id: number): void {
  const peer = state.peers.get(id);
  if (peer?.state === 'replicate') peer.probeFrom(peer.matchIndex + 1);
}
