/** The end: the arrival's record goes once the guest has its own, and the comparison has its time. */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { recordKey } from '../types.ts';
import type { DestinationState } from './state.ts';
import type { DestinationResult } from './types.ts';

/** A source that never comes to compare does not occupy a session for ever. */
const COMPARE_TIMEOUT_US = 180_000_000;

/** The guest has a record of its own, or none will find it: only then may the arrival's go. */
export function afterGuestRecord(state: DestinationState, outcome: Outcome<unknown>): void {
  if (!state.isCompared) {
    const atUs = state.nowUs + COMPARE_TIMEOUT_US;
    state.emit({ type: 'setTimer', id: 'compare', atUs });
  }
  if (outcome.ok || state.isGone) return forgetArrival(state);
  state.isRecordSettled = true;
  finishWhenCompared(state);
}

export function forgetArrival(state: DestinationState): void {
  const key = recordKey('arrival', state.options.migrationId);
  state.emit({ type: 'forget', token: 'arrivalForgotten', key });
}

/** A record that stays is settled by the next process. */
export function arrivalForgotten(state: DestinationState, outcome: Outcome<void>): void {
  if (!outcome.ok) state.note('record kept', outcome.error.message);
  if (state.phase === 'discarding') return finish(state, resultOf(state));
  state.isRecordSettled = true;
  finishWhenCompared(state);
}

/** Nothing will be compared any more, or everything was. */
export function comparisonOver(state: DestinationState): void {
  state.isCompared = true;
  finishWhenCompared(state);
}

export function finishWhenCompared(state: DestinationState): void {
  if (state.phase !== 'committed' || !state.isRecordSettled || state.awaitsMemory) return;
  if (state.isCompared || state.resumeFailed) finish(state, resultOf(state));
}

export function finish(state: DestinationState, result: DestinationResult): void {
  state.emit({ type: 'cancelTimer', id: 'compare' });
  state.emit({ type: 'cancelTimer', id: 'propose' });
  if (state.hasIncomingRecord) {
    const key = recordKey('incoming', state.options.migrationId);
    state.emit({ type: 'forget', token: 'incomingForgotten', key });
  }
  state.phase = 'finished';
  state.emit({ type: 'finished', result });
}

function resultOf(state: DestinationState): DestinationResult {
  if (state.phase !== 'committed' || state.resumeFailed) {
    const error = state.failure ?? new DwcpError('ERR_DWCP_CANCELLED', state.reason);
    return { type: 'refused', error };
  }
  const { comparedPages, differentPages } = state;
  return { type: 'received', comparedPages, differentPages };
}
