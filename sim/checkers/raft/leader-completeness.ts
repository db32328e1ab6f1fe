import type { RaftChecker, Replica } from './watch.ts';

/**
 * A leader's log holds every entry that was committed in earlier terms, for nobody who holds one votes for
 * whom it is missing in.
 */
export function leaderCompleteness(): RaftChecker {
  const committed = new Map<number, number>();
  const isCommitted = (replica: Replica, index: number): boolean =>
    committed.has(index) && replica.termAt(index) === committed.get(index);
  return {
    name: 'leader-completeness',
    applied: (_replica, { index, term }) => {
      if (!committed.has(index)) committed.set(index, term);
      return null;
    },
    granted: ({ replica: voter, last }, candidate) => {
      let { index } = last;
      while (index >= voter.firstIndex && !isCommitted(voter, index)) index -= 1;
      if (index < voter.firstIndex || index < candidate.firstIndex) return null;
      if (isCommitted(candidate, index)) return null;
      return `${voter.id} voted for ${candidate.id}, which misses ${index}:${committed.get(index)}`;
    },
    elected: (leader, term) => {
      for (const [index, committedTerm] of committed) {
        if (committedTerm >= term || index < leader.firstIndex) continue;
        if (leader.termAt(index) === committedTerm) continue;
        return `${leader.id} leads term ${term} without ${index}:${committedTerm}`;
      }
      return null;
    },
  };
}
