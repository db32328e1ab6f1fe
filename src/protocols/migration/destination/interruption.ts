/**
 * A link that breaks before `fenced` is here. What landed is kept for as long as the source may wait, and a
 * little longer, since the source is the one that gives up and says so in the log.
 */
import { DwcpError } from '../../../util/errors.ts';
import type { VmOwnership } from '../../ownership/types.ts';
import { beginDiscard } from './discard.ts';
import type { DestinationState } from './state.ts';

/** By then the source has given up, and the log has most likely told. */
const LONGER_US = 10_000_000;

export function linkDown(state: DestinationState, error: DwcpError): void {
  if (!state.isUndecided) return;
  state.failure = error;
  if (state.phase === 'preparing' || state.resumeGraceMs === 0) {
    return beginDiscard(state, error.message);
  }
  state.isCut = true;
  state.note('interrupted', error.message);
  const atUs = state.nowUs + state.resumeGraceMs * 1000 + LONGER_US;
  state.emit({ type: 'setTimer', id: 'grace', atUs });
}

export function linkUp(state: DestinationState, peerRestarted: boolean): void {
  if (!state.isCut || !state.isUndecided) return;
  state.isCut = false;
  state.emit({ type: 'cancelTimer', id: 'grace' });
  if (peerRestarted) return beginDiscard(state, `${state.options.from} restarted`);
  state.failure = null;
}

export function graceOver(state: DestinationState): void {
  if (state.isCut && state.isUndecided) beginDiscard(state, 'the source did not come back');
}

/** The source is back and does not know what we heard. */
export function reattach(state: DestinationState): void {
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
