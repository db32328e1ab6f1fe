import type { RaftChecker } from './watch.ts';

/** At most one leader is elected in a term. */
export function electionSafety(): RaftChecker {
  const leaders = new Map<number, number>();
  return {
    name: 'election-safety',
    elected: ({ id }, term) => {
      const other = leaders.get(term);
      leaders.set(term, id);
      return other === undefined || other === id ? null : `${other} and ${id} lead term ${term}`;
    },
  };
}
