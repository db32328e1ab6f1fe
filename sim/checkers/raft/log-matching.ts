import type { Entry } from '../../../src/protocols/raft/types.ts';
import { sameEntry } from './same-entry.ts';
import type { RaftChecker } from './watch.ts';

interface Known {
  readonly entry: Entry;
  readonly previousTerm: number;
  /** Of the same index and another term. */
  readonly older: Known | null;
}

/** Index and term name one entry for all replicas, and with it everything before. */
export function logMatching(): RaftChecker {
  /** By index; nearly always there is one term for each. */
  const known = new Map<number, Known>();
  return {
    name: 'log-matching',
    wrote: ({ id }, entry, previousTerm) => {
      const { index, term } = entry;
      const newest = known.get(index) ?? null;
      let first = newest;
      while (first !== null && first.entry.term !== term) first = first.older;
      if (first === null) known.set(index, { entry, previousTerm, older: newest });
      else if (!sameEntry(first.entry, entry)) return `${id} has another entry ${index}:${term}`;
      else if (first.previousTerm !== previousTerm)
        return `${id} has another one before ${index}:${term}`;
      return null;
    },
  };
}
