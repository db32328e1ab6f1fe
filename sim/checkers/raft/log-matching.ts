import { printOf } from './print.ts';
import type { RaftChecker } from './watch.ts';

/** Index and term name one entry for all replicas, and with it everything before. */
export function logMatching(): RaftChecker {
  const known = new Map<string, { readonly print: string; readonly previousTerm: number }>();
  return {
    name: 'log-matching',
    wrote: ({ id }, entry, previousTerm) => {
      const key = `${entry.index}:${entry.term}`;
      const print = printOf(entry);
      const first = known.get(key);
      if (first === undefined) known.set(key, { print, previousTerm });
      else if (first.print !== print) return `${id} has another entry ${key}`;
      else if (first.previousTerm !== previousTerm) return `${id} has another one before ${key}`;
      return null;
    },
  };
}
