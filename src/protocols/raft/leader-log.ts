/** The leader's own entries: into the log, to the disk, and a new configuration counts at once. */
import { membersOf } from './configuration.ts';
import { entryBytes } from './entry-size.ts';
import { Progress } from './progress.ts';
import { releasePinned } from './snapshot-pins.ts';
import type { ReplicaState } from './state.ts';
import type { Configuration, Entry, LogIndex, Term } from './types.ts';

export type NewEntry =
  | { readonly kind: 'noop' }
  | { readonly kind: 'command'; readonly data: Uint8Array }
  | { readonly kind: 'configuration'; readonly configuration: Configuration };

export function appendOwn(state: ReplicaState, content: NewEntry): Entry {
  const entry = entryOf(content, state.log.lastIndex + 1, state.term);
  state.append([entry]);
  if (entry.kind === 'command') state.uncommittedBytes += entryBytes(entry);
  if (entry.kind === 'configuration') trackMembers(state);
  return entry;
}

function entryOf(content: NewEntry, index: LogIndex, term: Term): Entry {
  switch (content.kind) {
    case 'noop':
      return { kind: 'noop', index, term };
    case 'command':
      return { kind: 'command', index, term, data: content.data };
    case 'configuration':
      return { kind: 'configuration', index, term, configuration: content.configuration };
  }
}

/** One progress per member but the leader; a member that left is told nothing more. */
export function trackMembers(state: ReplicaState): void {
  const members = membersOf(state.configuration).filter((id) => id !== state.id);
  for (const id of members) {
    if (state.peers.has(id)) continue;
    const next = state.log.lastIndex;
    state.peers.set(id, new Progress(id, Math.max(next, 1), state.limits, state.nowUs));
  }
  for (const id of [...state.peers.keys()]) {
    if (!members.includes(id)) state.peers.delete(id);
  }
  releasePinned(state);
}
