import type { Entry } from '../../../src/protocols/raft/types.ts';

/** Two entries are the same when their prints are. */
export function printOf(entry: Entry): string {
  if (entry.kind === 'noop') return 'noop';
  if (entry.kind === 'command') return `command ${entry.data.join(',')}`;
  const { voters, votersOutgoing, learners, learnersNext } = entry.configuration;
  const sets = [voters, votersOutgoing, learners, learnersNext];
  return JSON.stringify(sets.map((ids) => [...ids].sort((a, b) => a - b)));
}
