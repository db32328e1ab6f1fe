/** The destination owns the guest; whether it came to run there is for it to say, and for this host to ask. */
import { DwcpError } from '../../../util/errors.ts';
import { OUTCOME_TIMEOUT_US, type SourceState } from './state.ts';

/** Of the log, that it could not take the question; of the peer, that no answer came. */
export const ASK_AGAIN_US = 1_000_000;

/** The frozen copy stays until then. */
export function awaitRunning(state: SourceState): void {
  const { to } = state.options;
  state.enter('committed', `${to} owns the guest, waiting to hear that it runs there`);
  state.confirmByUs = state.nowUs + OUTCOME_TIMEOUT_US;
  state.setTimer('outcome', ASK_AGAIN_US);
  if (!state.linkIsUp) return unconfirmed(state, `${to} is not connected`);
  if (state.options.isRestored) askPeer(state);
}

export function unconfirmed(state: SourceState, why: string): void {
  const { terms, to } = state.options;
  const { guestName, epoch } = terms;
  const message = `${to} owns "${guestName}" under epoch ${epoch} and did not say that it runs there: ${why}`;
  const hint = `The copy here stays stopped until ${to} answers. If that host is dead or powered off for certain, run: dwcp vm claim ${guestName} --host-is-fenced`;
  state.failure = new DwcpError('ERR_DWCP_OUTCOME_UNKNOWN', message, { hint });
  // Whoever watches the migration reads no error, since it has not failed.
  state.enter('unconfirmed', `${message}. ${hint}`);
}

/** Again and again: a question or an answer may be lost, and the peer may have come back. */
export function askPeer(state: SourceState): void {
  state.send({ type: 'resumedQuery' });
}
