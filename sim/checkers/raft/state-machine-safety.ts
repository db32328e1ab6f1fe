import type { Entry } from '../../../src/protocols/raft/types.ts';
import { sameEntry } from './same-entry.ts';
import type { RaftChecker } from './watch.ts';

/** No two state machines take different entries at one index. */
export function stateMachineSafety(): RaftChecker {
  const applied = new Map<number, Entry>();
  return {
    name: 'state-machine-safety',
    applied: ({ id }, entry) => {
      const first = applied.get(entry.index);
      if (first === undefined) applied.set(entry.index, entry);
      else if (!sameEntry(first, entry)) return `${id} applied another ${entry.index}`;
      return null;
    },
  };
}
