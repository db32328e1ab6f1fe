import type { HardState } from '../../../src/protocols/raft/types.ts';
import type { RaftChecker } from './watch.ts';

/** What two leaders of one term come from, before they do: a vote that changes, or that a crash takes back. */
export function votes(): RaftChecker {
  return {
    name: 'votes',
    vowed: ({ id }, before, { term, vote }) => {
      if (term < before.term) return `${id} went from term ${before.term} back to ${term}`;
      if (term > before.term || before.vote === null || vote === before.vote) return null;
      return `${id} voted for ${before.vote} in term ${term}, and then ${voteOf(vote)}`;
    },
    promised: ({ id }, durable, { term, vote }) => {
      if (durable.term > term) return null;
      if (durable.term === term && durable.vote === vote) return null;
      const has = `term ${durable.term} and a vote ${voteOf(durable.vote)}`;
      return `${id} told its vote for ${vote} in term ${term}, and its disk has ${has}`;
    },
  };
}

function voteOf(vote: HardState['vote']): string {
  return vote === null ? 'for nobody' : `for ${vote}`;
}
