/**
 * The commit. It is proposed once `fenced` and everything of the guest are here and a restarted agent
 * would find them, and it is all that makes the guest run: nothing else resumes it, and nothing but an
 * applied state without it discards it.
 */
import type { GuestReference } from '../../../ports/hypervisor.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import type { OwnershipAnswer, OwnershipCommand, VmOwnership } from '../../ownership/types.ts';
import { type ArrivalRecord, recordKey } from '../types.ts';
import { beginDiscard, fail } from './discard.ts';
import { mayFollow, runEarly } from './postcopy.ts';
import { afterGuestRecord } from './settlement.ts';
import type { DestinationState } from './state.ts';

/** The log refused to take the command, which only a full one does. */
const PROPOSE_AGAIN_US = 1_000_000;

/** This process found what an earlier one noted of an arrival. */
export function restore(state: DestinationState, record: ArrivalRecord, isAlive: boolean): void {
  state.reference = record.reference;
  state.hasArrivalRecord = true;
  if (isAlive) return proposeCommit(state);
  const what = `the process of "${record.guestName}" is gone`;
  state.failure = new DwcpError('ERR_DWCP_GUEST_FAILED', `${what}; it had arrived and not resumed`);
  state.isGone = true;
  proposeAbort(state, what);
}

export function fenced(state: DestinationState, epoch: number, postcopy: boolean): void {
  if (state.phase === 'arriving' || state.phase === 'committing') return;
  const isReady = postcopy ? mayFollow(state) : state.phase === 'loaded';
  if (!isReady || epoch !== state.epoch) {
    const what = `fenced for epoch ${epoch} does not fit phase ${state.phase}`;
    const error = new DwcpError('ERR_DWCP_PROTOCOL', what);
    // The source holds still until somebody proposes to abort; this makes it do so.
    if (!state.isUndecided) return state.send({ type: 'migrationFailed', error });
    return fail(state, error);
  }
  state.isPostcopy = postcopy;
  // It writes while its memory comes: its source has nothing to compare with.
  if (postcopy) state.isCompared = true;
  state.enter('arriving', 'the source is fenced, noting the arrival');
  const { migrationId, from } = state.options;
  const { guestName, reference } = state;
  if (reference === null) return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', 'nothing arrived'));
  const value = { migrationId, guestName, from, epoch, reference, postcopy };
  const record = { kind: 'arrival', value } as const;
  state.emit({ type: 'persist', token: 'arrival', key: arrivalKey(state), record });
}

export function arrivalStored(state: DestinationState, outcome: Outcome<void>): void {
  if (state.phase !== 'arriving') return;
  state.hasArrivalRecord = true;
  if (outcome.ok) return proposeCommit(state);
  // It may or may not have reached the disk, so it is taken away again behind the abort.
  state.failure = outcome.error;
  state.send({ type: 'migrationFailed', error: outcome.error });
  proposeAbort(state, outcome.error.message);
}

function proposeCommit(state: DestinationState): void {
  state.enter('committing', 'everything is here, committing in the log of the group');
  propose(state, { type: 'commit', ...nameOf(state) });
}

function proposeAbort(state: DestinationState, reason: string): void {
  state.enter('committing', `aborting in the log of the group: ${reason}`);
  propose(state, { type: 'abort', ...nameOf(state), reason });
}

function propose(state: DestinationState, command: OwnershipCommand): void {
  state.command = command;
  state.emit({ type: 'propose', token: command.type, command, patienceMs: null });
}

export function proposeAgain(state: DestinationState): void {
  if (state.phase === 'committing' && state.command !== null) propose(state, state.command);
}

/**
 * The answer to our own command is decisive either way. News alone is not: a restarted host hears anew that
 * the guest became its own, and only later that an operator took it away again.
 */
export function commandApplied(state: DestinationState, outcome: Outcome<OwnershipAnswer>): void {
  if (state.phase !== 'committing') return;
  if (!outcome.ok) {
    state.note('log', outcome.error.message);
    const atUs = state.nowUs + PROPOSE_AGAIN_US;
    return state.emit({ type: 'setTimer', id: 'propose', atUs });
  }
  const { vm } = outcome.value;
  if (isOurs(state, vm) || isClaimed(state, vm)) return resume(state, vm);
  const owner = vm === null ? 'nobody owns it' : `${vm.owner} owns it under epoch ${vm.epoch}`;
  const what = `the group did not commit "${state.guestName}": ${owner}`;
  state.failure ??= new DwcpError('ERR_DWCP_CANCELLED', what);
  beginDiscard(state, what);
}

function resume(state: DestinationState, vm: VmOwnership | null): void {
  state.epoch = vm?.epoch ?? state.epoch;
  state.note('commit', 'the guest is ours');
  state.emit({ type: 'cancelTimer', id: 'propose' });
  state.enter('resuming', 'committed: the guest runs here');
  if (state.isPostcopy) return runEarly(state);
  if (!state.isGone) return state.emit({ type: 'resume' });
  const what = `"${state.guestName}" is this host's in the log, and its process is gone`;
  resumed(state, { ok: false, error: new DwcpError('ERR_DWCP_GUEST_FAILED', what) });
}

export function resumed(state: DestinationState, outcome: Outcome<GuestReference>): void {
  if (state.phase !== 'resuming') return;
  state.enter('committed', 'the guest runs here');
  if (!outcome.ok) {
    // The source still has its frozen copy, and an operator may claim the guest for it.
    state.failure = outcome.error;
    state.resumeFailed = true;
    state.send({ type: 'migrationFailed', error: outcome.error });
    return afterGuestRecord(state, outcome);
  }
  const { guestName, epoch } = state;
  state.emit({
    type: 'persist',
    token: 'guest',
    key: recordKey('guest', guestName),
    record: { kind: 'guest', value: { reference: outcome.value, epoch } },
  });
  state.send({ type: 'resumed' });
}

/** A source that was cut off, or whose agent restarted, wants to let its frozen copy go. */
export function answerQuery(state: DestinationState): void {
  if (state.phase !== 'committed') return;
  if (!state.resumeFailed) return state.send({ type: 'resumed' });
  const error = state.failure ?? new DwcpError('ERR_DWCP_GUEST_FAILED', 'it did not resume');
  state.send({ type: 'migrationFailed', error });
}

export function guestStored(state: DestinationState, outcome: Outcome<void>): void {
  if (!outcome.ok) state.note('guest record', outcome.error.message);
  afterGuestRecord(state, outcome);
}

export function arrivalKey(state: DestinationState): string {
  return recordKey('arrival', state.options.migrationId);
}

function nameOf(state: DestinationState): {
  readonly vm: string;
  readonly epoch: number;
  readonly migrationId: string;
  readonly host: string;
} {
  const { migrationId, self } = state.options;
  return { vm: state.guestName, epoch: state.epoch - 1, migrationId, host: self };
}

/** An operator gave it to this host before the commit: it holds `fenced` and all of the guest, too. */
function isClaimed(state: DestinationState, vm: VmOwnership | null): boolean {
  return vm?.owner === state.options.self && vm.by.type === 'claimed' && vm.epoch >= state.epoch;
}

function isOurs(state: DestinationState, vm: VmOwnership | null): boolean {
  const { migrationId, self } = state.options;
  return vm?.owner === self && vm.by.type === 'migrated' && vm.by.migrationId === migrationId;
}
