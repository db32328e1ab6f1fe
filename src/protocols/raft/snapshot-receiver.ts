/**
 * The follower's half of a snapshot. Bytes are taken only where the ones before them end, so a
 * doubled or overtaken chunk never lands; the answer counts what is durable. A transfer survives a
 * lost link, a restart and another leader, as long as (index, digest) stays the same.
 */
import { commitTo } from './commit.ts';
import { heal } from './damage.ts';
import { hearLeader } from './follower.ts';
import { replaceSnapshot } from './snapshot-pins.ts';
import type { PartialSnapshot, ReplicaState } from './state.ts';
import type { ReplicaId, Snapshot, SnapshotChunk, SnapshotOffer } from './types.ts';

export function snapshotOffer(state: ReplicaState, message: SnapshotOffer): void {
  hearLeader(state, message.from);
  const { snapshot, from, round } = message;
  if (isHeld(state, snapshot)) return answerHeld(state, from, snapshot, round);
  const partial = partialOf(state, snapshot) ?? beginReceiving(state, snapshot);
  answer(state, from, partial.snapshot, round, partial.issuedBytes);
}

export function snapshotChunk(state: ReplicaState, message: SnapshotChunk): void {
  hearLeader(state, message.from);
  const { snapshot, from, round, offset, data } = message;
  if (isHeld(state, snapshot)) return answerHeld(state, from, snapshot, round);
  const partial = partialOf(state, snapshot);
  if (partial === null) return answer(state, from, snapshot, round, 0);
  const isNext = partial.phase === 'receiving' && offset === partial.issuedBytes;
  if (isNext && data.length > 0 && offset + data.length <= snapshot.sizeBytes) {
    partial.issuedBytes += data.length;
    const isComplete = partial.issuedBytes === snapshot.sizeBytes;
    state.disk.writeChunk(partial.snapshot, offset, data, state.nowUs, isComplete);
  }
  answer(state, from, snapshot, round, partial.issuedBytes);
}

/** Everything in it is here already, by the log or by a snapshot. */
function isHeld(state: ReplicaState, snapshot: Snapshot): boolean {
  return snapshot.index <= state.commit || state.log.matches(snapshot.index, snapshot.term);
}

function answerHeld(
  state: ReplicaState,
  to: ReplicaId,
  { index, digest, sizeBytes }: Snapshot,
  round: number,
): void {
  const { term } = state;
  state.send(
    {
      type: 'snapshotReply',
      from: state.id,
      to,
      term,
      round,
      index,
      digest,
      receivedBytes: sizeBytes,
      installed: true,
    },
    'all',
  );
  commitTo(state, index);
  const { partial } = state;
  const isUseless = partial !== null && partial.snapshot.index <= state.commit;
  if (isUseless && partial.phase === 'receiving') dropPartial(state);
}

function answer(
  state: ReplicaState,
  to: ReplicaId,
  { index, digest }: Snapshot,
  round: number,
  receivedBytes: number,
): void {
  const { term } = state;
  state.send(
    {
      type: 'snapshotReply',
      from: state.id,
      to,
      term,
      round,
      index,
      digest,
      receivedBytes,
      installed: false,
    },
    'all',
  );
}

function partialOf(state: ReplicaState, { index, digest }: Snapshot): PartialSnapshot | null {
  const { partial } = state;
  if (partial === null) return null;
  return partial.snapshot.index === index && partial.snapshot.digest === digest ? partial : null;
}

function beginReceiving(state: ReplicaState, snapshot: Snapshot): PartialSnapshot {
  const previous = state.partial;
  // A late offer of the same leader must not throw away a newer one that is half here.
  const isLate =
    previous !== null && previous.term === state.term && previous.snapshot.index > snapshot.index;
  if (previous !== null && (isLate || previous.phase === 'installing')) return previous;
  dropPartial(state);
  const partial: PartialSnapshot = {
    snapshot,
    term: state.term,
    issuedBytes: 0,
    phase: 'receiving',
  };
  state.partial = partial;
  if (snapshot.sizeBytes === 0) completed(state, snapshot);
  return partial;
}

function dropPartial(state: ReplicaState): void {
  if (state.partial === null) return;
  state.emit({ type: 'discardSnapshot', snapshot: state.partial.snapshot, received: true });
  state.partial = null;
}

/** The last byte is durable: is it what its name says? */
export function completed(state: ReplicaState, snapshot: Snapshot): void {
  const partial = partialOf(state, snapshot);
  if (partial === null || partial.phase !== 'receiving') return;
  // The last write of an earlier attempt says nothing about one that was begun anew.
  if (partial.issuedBytes < snapshot.sizeBytes) return;
  partial.phase = 'verifying';
  state.emit({ type: 'verifySnapshot', snapshot: partial.snapshot });
}

export function snapshotVerified(state: ReplicaState, digest: string, ok: boolean): void {
  const { partial } = state;
  if (partial === null || partial.snapshot.digest !== digest || partial.phase !== 'verifying') {
    return;
  }
  const { snapshot } = partial;
  // Bytes that do not match their name are thrown away; the next offer starts at 0.
  if (!ok || isHeld(state, snapshot)) return dropPartial(state);
  partial.phase = 'installing';
  state.log.reset(snapshot);
  state.disk.install(snapshot);
  state.configurations.reset(snapshot.index, snapshot.configuration);
  state.announceConfiguration();
  state.commit = snapshot.index;
}

/** The snapshot is durable in place of the log: the state machine takes it over. */
export function installed(state: ReplicaState, snapshot: Snapshot): void {
  state.partial = null;
  heal(state, snapshot);
  replaceSnapshot(state, snapshot);
  state.handed = snapshot.index;
  state.emit({ type: 'restore', snapshot });
}
