/** The first step of a life. */
import { assert } from '../../util/assert.ts';
import { handToStateMachine } from './apply.ts';
import type { ReplicaState } from './state.ts';

export function start(state: ReplicaState): void {
  assert(!state.isStarted, 'a replica starts once');
  state.isStarted = true;
  // Before it crashed it may have heard a leader that rests a lease on it: it keeps the promise.
  if (state.term > 0) state.heardUs = state.nowUs;
  state.drawElectionTimeout();
  handToStateMachine(state);
  const { partial } = state;
  if (partial !== null && partial.issuedBytes === partial.snapshot.sizeBytes) {
    partial.phase = 'verifying';
    state.emit({ type: 'verifySnapshot', snapshot: partial.snapshot });
  }
}
