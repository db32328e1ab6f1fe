import type { Entry } from '../../../src/protocols/raft/types.ts';
import { sameEntry } from './same-entry.ts';
import type { RaftChecker } from './watch.ts';

/** Index and term name one entry for all replicas, and with it everything before. */
export function logMatching(): RaftChecker {
  /** By index, then by term. */
  const known = new Map<
    number,
    Map<number, { readonly entry: Entry; readonly previousTerm: number }>
  >();
  return {
    name: 'log-matching',
    wrote: ({ id }, entry, previousTerm) => {
      const { index, term } = entry;
      let byTerm = known.get(index);
      if (byTerm === undefined) {
        byTerm = new Map();
        known.set(index, byTerm);
      }
      const first = byTerm.get(term);
      if (first === undefined) byTerm.set(term, { entry, previousTerm });
      else if (!sameEntry(first.entry, entry)) return `${id} has another entry ${index}:${term}`;
      else if (first.previousTerm !== previousTerm)
        return `${id} has another one before ${index}:${term}`;
      return null;
    },
  };
}
