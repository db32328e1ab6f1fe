import type { RaftChecker } from './watch.ts';

/** A leader's log holds every entry that was committed in earlier terms. */
export function leaderCompleteness(): RaftChecker {
  const committed = new Map<number, number>();
  return {
    name: 'leader-completeness',
    applied: (_replica, { index, term }) => {
      if (!committed.has(index)) committed.set(index, term);
      return null;
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
