import { printOf } from './print.ts';
import type { RaftChecker } from './watch.ts';

/** No two state machines take different entries at one index, and each takes them in order. */
export function stateMachineSafety(): RaftChecker {
  const prints = new Map<number, string>();
  return {
    name: 'state-machine-safety',
    applied: ({ id }, entry) => {
      const print = `${entry.term} ${printOf(entry)}`;
      const first = prints.get(entry.index);
      prints.set(entry.index, first ?? print);
      return first === undefined || first === print ? null : `${id} applied another ${entry.index}`;
    },
  };
}
