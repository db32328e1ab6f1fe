/**
 * Committed and locally durable entries go to the state machine, a bounded number of bytes at a
 * time. Snapshots are cut at indices that the log alone determines, so that all replicas cut the same.
 */
import { assert } from '../../util/assert.ts';
import { entryBytes } from './entry-size.ts';
import { releaseReads } from './read-release.ts';
import type { ReplicaState } from './state.ts';
import type { LogIndex } from './types.ts';

export function handToStateMachine(state: ReplicaState): void {
  const { log, limits } = state;
  if (state.partial?.phase === 'installing') return;
  for (;;) {
    const end = Math.min(state.commit, log.stableIndex, nextCut(state));
    const room = limits.applyingBytes - state.applyingBytes;
    if (state.handed >= end || room <= 0) return;
    const entries = log.slice(state.handed + 1, end, room);
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    state.handed += entries.length;
    state.applyingBytes += bytes;
    state.applying.push({ index: state.handed, bytes });
    state.emit({ type: 'apply', entries });
    const every = limits.snapshotEveryEntries;
    if (every > 0 && state.handed % every === 0 && state.takingSnapshotAt === null) {
      state.takingSnapshotAt = state.handed;
      const term = log.termAt(state.handed);
      assert(term !== null, 'what was just handed over is in the log');
      const configuration = state.configurations.at(state.handed);
      state.emit({ type: 'takeSnapshot', index: state.handed, term, configuration });
    }
  }
}

function nextCut(state: ReplicaState): LogIndex {
  const every = state.limits.snapshotEveryEntries;
  if (every === 0) return Number.POSITIVE_INFINITY;
  return (Math.floor(state.handed / every) + 1) * every;
}

export function applied(state: ReplicaState, index: LogIndex): void {
  assert(index <= state.handed, 'only what was handed over is applied');
  if (index <= state.applied) return;
  state.applied = index;
  while ((state.applying[0]?.index ?? Number.POSITIVE_INFINITY) <= index) {
    state.applyingBytes -= state.applying.shift()?.bytes ?? 0;
  }
  releaseReads(state);
  handToStateMachine(state);
}
