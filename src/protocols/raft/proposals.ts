/** What a host asks its leader to put into the log. */
import { changeConfiguration } from './configuration-change.ts';
import { entryBytes } from './entry-size.ts';
import { appendOwn } from './leader-log.ts';
import { replicate } from './replication.ts';
import type { ReplicaState } from './state.ts';
import type { Command, Entry, Input, RejectionCode } from './types.ts';

/** The commands of one step share a write and, as far as they fit, a message. */
export function propose(state: ReplicaState, commands: readonly Command[]): void {
  for (const { requestId, data } of commands) {
    const code = refusal(state, data);
    if (code !== null) reject(state, requestId, code);
    else accept(state, requestId, appendOwn(state, { kind: 'command', data }));
  }
  if (state.role === 'leader') replicate(state);
}

function refusal(state: ReplicaState, data: Uint8Array): RejectionCode | null {
  if (state.role !== 'leader') return 'notLeader';
  if (state.transfer !== null) return 'transferring';
  const { messageBytes, uncommittedBytes } = state.limits;
  const bytes = entryBytes({ kind: 'command', index: 0, term: 0, data });
  if (bytes > messageBytes) return 'tooLarge';
  // One command always fits, or a limit below its size would refuse it for ever.
  const isFull = state.uncommittedBytes > 0 && state.uncommittedBytes + bytes > uncommittedBytes;
  return isFull ? 'uncommittedLimit' : null;
}

/**
 * One change at a time, and only by a leader that has committed in its own term: otherwise a change
 * of an older leader, unseen by this one, could leave two majorities without a common member.
 */
export function proposeConfiguration(
  state: ReplicaState,
  input: Extract<Input, { readonly type: 'changeConfiguration' }>,
): void {
  const { requestId, mode, changes, autoLeave } = input;
  const refuse = (code: RejectionCode): void => reject(state, requestId, code);
  if (state.role !== 'leader') return refuse('notLeader');
  if (state.transfer !== null) return refuse('transferring');
  if (!state.hasCommittedInTerm) return refuse('noCommitInTerm');
  if (state.configurations.currentIndex > state.commit) return refuse('changePending');
  const changed = changeConfiguration(state.configuration, mode, changes, { autoLeave });
  if (!changed.ok) return refuse(changed.code);
  const { configuration } = changed;
  accept(state, requestId, appendOwn(state, { kind: 'configuration', configuration }));
  replicate(state);
}

function accept(state: ReplicaState, requestId: number, { index, term }: Entry): void {
  state.emit({ type: 'proposed', requestId, index, term });
}

function reject(state: ReplicaState, requestId: number, code: RejectionCode): void {
  state.emit({ type: 'proposalRejected', requestId, code, leader: state.leader });
}
