/** What follows when the disk has caught up to a token. */
import { handToStateMachine } from './apply.ts';
import { advanceCommit } from './commit.ts';
import { countOwnVote } from './election.ts';
import { completed, installed } from './snapshot-receiver.ts';
import type { ReplicaState } from './state.ts';

export function durable(state: ReplicaState, token: number): void {
  const { log } = state;
  for (const { lastIndex, installs, completes } of state.disk.finished(token)) {
    log.stableIndex = Math.max(log.stableIndex, lastIndex);
    if (installs !== null) installed(state, installs);
    if (completes !== null) completed(state, completes);
  }
  countOwnVote(state);
  advanceCommit(state);
  handToStateMachine(state);
}
