/**
 * The decision. A commit needs `fenced` and a loaded guest; an abort is recorded only where the
 * source already waits for an answer. What was recorded is said ever after, and nothing else.
 */
import type { GuestReference } from '../../../ports/hypervisor.ts';
import { assert } from '../../../util/assert.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { type DecisionRecord, recordKey } from '../types.ts';
import { beginDiscard } from './discard.ts';
import { decideAbort, persistDecision, sendDecision } from './record.ts';
import { armSettleTimer, forgetDecision } from './settlement.ts';
import type { DestinationState } from './state.ts';

/** This process found the decision of an earlier one. */
export function restore(state: DestinationState, record: DecisionRecord): void {
  armSettleTimer(state);
  if (record.verdict === 'abort') {
    state.discard = 'done';
    return state.enter('aborted', 'aborted earlier');
  }
  state.reference = record.reference;
  state.guestRecord = state.options.isRunning ? 'durable' : 'none';
  if (record.reference === null) state.guestRecord = 'durable';
  if (state.guestRecord === 'durable') return state.enter('committed', 'the guest runs here');
  resume(state, record.reference);
}

/** Nothing is known of this migration: its source will ask, and the answer is abort. */
export function startUnknown(state: DestinationState): void {
  state.discard = 'done';
  armSettleTimer(state);
  state.failure = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', 'no such migration here');
  state.enter('discarding', 'nothing is known of this migration');
}

export function fenced(state: DestinationState, epoch: number): void {
  if (state.phase !== 'loaded' || epoch !== state.options.terms?.epoch) {
    return query(state, `fenced for epoch ${epoch} does not fit phase ${state.phase}`);
  }
  state.enter('committing', 'the source is fenced, deciding');
  persistDecision(state, 'commit');
}

/** A source that is cut off asks. Whoever has not decided to commit by now decides to abort. */
export function query(state: DestinationState, reason: string): void {
  switch (state.phase) {
    case 'committing':
    case 'resuming':
    case 'decidingAbort':
      return;
    case 'committed':
      return sendDecision(state, state.resumeFailed ? 'unknown' : 'commit');
    case 'aborted':
      return sendDecision(state, 'abort');
    default:
      state.failure ??= new DwcpError('ERR_DWCP_PEER_UNREACHABLE', reason);
      state.mustAnswer = true;
      if (state.phase === 'discarding' || state.busy !== null) return beginDiscard(state, reason);
      return decideAbort(state, reason);
  }
}

/** The source may have acted on it and not been able to say so, or may not have heard it at all. */
export function repeatDecision(state: DestinationState): void {
  if (state.phase === 'committed' || state.phase === 'aborted') query(state, 'decided earlier');
}

export function abortStored(state: DestinationState, outcome: Outcome<void>): void {
  if (state.phase !== 'decidingAbort') return;
  if (!outcome.ok) {
    // Not durable, so not answered; the source stays fenced and asks again.
    state.failure = outcome.error;
    sendDecision(state, 'unknown');
    return state.enter('discarding', outcome.error.message);
  }
  state.hasAbortRecord = true;
  beginDiscard(state, state.reason);
}

export function commitStored(state: DestinationState, outcome: Outcome<void>): void {
  assert(state.phase === 'committing', 'a commit is persisted once');
  if (outcome.ok) return resume(state, null);
  // The record may or may not have reached the disk. Neither answer is safe now: after a restart
  // the disk says which one it was.
  state.failure = outcome.error;
  state.resumeFailed = true;
  state.enter('committed', `the decision could not be stored: ${outcome.error.message}`);
  sendDecision(state, 'unknown');
}

function resume(state: DestinationState, reference: GuestReference | null): void {
  state.enter('resuming', 'decided: the guest runs here');
  state.emit({ type: 'resume', reference });
}

export function resumed(state: DestinationState, outcome: Outcome<GuestReference>): void {
  if (state.phase !== 'resuming') return;
  state.enter('committed', 'the guest runs here');
  armSettleTimer(state);
  if (!outcome.ok) {
    // Saying commit would kill the source's copy, saying abort could run two: an operator decides.
    state.failure = outcome.error;
    state.resumeFailed = true;
    return sendDecision(state, 'unknown');
  }
  const { terms, restored } = state.options;
  const guestName = terms?.guestName ?? restored?.guestName;
  const epoch = terms?.epoch ?? restored?.epoch;
  assert(guestName !== undefined && epoch !== undefined, 'a commit knows its guest');
  state.emit({
    type: 'persist',
    token: 'guest',
    key: recordKey('guest', guestName),
    record: { kind: 'guest', value: { reference: outcome.value, epoch } },
  });
  sendDecision(state, 'commit');
}

/**
 * The guest has a record of its own, so the decision's need not find it any more. Without this a
 * guest that moved on would look like one that was lost, to a source that asks late.
 */
export function guestStored(state: DestinationState, outcome: Outcome<void>): void {
  state.guestRecord = outcome.ok ? 'durable' : 'failed';
  if (!outcome.ok) state.note('guest record', outcome.error.message);
  if (state.isSettled) return forgetDecision(state);
  if (!outcome.ok) return;
  state.reference = null;
  persistDecision(state, 'commit', 'tookOver');
}
