/** Giving up before any commit: the incoming guest is removed. */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { isRegainable } from '../types.ts';
import { finish, forgetArrival } from './settlement.ts';
import type { DestinationState } from './state.ts';

/** We failed; the source hears why. */
export function fail(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return;
  state.failure = error;
  state.send({ type: 'migrationFailed', error });
  beginDiscard(state, error.message);
}

/** The hypervisor lost the incoming guest; behind `fenced` its resume tells. */
export function incomingFailed(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return state.note('incoming failed', error.message);
  // The link that it came over is gone for good: what came so far is here, and its source may ask for it.
  const isOfLink = state.isCut && error.code === 'ERR_DWCP_PEER_UNREACHABLE';
  if (isOfLink && state.terms !== null && isRegainable(state.terms)) {
    state.needsRegain = true;
    return;
  }
  fail(state, error);
}

export function sourceAborted(state: DestinationState, code: string, reason: string): void {
  if (!state.isUndecided) return;
  state.failure = new DwcpError('ERR_DWCP_CANCELLED', `the source aborted (${code}): ${reason}`);
  beginDiscard(state, reason);
}

/** Without `fenced` nobody but us would commit: giving up is ours to choose, and frees the memory. */
export function beginDiscard(state: DestinationState, reason: string): void {
  state.wantDiscard = true;
  state.emit({ type: 'cancelTimer', id: 'grace' });
  state.note('discarding', reason);
  state.enter('discarding', reason);
  if (state.isGone) return afterDiscard(state, { ok: true, value: undefined });
  // A load may wait for bytes that an aborted source never sends, so the discard does not wait for it.
  const isFree = state.busy === null || state.busy === 'load';
  if (!state.isDiscarding && isFree) discardNow(state);
}

/** Nothing runs in the hypervisor any more that the discard could not cross. */
export function discardNow(state: DestinationState): void {
  state.isDiscarding = true;
  state.enter('discarding', state.reason);
  state.emit({ type: 'discard' });
}

export function afterDiscard(state: DestinationState, outcome: Outcome<void>): void {
  if (!outcome.ok) state.note('discard failed', outcome.error.message);
  const error = state.failure ?? new DwcpError('ERR_DWCP_CANCELLED', state.reason);
  state.failure = error;
  if (state.hasArrivalRecord) return forgetArrival(state);
  finish(state, { type: 'refused', error });
}
