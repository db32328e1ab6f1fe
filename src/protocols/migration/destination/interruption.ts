/**
 * A link that breaks before `fenced` is here. What landed is kept for as long as the source may wait, and a
 * little longer, since the source is the one that gives up and says so in the log.
 */
import { DwcpError } from '../../../util/errors.ts';
import type { VmOwnership } from '../../ownership/types.ts';
import { isRegainable } from '../types.ts';
import { beginDiscard } from './discard.ts';
import type { DestinationState } from './state.ts';

/** By then the source has given up, and the log has most likely told. */
const LONGER_US = 10_000_000;
/** A source that restarted first asks the log whether its migration still holds. */
const SPEAKS_WITHIN_US = 60_000_000;

export function linkDown(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return;
  state.failure = error;
  // Nothing came yet.
  const isEarly = state.phase === 'preparing' && !state.isRegaining;
  if (isEarly || state.resumeGraceMs === 0) return beginDiscard(state, error.message);
  state.note('interrupted', error.message);
  waitForSource(state);
}

export function waitForSource(state: DestinationState): void {
  state.isCut = true;
  setGrace(state, state.resumeGraceMs * 1000 + LONGER_US);
}

export function linkUp(state: DestinationState, peerRestarted: boolean): void {
  if (!state.isCut || !state.isUndecided) return;
  if (peerRestarted) state.needsRegain = true;
  const { terms } = state;
  if (state.needsRegain && (terms === null || !isRegainable(terms))) {
    return beginDiscard(state, `${state.options.from} restarted`);
  }
  // It may have given up meanwhile: whoever goes on says so.
  setGrace(state, SPEAKS_WITHIN_US);
}

function setGrace(state: DestinationState, afterUs: number): void {
  state.emit({ type: 'setTimer', id: 'grace', atUs: state.nowUs + afterUs });
}

export function graceOver(state: DestinationState): void {
  if (state.isCut && state.isUndecided) beginDiscard(state, 'the source did not come back');
}

/** The source is back and does not know what we heard. */
export function reattach(state: DestinationState): void {
  if (state.isCut && !state.needsRegain) {
    state.isCut = false;
    state.failure = null;
    state.emit({ type: 'cancelTimer', id: 'grace' });
  }
  if (state.phase === 'loaded') return state.send({ type: 'loaded' });
  if (state.isUndecided || state.phase !== 'discarding') return;
  const error = state.failure ?? new DwcpError('ERR_DWCP_CANCELLED', state.reason);
  state.send({ type: 'migrationFailed', error });
}

/**
 * The log says that a source gave up, also where the source itself can not. News may be old (a restarted host
 * hears the whole log anew), so only what follows the migration's own `prepare` counts.
 */
export function applied(state: DestinationState, vm: VmOwnership | null): void {
  const isPrepared = vm?.migration?.migrationId === state.options.migrationId;
  if (isPrepared) state.isPrepared = true;
  if (isPrepared || !state.isPrepared || !state.isUndecided) return;
  const what = 'the log of the group has the abort of this migration';
  state.failure = new DwcpError('ERR_DWCP_CANCELLED', what);
  beginDiscard(state, what);
}
