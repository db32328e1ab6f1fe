/**
 * An agent died in the middle of the rounds, on either side. Both guests outlived it, and what landed is in
 * the memory of the destination's. Rounds begin anew with the pages that are not equal: the destination
 * hashes what it holds, memory and never notes, and the source compares with its own, after it began to
 * track what is written.
 *
 *   [an earlier process: prepare applied -> unfence] -> regain -> prepareReply -> openOutgoing
 *     -> (heldRequest -> heldPages -> held)* -> round
 */
import { PAGE_HASH_BYTES } from '../../../ports/memory.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import type { OwnershipAnswer } from '../../ownership/types.ts';
import { HELD_BLOCK_PAGES, HELD_REQUESTS_MAX, type MigrationMessage } from '../types.ts';
import { abort, fail } from './abort.ts';
import { prepareCommand, refusedPrepare } from './log.ts';
import { nextRound } from './rounds.ts';
import { PREPARE_TIMEOUT_US, type SourceState } from './state.ts';

/** Of an agent that starts and finds its own rounds: the log says first whether they are still wanted. */
export function resume(state: SourceState): void {
  state.isProposed = true;
  state.hasOutgoingRecord = true;
  state.isRegaining = true;
  state.enter('proposing', 'asking the log whether the migration still holds');
  const command = prepareCommand(state);
  state.emit({ type: 'propose', token: 'prepare', command, patienceMs: null });
}

export function resumeApplied(state: SourceState, outcome: Outcome<OwnershipAnswer>): void {
  if (!outcome.ok) return abort(state, outcome.error, false);
  if (!outcome.value.ok) {
    state.isProposed = false;
    return abort(state, refusedPrepare(state, outcome.value), false);
  }
  state.restarts += 1;
  // It may have been stopped when its agent died, and not fenced: the log just said that it is ours.
  state.enter('regaining', 'the agent restarted, the guest goes on');
  state.busy = 'unfence';
  state.emit({ type: 'unfence' });
}

/** The link is up again with another process at its end: the outgoing migration of before is closed. */
export function regain(state: SourceState): void {
  state.isTransferLost = false;
  state.isRegaining = true;
  state.restarts += 1;
  state.cancelTimer('prepare');
  state.enter('regaining', `${state.options.to} restarted, asking what it holds`);
  if (!state.isOpen) return askToRegain(state);
  state.busy = 'abortGuest';
  state.emit({ type: 'abortGuest' });
}

/** The guest runs, and nothing is open any more that could send. */
export function guestGoesOn(state: SourceState, outcome: Outcome<void>): void {
  state.isOpen = false;
  if (!outcome.ok) return fail(state, outcome.error);
  askToRegain(state);
}

export function askToRegain(state: SourceState): void {
  if (!state.linkIsUp) return;
  state.heldAskedPages = 0;
  state.heldPages = 0;
  state.heldComparedPages = 0;
  state.heldEqualPages = 0;
  state.heldBlocks = [];
  state.send({ type: 'regain' });
  state.setTimer('prepare', PREPARE_TIMEOUT_US);
}

/** The destination answers one after the other: whoever is silent for so long is not there. */
export function askHeld(state: SourceState): void {
  state.setTimer('prepare', PREPARE_TIMEOUT_US);
  const { pageCount } = state;
  while (
    state.heldAskedPages < pageCount &&
    state.heldAskedPages - state.heldPages < HELD_REQUESTS_MAX * HELD_BLOCK_PAGES
  ) {
    const firstPage = state.heldAskedPages;
    const pages = Math.min(HELD_BLOCK_PAGES, pageCount - firstPage);
    state.heldAskedPages += pages;
    state.emit({ type: 'askHeld', firstPage, pageCount: pages });
  }
}

/** What was asked on the link that broke, or its answer, is lost. */
export function askHeldAgain(state: SourceState): void {
  if (state.busy === 'abortGuest' || state.busy === 'unfence') return;
  if (!state.isOpen) return askToRegain(state);
  state.heldAskedPages = state.heldPages;
  askHeld(state);
}

export function heldPages(
  state: SourceState,
  { firstPage, hashes }: MigrationMessage & { type: 'heldPages' },
): void {
  // Twice asked, twice answered.
  if (state.phase !== 'regaining' || firstPage !== state.heldPages) return;
  const pages = Math.min(HELD_BLOCK_PAGES, state.pageCount - firstPage);
  if (firstPage >= state.heldAskedPages || hashes.length !== pages * PAGE_HASH_BYTES) {
    const what = `${state.options.to} sent hashes that nobody asked for`;
    return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
  }
  state.heldPages += pages;
  state.heldBlocks.push({ firstPage, hashes });
  compareHeld(state);
  askHeld(state);
}

function compareHeld(state: SourceState): void {
  if (state.busy !== null) return;
  const block = state.heldBlocks.shift();
  if (block === undefined) return;
  state.busy = 'held';
  state.emit({ type: 'held', ...block });
}

export function heldCompared(state: SourceState, outcome: Outcome<number>): void {
  // Of an outgoing migration that is being closed, or given up.
  if (state.busy !== 'held') return;
  state.busy = null;
  if (!outcome.ok) return abort(state, outcome.error, true);
  const left = state.pageCount - state.heldComparedPages;
  state.heldComparedPages += Math.min(HELD_BLOCK_PAGES, left);
  state.heldEqualPages += outcome.value;
  if (state.heldComparedPages < state.pageCount) return compareHeld(state);
  state.isRegaining = false;
  state.cancelTimer('prepare');
  const reason = `${state.heldEqualPages} of ${state.pageCount} pages are at ${state.options.to} already`;
  state.note('regained', reason);
  state.enter('precopy', reason);
  nextRound(state);
}
