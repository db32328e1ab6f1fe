/**
 * The leader's half of a snapshot: offer it, learn how much the follower holds, send from there.
 * The follower's durable bytes are the only account, so any leader with the same snapshot goes on
 * where another stopped.
 */
import type { Progress } from './progress.ts';
import { releasePinned } from './snapshot-pins.ts';
import type { ReplicaState } from './state.ts';
import type { Input, SnapshotReply } from './types.ts';

/** The follower needs what the log no longer has. */
export function offerSnapshot(state: ReplicaState, peer: Progress): void {
  if (peer.transfer === null) peer.sendSnapshot(state.snapshot, state.nowUs);
  ask(state, peer);
}

/** Nothing moved for a while: a chunk, its answer or the offer was lost. */
export function resumeTransfer(state: ReplicaState, peer: Progress): void {
  const { transfer } = peer;
  if (transfer === null) return;
  if (state.nowUs - transfer.lastSentUs < 2 * state.timing.heartbeatUs) return;
  ask(state, peer);
}

function ask(state: ReplicaState, peer: Progress): void {
  const { transfer } = peer;
  if (transfer === null) return;
  transfer.requestedOffset = null;
  transfer.lastSentUs = state.nowUs;
  const { snapshot } = transfer;
  const { round } = state.reads;
  state.send(
    { type: 'snapshotOffer', from: state.id, to: peer.id, term: state.term, snapshot, round },
    'term',
  );
}

/** The follower holds a part; true when it holds all that the snapshot would give it. */
export function snapshotProgress(
  state: ReplicaState,
  peer: Progress,
  message: SnapshotReply,
): boolean {
  if (message.installed) return true;
  const { transfer } = peer;
  if (transfer === null) return false;
  const { snapshot } = transfer;
  if (message.index !== snapshot.index || message.digest !== snapshot.digest) return false;
  const offset = message.receivedBytes;
  transfer.acknowledgedBytes = offset;
  if (offset >= snapshot.sizeBytes || transfer.requestedOffset === offset) return false;
  transfer.requestedOffset = offset;
  transfer.lastSentUs = state.nowUs;
  const lengthBytes = Math.min(state.limits.snapshotChunkBytes, snapshot.sizeBytes - offset);
  state.emit({ type: 'readSnapshot', to: peer.id, snapshot, offset, lengthBytes });
  return false;
}

export function snapshotRead(
  state: ReplicaState,
  input: Extract<Input, { readonly type: 'snapshotRead' }>,
): void {
  const peer = state.peers.get(input.to);
  const transfer = peer?.transfer ?? null;
  if (peer === undefined || transfer === null) return;
  const { snapshot } = transfer;
  if (snapshot.digest !== input.digest || snapshot.index !== input.index) return;
  if (transfer.requestedOffset !== input.offset) return;
  if (input.data === null) {
    // It cannot be read here any more: begin anew with the newest one.
    peer.probeFrom(peer.matchIndex + 1);
    releasePinned(state);
    return;
  }
  transfer.lastSentUs = state.nowUs;
  const { offset, data } = input;
  const { term } = state;
  const { round } = state.reads;
  state.send(
    { type: 'snapshotChunk', from: state.id, to: peer.id, term, snapshot, offset, data, round },
    'term',
  );
}
