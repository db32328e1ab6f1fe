import type { Candidate, RaftChecker } from './watch.ts';

/**
 * What a leader committed nobody can be elected without. It tells at the commit what the other rules
 * tell only once the wrong one is elected, for which much more has to go wrong.
 */
export function commitment(): RaftChecker {
  return {
    name: 'commitment',
    committed: ({ id, entry, candidates }) => {
      for (const candidate of candidates) {
        const { replica } = candidate;
        if (entry.index < replica.firstIndex) continue;
        if (replica.termAt(entry.index) === entry.term || !couldWin(candidate, candidates))
          continue;
        return `${id} committed ${entry.index}:${entry.term}, and ${replica.id} could be elected without it`;
      }
      return null;
    },
  };
}

/** By the membership that it knows itself, and by what the logs of all end in. */
function couldWin(candidate: Candidate, all: readonly Candidate[]): boolean {
  const { configuration, replica } = candidate;
  if (!configuration.voters.has(replica.id)) return false;
  return [configuration.voters, configuration.votersOutgoing].every((half) => {
    let grants = 0;
    for (const voter of all) {
      if (half.has(voter.replica.id) && reaches(candidate, voter)) grants += 1;
    }
    return half.size === 0 || grants * 2 > half.size;
  });
}

function reaches({ last }: Candidate, voter: Candidate): boolean {
  if (last.term !== voter.last.term) return last.term > voter.last.term;
  return last.index >= voter.last.index;
}
