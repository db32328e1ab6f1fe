/** What an entry counts for in every limit: its data and a share for what surrounds it. */
import type { Entry } from './types.ts';

/** Index, term, kind and framing, about; it keeps a flood of empty commands inside the limits. */
const ENTRY_OVERHEAD_BYTES = 24;
const MEMBER_BYTES = 8;

export function entryBytes(entry: Entry): number {
  switch (entry.kind) {
    case 'noop':
      return ENTRY_OVERHEAD_BYTES;
    case 'command':
      return ENTRY_OVERHEAD_BYTES + entry.data.length;
    case 'configuration': {
      const { voters, votersOutgoing, learners, learnersNext } = entry.configuration;
      const members = voters.size + votersOutgoing.size + learners.size + learnersNext.size;
      return ENTRY_OVERHEAD_BYTES + members * MEMBER_BYTES;
    }
  }
}
