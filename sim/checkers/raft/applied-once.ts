import type { RaftChecker } from './watch.ts';

/** A command of a session is done once: at one index, whoever does it. */
export function appliedOnce(): RaftChecker {
  const done = new Map<string, number>();
  return {
    name: 'applied-once',
    did: ({ id }, index, command) => {
      const first = done.get(command) ?? index;
      done.set(command, first);
      return first === index
        ? null
        : `${id} did ${command} at ${index}, and it was done at ${first}`;
    },
  };
}
