/** Giving up before any commit: the incoming guest is removed, and a waiting source is answered. */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { decideAbort, sendDecision } from './record.ts';
import { armSettleTimer, finish } from './settlement.ts';
import type { DestinationState } from './state.ts';

/** We failed; the source hears why. */
export function fail(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return;
  state.failure = error;
  state.send({ type: 'migrationFailed', error });
  beginDiscard(state, error.message);
}

/** The hypervisor lost the incoming guest; behind a commit that costs only the comparison. */
export function incomingFailed(state: DestinationState, error: DwcpError): void {
  if (state.phase === 'committed') return state.note('comparison lost', error.message);
  fail(state, error);
}

export function sourceAborted(state: DestinationState, code: string, reason: string): void {
  if (!state.isUndecided) return;
  state.failure = new DwcpError('ERR_DWCP_CANCELLED', `the source aborted (${code}): ${reason}`);
  beginDiscard(state, reason);
}

/** Undecided and cut off: aborting is ours to choose, and frees the memory. */
export function linkDown(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return;
  state.failure = error;
  beginDiscard(state, error.message);
}

export function beginDiscard(state: DestinationState, reason: string): void {
  state.wantDiscard = true;
  state.enter('discarding', reason);
  if (state.discard === 'done') return afterDiscard(state, { ok: true, value: undefined });
  // A load may wait for bytes that an aborted source never sends, so the discard does not wait for it.
  const isFree = state.busy === null || state.busy === 'load';
  if (state.discard === 'none' && isFree) discardNow(state);
}

/** Nothing runs in the hypervisor any more that the discard could not cross. */
export function discardNow(state: DestinationState): void {
  state.discard = 'running';
  state.enter('discarding', state.reason);
  state.emit({ type: 'discard' });
}

export function afterDiscard(state: DestinationState, outcome: Outcome<void>): void {
  state.discard = 'done';
  if (!outcome.ok) state.note('discard failed', outcome.error.message);
  const error = state.failure ?? new DwcpError('ERR_DWCP_CANCELLED', state.reason);
  state.failure = error;
  if (!state.mustAnswer) return finish(state, { type: 'refused', error });
  if (!state.hasAbortRecord) return decideAbort(state, state.reason);
  state.enter('aborted', state.reason);
  sendDecision(state, 'abort');
  armSettleTimer(state);
}
