/**
 * Giving the guest up: it is stopped for good, that is noted durably, and only then told. Sending
 * `fenced` is the point of no return.
 */
import { assert } from '../../../util/assert.ts';
import type { Outcome } from '../../../util/errors.ts';
import { recordKey } from '../types.ts';
import { abort, abortNow } from './abort.ts';
import { OUTCOME_TIMEOUT_US, type SourceState } from './state.ts';

export function fence(state: SourceState): void {
  state.cancelTimer('verify');
  state.enter('fencing', 'stopping the source for good');
  state.busy = 'fence';
  state.emit({ type: 'fence' });
}

export function guestFenced(state: SourceState, outcome: Outcome<void>): void {
  if (state.wantAbort !== null) return abortNow(state);
  if (!outcome.ok) return abort(state, outcome.error, true);
  persistFence(state);
}

function persistFence(state: SourceState): void {
  const { terms, to, fence: guest } = state.options;
  const { migrationId, guestName, epoch } = terms;
  state.enter('fencePersisting', 'noting durably that the source gave the guest up');
  state.busy = 'persistFence';
  state.emit({
    type: 'persist',
    token: 'fence',
    key: recordKey('fence', migrationId),
    record: {
      kind: 'fence',
      value: { ...guest, migrationId, guestName, to, epoch, postcopy: state.isPostcopy },
    },
  });
}

export function fenceStored(state: SourceState, outcome: Outcome<void>): void {
  assert(
    state.phase === 'fencePersisting' || state.phase === 'aborting',
    'the fence is persisted once',
  );
  state.busy = null;
  // A cancel or a failure arrived while the record was written: `fenced` was not sent, so we may.
  if (state.wantAbort !== null) return abortNow(state);
  if (!outcome.ok) return abort(state, outcome.error, true);
  state.isFenceDurable = true;
  // Cut off meanwhile: once the link is back.
  if (state.cut === null) sendFenced(state);
}

/** The point of no return. */
export function sendFenced(state: SourceState): void {
  state.enter('fenced', 'waiting for the destination to commit in the log');
  const { epoch } = state.options.terms;
  const message = { type: 'fenced', epoch, postcopy: state.isPostcopy } as const;
  state.emit({ type: 'send', after: 'fence', message });
  state.setTimer('outcome', OUTCOME_TIMEOUT_US);
}
