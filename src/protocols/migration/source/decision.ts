/**
 * After the fence. The destination decides; without its word the guest stands stopped, and only a
 * durable claim by an operator takes the destination's place. No time-out and no error does.
 */
import { assert } from '../../../util/assert.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { recordKey, type Verdict } from '../types.ts';
import { release } from './settlement.ts';
import { DECISION_TIMEOUT_US, type SourceState } from './state.ts';
import { startVerification } from './verification.ts';

export function decided(state: SourceState, verdict: Verdict, reason: string): void {
  if (!isAwaited(state)) return;
  state.note(verdict, reason);
  if (verdict === 'unknown') return outcomeUnknown(state, reason);
  state.cancelTimer('decision');
  state.peerKnows = true;
  if (verdict === 'abort') {
    state.failure = new DwcpError(
      'ERR_DWCP_PEER_UNREACHABLE',
      `the destination decided to abort: ${reason}`,
      {
        hint: `"${state.options.terms.guestName}" runs at the source again; start the migration anew.`,
      },
    );
    return unfence(state);
  }
  state.isCommitted = true;
  state.failure = null;
  // A restarted agent has no outgoing migration, hence nothing that reads the frozen memory.
  if (state.options.terms.verify === 'after' && state.isOpen) return startVerification(state);
  release(state);
}

export function outcomeUnknown(state: SourceState, reason: string): void {
  const { terms, to } = state.options;
  const message = `"${terms.guestName}" was fenced for ${to} and no decision came back: ${reason}`;
  const hint = `It stays stopped here until ${to} answers. If that host is dead or powered off for certain, run: dwcp vm claim ${terms.guestName} --host-is-fenced`;
  state.failure = new DwcpError('ERR_DWCP_OUTCOME_UNKNOWN', message, { hint });
  // Whoever watches the migration reads no error, since it has not failed.
  state.enter('outcomeUnknown', `${message}. ${hint}`);
}

/** The time-out only asks again. */
export function decisionTimedOut(state: SourceState): void {
  if (!isAwaited(state)) return;
  if (state.phase === 'fenced') outcomeUnknown(state, 'no decision came in time');
  askForDecision(state);
}

/** Again and again: a question or an answer may be lost, and the peer may have come to know more. */
export function askForDecision(state: SourceState): void {
  state.send({ type: 'decisionQuery' });
  state.setTimer('decision', DECISION_TIMEOUT_US);
}

/** This process found the fence of an earlier one. */
export function restore(state: SourceState, claimedBy: string | null): void {
  outcomeUnknown(state, 'this agent restarted');
  if (claimedBy !== null) return unfenceByClaim(state, claimedBy);
  askForDecision(state);
}

export function claim(state: SourceState, operator: string): void {
  if (!isAwaited(state)) return;
  const { terms, to } = state.options;
  const { migrationId, guestName } = terms;
  state.cancelTimer('decision');
  state.enter('claiming', `${operator} says that ${to} is fenced`);
  state.claimOperator = operator;
  state.emit({
    type: 'persist',
    token: 'claim',
    key: recordKey('claim', migrationId),
    record: { kind: 'claim', value: { migrationId, guestName, operator } },
  });
}

/** The operator's word must outlive us before we act on it. */
export function claimStored(state: SourceState, outcome: Outcome<void>): void {
  assert(state.claimOperator !== null, 'a claim has an operator');
  if (!outcome.ok) return outcomeUnknown(state, outcome.error.message);
  unfenceByClaim(state, state.claimOperator);
}

function unfenceByClaim(state: SourceState, operator: string): void {
  state.failure = new DwcpError('ERR_DWCP_CANCELLED', `claimed by ${operator}`, {
    hint: 'The guest runs at the source again.',
  });
  state.note('claim', `operator ${operator}`);
  unfence(state);
}

function unfence(state: SourceState): void {
  state.enter('unfencing', state.failure?.message ?? 'the migration was aborted');
  // With the outgoing migration open, its abort also restores what stopAndCopy changed.
  state.busy = state.isOpen ? 'abortGuest' : 'unfence';
  state.emit({ type: state.busy });
}

function isAwaited(state: SourceState): boolean {
  return state.phase === 'fenced' || state.phase === 'outcomeUnknown';
}
