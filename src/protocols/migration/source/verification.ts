/**
 * Comparing the frozen memory with what landed, page by page: before the fence (`strict`), where a
 * difference aborts, or after the commit (`after`), where it can only be reported.
 */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import {
  DIGEST_BLOCK_PAGES,
  DIGEST_BLOCKS_IN_FLIGHT_MAX,
  type MigrationMessage,
} from '../types.ts';
import { abort, abortNow } from './abort.ts';
import { fence } from './fence.ts';
import { release, resumeRelease } from './settlement.ts';
import type { SourceState } from './state.ts';

/** Giving up on comparing after the commit costs only the comparison: the guest runs elsewhere. */
const VERIFY_TIMEOUT_US = 120_000_000;

export function startStrictVerification(state: SourceState): void {
  state.enter('strictVerify', 'comparing memory before the guest resumes');
  state.setTimer('verify', VERIFY_TIMEOUT_US);
  nextDigests(state);
}

export function startVerification(state: SourceState): void {
  state.enter('verifying', 'the guest runs at the destination, comparing memory');
  state.setTimer('verify', VERIFY_TIMEOUT_US);
  nextDigests(state);
}

export function isComparing(state: SourceState): boolean {
  return state.phase === 'verifying' || state.phase === 'strictVerify';
}

function nextDigests(state: SourceState): void {
  const inFlightPages = state.nextDigestPage - state.comparedPages;
  const hasRoom = inFlightPages < DIGEST_BLOCKS_IN_FLIGHT_MAX * DIGEST_BLOCK_PAGES;
  if (state.busy !== null || !hasRoom || state.nextDigestPage >= state.pageCount) return;
  state.busy = 'digests';
  state.emit({
    type: 'digests',
    firstPage: state.nextDigestPage,
    pageCount: Math.min(DIGEST_BLOCK_PAGES, state.pageCount - state.nextDigestPage),
  });
}

export function digested(
  state: SourceState,
  firstPage: number,
  outcome: Outcome<Uint8Array>,
): void {
  state.busy = null;
  if (state.wantAbort !== null) return abortNow(state);
  if (!isComparing(state)) return resumeRelease(state);
  if (!outcome.ok) return verificationFailed(state, outcome.error);
  const pages = Math.min(DIGEST_BLOCK_PAGES, state.pageCount - firstPage);
  state.nextDigestPage = firstPage + pages;
  const last = state.nextDigestPage >= state.pageCount;
  state.send({ type: 'digestBlock', firstPage, digests: outcome.value, last });
  nextDigests(state);
}

export function compared(
  state: SourceState,
  message: MigrationMessage & { type: 'verifyResult' },
): void {
  if (!isComparing(state)) return;
  const { comparedPages, differentPages, firstDifferent } = message;
  // Hostile or confused counts: more than we sent, or fewer than before, is no answer to us.
  const isSane =
    comparedPages >= state.comparedPages &&
    comparedPages <= state.nextDigestPage &&
    differentPages <= comparedPages;
  if (!isSane) {
    const what = `${state.options.to} compared pages that were not sent`;
    return verificationFailed(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
  }
  state.comparedPages = comparedPages;
  state.differentPages = differentPages;
  if (comparedPages < state.pageCount) return nextDigests(state);
  if (state.phase === 'verifying') return release(state);
  if (differentPages === 0) return fence(state);
  abort(
    state,
    new DwcpError(
      'ERR_DWCP_VERIFY_FAILED',
      `${differentPages} of ${comparedPages} pages differ, first ${firstDifferent.slice(0, 4).join(', ')}`,
      {
        hint: 'Please report this: it is a bug or bad memory.',
      },
    ),
    true,
  );
}

export function verificationFailed(state: SourceState, error: DwcpError): void {
  if (state.phase === 'strictVerify') return abort(state, error, true);
  state.note('unverified', error.message);
  release(state);
}
