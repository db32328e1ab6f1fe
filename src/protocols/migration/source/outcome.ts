/**
 * After the fence. Commit and abort race in the log, the first one wins, and this host learns which by
 * applying it. Proof is the answer to our own abort, which lies behind our prepare in the log; and, to the
 * process that prepared, the news that this migration brought the guest to its owner. Everything else that
 * was applied may be old news (a restarted host hears the whole log anew), and makes the source ask.
 */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import type { OwnershipAnswer, VmOwnership } from '../../ownership/types.ts';
import { ASK_AGAIN_US, askPeer, awaitRunning, unconfirmed } from './confirmation.ts';
import { abortCommand } from './log.ts';
import { isShort, runsThere, startPostcopy } from './postcopy.ts';
import { release } from './settlement.ts';
import type { SourceState } from './state.ts';
import { startVerification } from './verification.ts';

/** This process found the fence of an earlier one. */
export function restore(state: SourceState): void {
  doubt(state, new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'this agent restarted'));
}

/** Something went wrong behind the fence: to propose the abort is all that it changes. */
export function doubt(state: SourceState, cause: DwcpError): void {
  if (state.phase !== 'fenced' && state.phase !== 'idle') return;
  const { terms, to } = state.options;
  state.cause = cause;
  state.cancelTimer('outcome');
  const message = `"${terms.guestName}" is fenced for ${to}, and ${cause.message}`;
  const hint =
    'It stays stopped here until this host has applied which of commit and abort the group noted, which needs a majority of it. Nobody has to do anything then.';
  state.failure = new DwcpError('ERR_DWCP_OUTCOME_UNKNOWN', message, { hint });
  state.enter('outcomeUnknown', `${message}. ${hint}`);
  ask(state);
}

/** Proposes the abort, for ever. Where the outcome is settled it changes nothing and tells it. */
export function ask(state: SourceState): void {
  if (state.isAsking || !isAwaited(state)) return;
  state.isAsking = true;
  const cause =
    state.cause ?? new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'the outcome is asked for');
  const command = abortCommand(state, cause);
  state.emit({ type: 'propose', token: 'abort', command, patienceMs: null });
}

export function abortApplied(state: SourceState, outcome: Outcome<OwnershipAnswer>): void {
  state.isAsking = false;
  if (!isAwaited(state)) return;
  if (!outcome.ok) {
    state.note('log', outcome.error.message);
    return state.setTimer('ask', ASK_AGAIN_US);
  }
  const { vm } = outcome.value;
  if (isByUs(state, vm)) return committed(state);
  if (vm?.owner !== state.options.self) return lost(state, vm);
  if (isPrepared(state, vm)) return state.setTimer('ask', ASK_AGAIN_US);
  if (isShort(state)) return lost(state, vm);
  if (vm.by.type === 'claimed' && vm.epoch >= state.options.terms.epoch) {
    return claimed(state, vm.by.operator);
  }
  aborted(state);
}

export function applied(state: SourceState, vm: VmOwnership | null): void {
  if (!isAwaited(state)) return;
  if (isByUs(state, vm) && !state.options.isRestored) return committed(state);
  if (!isPrepared(state, vm)) ask(state);
}

/** The frozen copy stays until the guest is heard to run: were it lost there, this is the last one. */
function committed(state: SourceState): void {
  if (state.isCommitted) return;
  const { to } = state.options;
  state.note('commit', `${to} owns the guest`);
  state.isCommitted = true;
  state.failure = null;
  if (state.isPostcopy) {
    state.cancelTimer('outcome');
    return startPostcopy(state);
  }
  state.enter('committed', `${to} owns the guest, waiting to hear that it runs there`);
  if (state.peerResumed) return resumed(state);
  awaitRunning(state);
}

