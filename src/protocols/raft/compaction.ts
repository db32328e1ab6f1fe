/** A durable snapshot lets the log go, but for a tail that spares a follower a little behind. */
import { replaceSnapshot } from './snapshot-pins.ts';
import type { ReplicaState } from './state.ts';
import type { Input, Snapshot } from './types.ts';

export function snapshotTaken(
  state: ReplicaState,
  input: Extract<Input, { readonly type: 'snapshotTaken' }>,
): void {
  const { index, sizeBytes, digest } = input;
  if (state.takingSnapshotAt === index) state.takingSnapshotAt = null;
  const term = state.log.termAt(index);
  const isOvertaken = index <= state.snapshot.index || state.partial?.phase === 'installing';
  if (isOvertaken || term === null) {
    discardOvertaken(state, { index, sizeBytes, digest });
    return;
  }
  const configuration = state.configurations.at(index);
  replaceSnapshot(state, { index, term, configuration, sizeBytes, digest });
  compact(state);
}

/** One was installed from the leader while the own one was being cut. */
function discardOvertaken(
  state: ReplicaState,
  taken: Pick<Snapshot, 'index' | 'sizeBytes' | 'digest'>,
): void {
  // The same bytes under the same name are the ones in use.
  for (const used of [state.snapshot, state.partial?.snapshot]) {
    if (used?.index === taken.index && used.digest === taken.digest) return;
  }
  const { configuration } = state.snapshot;
  const snapshot = { ...taken, term: 0, configuration };
  state.emit({ type: 'discardSnapshot', snapshot, received: false });
}

/** Whoever is being sent an older snapshot will need the entries above it. */
export function compact(state: ReplicaState): void {
  const { log, limits, snapshot } = state;
  let through = snapshot.index - limits.keptTailEntries;
  if (log.bytes <= limits.logBytes) {
    for (const { transfer } of state.peers.values()) {
      if (transfer !== null) through = Math.min(through, transfer.snapshot.index);
    }
  }
  const throughTerm = log.termAt(through);
  if (through < log.firstIndex || throughTerm === null) return;
  log.compact(through);
  state.configurations.compact(through);
  state.emit({
    type: 'compact',
    throughIndex: through,
    throughTerm,
    snapshotIndex: snapshot.index,
  });
}
