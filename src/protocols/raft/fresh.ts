/** What a replica starts from that has no disk yet. */
import { EMPTY_CONFIGURATION, votersOnly } from './configuration.ts';
import type { Configuration, ReplicaId, Restored } from './types.ts';

/** One of the founders: all of them start from the same voters. */
export function founder(voters: Iterable<ReplicaId>): Restored {
  return fresh(votersOnly(voters));
}

/** One that joins a group: it knows nobody and waits for a leader to find it. */
export function joiner(): Restored {
  return fresh(EMPTY_CONFIGURATION);
}

function fresh(configuration: Configuration): Restored {
  return {
    hardState: { term: 0, vote: null, commit: 0 },
    snapshot: { index: 0, term: 0, configuration, sizeBytes: 0, digest: '' },
    entries: [],
    compacted: null,
    appliedIndex: 0,
    partialSnapshot: null,
    damagedIndex: null,
    voteDamaged: false,
  };
}
