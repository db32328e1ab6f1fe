import type { RaftChecker } from './watch.ts';

/** A leader counts an entry only when all could lose power and a majority would still have it. */
export function committedSurvives(): RaftChecker {
  return {
    name: 'committed-survives',
    counted: ({ leader, entry, configuration, isDurableOn }) => {
      for (const half of [configuration.voters, configuration.votersOutgoing]) {
        let count = 0;
        for (const id of half) if (isDurableOn(id)) count += 1;
        if (half.size === 0 || count * 2 > half.size) continue;
        return `${leader.id} counted ${entry.index}, durable on ${count} of ${half.size}`;
      }
      return null;
    },
  };
}
