/** From the note in the log until all memory is at the destination and the guest is stopped. */
import type {
  IncomingEndpoint,
  OutgoingMigration,
  RoundReport,
} from '../../../ports/hypervisor.ts';
import type { Outcome } from '../../../util/errors.ts';
import type { OwnershipAnswer } from '../../ownership/types.ts';
import type { LadderDecision } from '../ladder.ts';
import { isRegainable, recordKey } from '../types.ts';
import { abort, abortNow } from './abort.ts';
import { fence } from './fence.ts';
import { interrupted, isOfLink, limitWait } from './interruption.ts';
import { prepareCommand, refusedPrepare } from './log.ts';
import { beginPostcopy } from './postcopy.ts';
import { askHeld, resumeApplied } from './regain.ts';
import { nextRound } from './rounds.ts';
import { PREPARE_TIMEOUT_US, type SourceState, unreachablePeer } from './state.ts';
import type { SourceInput } from './types.ts';
import { startStrictVerification } from './verification.ts';

/** Without a majority by then nothing moves; the guest runs on. */
const PROPOSE_PATIENCE_MS = 5_000;
const BUSY_US = 100_000;
const LOADED_TIMEOUT_US = 60_000_000;

export function propose(state: SourceState): void {
  const { to } = state.options;
  if (!state.linkIsUp) return state.finish({ type: 'stayed', error: unreachablePeer(to) });
  state.enter('proposing', 'noting the migration in the log of the group');
  state.proposeUntilUs = state.nowUs + PROPOSE_PATIENCE_MS * 1000;
  proposePrepare(state);
}

export function proposePrepare(state: SourceState): void {
  if (state.phase !== 'proposing') return;
  state.isProposed = true;
  const command = prepareCommand(state);
  state.emit({ type: 'propose', token: 'prepare', command, patienceMs: PROPOSE_PATIENCE_MS });
}

export function prepareApplied(state: SourceState, outcome: Outcome<OwnershipAnswer>): void {
  if (state.phase !== 'proposing') return;
  if (state.isRegaining) {
    // Of a peer that did not come yet nothing is known but that: it is waited for like any other.
    const isAlone = !state.linkIsUp && state.cut === null;
    if (isAlone) interrupted(state, unreachablePeer(state.options.to));
    return resumeApplied(state, outcome);
  }
  // It may still come to be applied after our patience: the abort that goes behind it undoes it.
  if (!outcome.ok) return abort(state, outcome.error, false);
  if (outcome.value.ok) return prepare(state);
  state.isProposed = false;
  // The one before it, whose abort is on its way into the log.
  const isBusy = outcome.value.code === 'migrationPrepared';
  if (isBusy && state.nowUs < state.proposeUntilUs) return state.setTimer('propose', BUSY_US);
  abort(state, refusedPrepare(state, outcome.value), false);
}

function prepare(state: SourceState): void {
  const { terms, to } = state.options;
  if (!state.linkIsUp) return abort(state, unreachablePeer(to), false);
  state.enter('preparing', 'asking the destination');
  state.send({ type: 'prepareRequest', terms });
  state.setTimer('prepare', PREPARE_TIMEOUT_US);
}

export function prepared(state: SourceState, outcome: Outcome<IncomingEndpoint>): void {
  const isExpected = state.phase === 'preparing' || state.phase === 'regaining';
  if (!isExpected || state.isOpen || state.busy !== null) return;
  state.cancelTimer('prepare');
  if (!outcome.ok) return abort(state, outcome.error, state.isRegaining);
  if (!state.isRegaining) state.enter('opening', 'the destination is ready');
  noteOutgoing(state);
  state.busy = 'openOutgoing';
  state.emit({ type: 'openOutgoing', endpoint: outcome.value });
}

