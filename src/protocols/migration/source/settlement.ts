/** The end: the frozen guest is released, or runs again, and the records go. */
import { assert } from '../../../util/assert.ts';
import type { Outcome } from '../../../util/errors.ts';
import { recordKey } from '../types.ts';
import { abortNow, forgetFence } from './abort.ts';
import { guestGoesOn } from './regain.ts';
import type { SourceState } from './state.ts';
import type { PlainOperation, Verification } from './types.ts';

export function release(state: SourceState): void {
  assert(state.isCommitted || state.isLost, 'a guest is released only once another host owns it');
  state.cancelTimer('verify');
  state.enter('releasing', 'another host has the guest, releasing the source');
  resumeRelease(state);
}

/** Digests may still be read from the frozen memory when the release was decided. */
export function resumeRelease(state: SourceState): void {
  if (state.phase !== 'releasing' || state.busy !== null) return;
  state.busy = 'release';
  state.emit({ type: 'release' });
}

/** The guest was released, or runs here again. */
export function guestSettled(
  state: SourceState,
  operation: Exclude<PlainOperation, 'fence' | 'postcopy'>,
  outcome: Outcome<void>,
): void {
  if (state.phase === 'regaining') return guestGoesOn(state, outcome);
  if (state.wantAbort !== null && operation === 'unfence') return abortNow(state);
  if (!outcome.ok) {
    // The guest stands where it is; its record stays, so a restarted agent tries again.
    state.note(`${operation} failed`, outcome.error.message);
    state.failure = outcome.error;
    return finish(state);
  }
  if (operation !== 'release') return forgetFence(state);
  state.enter('settling', state.reason);
  // The process is dead. The guest's record goes first: with a fence record left, a crash in
  // between still settles; the other way round a dead guest would look like ours.
  const key = recordKey('guest', state.options.terms.guestName);
  state.emit({ type: 'forget', token: 'forgetGuest', key });
  forgetFence(state);
}

export function fenceForgotten(state: SourceState, outcome: Outcome<void>): void {
  if (!outcome.ok) state.note('record kept', outcome.error.message);
  finish(state);
}

function finish(state: SourceState): void {
  if (state.isCommitted && !state.isLost) {
    return state.finish({ type: 'moved', verification: verificationOf(state) });
  }
  const error = state.failure;
  assert(error !== null, 'a migration that stayed has a reason');
  state.finish({ type: state.isLost ? 'lost' : 'stayed', error });
}

function verificationOf(state: SourceState): Verification | null {
  // In post-copy the guest writes while its memory comes: there is nothing to compare.
  if (state.options.terms.verify === 'off' || state.isPostcopy) return null;
  const { comparedPages, differentPages, pageCount } = state;
  return { comparedPages, differentPages, complete: comparedPages === pageCount };
}
