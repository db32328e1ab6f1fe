import type { Entry } from '../../../src/protocols/raft/types.ts';

/** Replicas pass entries by reference, so that most comparisons end at once. */
export function sameEntry(a: Entry, b: Entry): boolean {
  if (a === b) return true;
  if (a.index !== b.index || a.term !== b.term) return false;
  if (a.kind === 'command') return b.kind === 'command' && sameBytes(a.data, b.data);
  if (a.kind === 'noop' || b.kind !== 'configuration') return a.kind === b.kind;
  const [left, right] = [a.configuration, b.configuration];
  return (['voters', 'votersOutgoing', 'learners', 'learnersNext'] as const).every(
    (each) =>
      left[each].size === right[each].size && [...left[each]].every((id) => right[each].has(id)),
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