export function opened(state: SourceState, outcome: Outcome<OutgoingMigration | null>): void {
  state.busy = null;
  if (outcome.ok) state.isOpen = true;
  if (state.wantAbort !== null) return abortNow(state);
  if (!outcome.ok) return abort(state, outcome.error, true);
  if (state.isRegaining) return askHeld(state);
  state.enter('precopy', 'sending all memory');
  nextRound(state);
}

/** For the agent after this one. Nothing waits for it: without it the migration would end with this agent. */
function noteOutgoing(state: SourceState): void {
  const { terms, to, fence: guest } = state.options;
  if (!isRegainable(terms) || state.hasOutgoingRecord) return;
  state.hasOutgoingRecord = true;
  state.emit({
    type: 'persist',
    token: 'outgoing',
    key: recordKey('outgoing', terms.migrationId),
    record: { kind: 'outgoing', value: { ...guest, to, terms } },
  });
}

export function roundDone(state: SourceState, input: SourceInput & { type: 'roundDone' }): void {
  if (state.phase !== 'precopy') return;
  const { outcome, dirtyBytesPerSec, maxBytesPerSec } = input;
  state.busy = null;
  if (!outcome.ok) {
    return isOfLink(state, outcome.error) ? undefined : abort(state, outcome.error, true);
  }
  const { terms } = state.options;
  const { sentPages, remainingBytes, elapsedUs, stopped } = outcome.value;
  state.round += 1;
  const wasCut = state.isRoundCut;
  state.isRoundCut = state.cut !== null;
  state.send({ type: 'roundDone', round: state.round, sentPages, remainingBytes });
  if (wasCut && !stopped) {
    state.remainingBytes = remainingBytes;
    state.reason = 'the link was down during this round, which says nothing of its rate';
    return nextRound(state);
  }
  const decision = state.ladder.afterRound({
    round: state.round,
    sentBytes: sentPages * terms.pageBytes,
    elapsedUs,
    remainingBytes,
    dirtyBytesPerSec,
    maxBytesPerSec,
    stopped,
  });
  state.remainingBytes = remainingBytes;
  follow(state, decision);
}

function follow(state: SourceState, decision: LadderDecision): void {
  state.etaMs = decision.etaMs;
  state.reason = decision.reason;
  state.note(decision.action, decision.reason);
  if (decision.action === 'round') return nextRound(state);
  if (decision.action === 'abort') return abort(state, decision.error, true);
  if (decision.action === 'help') {
    state.busy = 'help';
    return state.emit({ type: 'help', help: decision.help });
  }
  if (decision.action === 'postcopy') return beginPostcopy(state, decision.reason);
  state.enter('stopAndCopy', decision.reason);
  state.stoppedAtUs = state.nowUs;
  limitWait(state);
  state.busy = 'stopAndCopy';
  state.emit({ type: 'stopAndCopy' });
}

/** A round shows whether it made a difference; what could not be done is passed over. */
export function helped(state: SourceState, outcome: Outcome<void>): void {
  if (state.phase !== 'precopy' || state.busy !== 'help') return;
  state.busy = null;
  const { text, next } = state.ladder.helped(outcome);
  state.note(outcome.ok ? 'helped' : 'notHelped', text);
  if (next !== null) return follow(state, next);
  nextRound(state);
}

export function copied(state: SourceState, outcome: Outcome<RoundReport>): void {
  if (state.phase !== 'stopAndCopy') return;
  state.busy = null;
  if (!outcome.ok) return abort(state, outcome.error, true);
  state.remainingBytes = 0;
  state.enter('awaitLoaded', 'everything is sent, the destination loads');
  state.send({ type: 'copied' });
  state.setTimer('loaded', LOADED_TIMEOUT_US);
}

/** The destination could run the guest: compare first if that was asked for, then give it up. */
export function loaded(state: SourceState): void {
  if (state.phase !== 'awaitLoaded') return;
  state.cancelTimer('loaded');
  if (state.options.terms.verify === 'strict') return startStrictVerification(state);
  fence(state);
}
