/** Snapshots are kept while they are the newest one or somebody is being sent them. */
import type { ReplicaState } from './state.ts';
import type { Snapshot } from './types.ts';

export function replaceSnapshot(state: ReplicaState, snapshot: Snapshot): void {
  const previous = state.snapshot;
  state.snapshot = snapshot;
  // The founding configuration at index 0 is no file.
  if (previous.index > 0) state.pinned.push(previous);
  releasePinned(state);
}

export function releasePinned(state: ReplicaState): void {
  const inUse = new Set([...state.peers.values()].map(({ transfer }) => transfer?.snapshot));
  for (let at = state.pinned.length - 1; at >= 0; at -= 1) {
    const snapshot = state.pinned[at];
    if (snapshot === undefined || inUse.has(snapshot)) continue;
    state.pinned.splice(at, 1);
    state.emit({ type: 'discardSnapshot', snapshot, received: false });
  }
}