/** Of the guest, not of its owner: before the commit is applied here it is only kept in mind. */
export function resumed(state: SourceState): void {
  state.peerResumed = true;
  if (state.isPostcopy && isAwaitedToRun(state)) {
    state.cancelTimer('outcome');
    return runsThere(state);
  }
  if (state.phase !== 'committed' && state.phase !== 'unconfirmed') return;
  state.cancelTimer('outcome');
  state.failure = null;
  // A restarted agent has no outgoing migration, hence nothing that reads the frozen memory.
  if (state.options.terms.verify === 'after' && state.isOpen) return startVerification(state);
  release(state);
}

export function outcomeTimedOut(state: SourceState): void {
  const { to } = state.options;
  if (state.phase === 'fenced') {
    return doubt(state, new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${to} did not commit in time`));
  }
  if (state.phase !== 'committed' && state.phase !== 'unconfirmed') return;
  const isLate = state.phase === 'committed' && state.nowUs >= state.confirmByUs;
  if (isLate) unconfirmed(state, 'it is silent');
  askPeer(state);
  state.setTimer('outcome', ASK_AGAIN_US);
}

/** The operator's word is in the log, and this host owns the guest by it. */
export function claimed(state: SourceState, operator: string): void {
  if (!isAwaited(state)) return;
  if (isShort(state)) return ask(state);
  state.failure = new DwcpError('ERR_DWCP_CANCELLED', `claimed by ${operator}`, {
    hint: 'The guest runs at the source again.',
  });
  state.note('claim', `operator ${operator}`);
  unfence(state);
}

function aborted(state: SourceState): void {
  const { code, message } =
    state.cause ?? new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'the destination gave it up');
  state.note('abort', message);
  state.failure = new DwcpError(code, `the group noted the abort: ${message}`, {
    hint: `"${state.options.terms.guestName}" runs at the source again; start the migration anew.`,
  });
  unfence(state);
}

function unfence(state: SourceState): void {
  state.isCommitted = false;
  state.cancelTimer('outcome');
  state.enter('unfencing', state.failure?.message ?? 'the migration was aborted');
  // With the outgoing migration open, its abort also restores what stopAndCopy changed.
  state.busy = state.isOpen ? 'abortGuest' : 'unfence';
  state.emit({ type: state.busy });
}

/** It moved on since, ended, or was claimed: whatever became of it, it is not this copy. */
function lost(state: SourceState, vm: VmOwnership | null): void {
  const { guestName } = state.options.terms;
  const owner = vm === null ? 'it ended' : `"${vm.owner}" owns it under epoch ${vm.epoch}`;
  state.note('lost', owner);
  if (isShort(state)) {
    state.isLost = true;
    const what = `"${guestName}" was lost in post-copy, half of it at either host: ${owner}`;
    state.failure = new DwcpError('ERR_DWCP_GUEST_FAILED', what, {
      hint: 'Start it anew, from its disks or a backup.',
    });
  } else if (!state.isCommitted) {
    state.isLost = true;
    const what = `the frozen copy of "${guestName}" is released: ${owner}`;
    state.failure = new DwcpError('ERR_DWCP_NOT_OWNER', what, {
      hint: 'See where it is with: dwcp status',
    });
  }
  state.cancelTimer('outcome');
  // It is not waited for any more.
  if (state.busy === 'postcopy') state.busy = null;
  release(state);
}

function isAwaited({ phase }: SourceState): boolean {
  return (
    phase === 'fenced' ||
    phase === 'outcomeUnknown' ||
    phase === 'committed' ||
    phase === 'unconfirmed' ||
    phase === 'switching' ||
    phase === 'postcopy'
  );
}

/** The commit is applied here. */
function isAwaitedToRun({ phase }: SourceState): boolean {
  return phase === 'committed' || phase === 'unconfirmed' || phase === 'switching';
}

/** The destination owns it by this very migration: no other state ever says so. */
function isByUs(state: SourceState, vm: VmOwnership | null): boolean {
  return vm?.by.type === 'migrated' && vm.by.migrationId === state.options.terms.migrationId;
}

function isPrepared(state: SourceState, vm: VmOwnership | null): boolean {
  return vm?.migration?.migrationId === state.options.terms.migrationId;
}
