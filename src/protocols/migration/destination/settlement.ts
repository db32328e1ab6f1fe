/** The end: the record is kept until the source said that it acted on the decision. */
import { DwcpError } from '../../../util/errors.ts';
import { recordKey } from '../types.ts';
import type { DestinationState } from './state.ts';
import type { DestinationResult } from './types.ts';

/** A source that never says what became of its fence does not occupy a session for ever. */
const SETTLE_TIMEOUT_US = 180_000_000;

export function armSettleTimer(state: DestinationState): void {
  state.emit({ type: 'setTimer', id: 'settle', atUs: state.nowUs + SETTLE_TIMEOUT_US });
}

export function settled(state: DestinationState): void {
  if (!isDecided(state)) return;
  state.isSettled = true;
  forgetDecision(state);
}

/** Not before the guest's own record is durable: the decision is what finds the guest until then. */
export function forgetDecision(state: DestinationState): void {
  const isNeeded = state.phase === 'committed' && !state.resumeFailed;
  if (isNeeded && state.guestRecord === 'none') return;
  if (isNeeded && state.guestRecord === 'failed') return finish(state, resultOf(state));
  const key = recordKey('decision', state.options.migrationId);
  state.emit({ type: 'forget', token: 'settled', key });
}

/** The record stays: the next question starts a session from it. */
export function settleTimedOut(state: DestinationState): void {
  if (isDecided(state)) finish(state, resultOf(state));
}

export function recordForgotten(state: DestinationState): void {
  finish(state, resultOf(state));
}

export function finish(state: DestinationState, result: DestinationResult): void {
  state.emit({ type: 'cancelTimer', id: 'settle' });
  state.phase = 'finished';
  state.emit({ type: 'finished', result });
}

function isDecided(state: DestinationState): boolean {
  return state.phase === 'committed' || state.phase === 'aborted';
}

function resultOf(state: DestinationState): DestinationResult {
  if (state.phase === 'aborted' || state.resumeFailed) {
    const error = state.failure ?? new DwcpError('ERR_DWCP_CANCELLED', state.reason);
    return { type: 'refused', error };
  }
  const { comparedPages, differentPages } = state;
  return { type: 'received', comparedPages, differentPages };
}
