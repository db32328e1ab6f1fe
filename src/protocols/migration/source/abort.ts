/**
 * Giving up before `fenced` was sent: the guest goes on at the source at once, since without `fenced`
 * nobody commits. The log hears of it behind that, so that a later migration can be prepared.
 */
import { assert } from '../../../util/assert.ts';
import { DwcpError } from '../../../util/errors.ts';
import { recordKey } from '../types.ts';
import { abortCommand } from './log.ts';
import type { SourceState } from './state.ts';

export function cancel(state: SourceState): void {
  fail(state, new DwcpError('ERR_DWCP_CANCELLED', 'the migration was cancelled'));
}

/** Whatever went wrong: past the point of no return it changes nothing. */
export function fail(state: SourceState, error: DwcpError): void {
  if (state.isPastNoReturn) return;
  abort(state, error, true);
}

/** Legal only before `fenced` was sent. Waits for an operation that could still stop the guest. */
export function abort(state: SourceState, error: DwcpError, tellPeer: boolean): void {
  assert(!state.isPastNoReturn, 'nothing is aborted after fenced was sent');
  if (state.wantAbort !== null) return;
  state.wantAbort = error;
  state.failure = staysHere(error, state.options.terms.guestName);
  for (const id of ['propose', 'prepare', 'loaded', 'verify', 'grace']) state.cancelTimer(id);
  if (state.isProposed) state.emit({ type: 'insist', command: abortCommand(state, error) });
  if (tellPeer && state.phase !== 'idle' && state.phase !== 'proposing') {
    state.send({ type: 'abort', errorCode: error.code, reason: error.message });
  }
  const mustWait =
    state.busy === 'openOutgoing' ||
    state.busy === 'fence' ||
    state.busy === 'digests' ||
    state.busy === 'unfence' ||
    state.busy === 'persistFence';
  state.note('giving up', error.message);
  state.enter('aborting', error.message);
  if (!mustWait) abortNow(state);
}

/** Whoever reads the error asks first where the guest is. */
function staysHere(error: DwcpError, guestName: string): DwcpError {
  const where = `"${guestName}" goes on running at the source.`;
  return new DwcpError(error.code, error.message, {
    hint: error.hint === null ? where : `${where} ${error.hint}`,
    cause: error,
    ...(error.errno === null ? {} : { errno: error.errno }),
  });
}

/** Nothing is in flight any more that could stop the guest behind our back. */
export function abortNow(state: SourceState): void {
  state.enter('aborting', state.reason);
  if (!state.isOpen) return forgetFence(state);
  state.busy = 'abortGuest';
  state.emit({ type: 'abortGuest' });
}

/** The guest is running again, or never stopped; without a record nobody settles it at a restart. */
export function forgetFence(state: SourceState): void {
  const { migrationId } = state.options.terms;
  if (state.hasOutgoingRecord) {
    const key = recordKey('outgoing', migrationId);
    state.emit({ type: 'forget', token: 'forgetOutgoing', key });
  }
  const key = recordKey('fence', migrationId);
  state.emit({ type: 'forget', token: 'forgetFence', key });
}
