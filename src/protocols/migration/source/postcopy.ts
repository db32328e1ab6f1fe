/**
 * The last step of the ladder: the guest runs at the destination before all of its memory is there. It is
 * stopped here, that is made durable, and the group commits, all as in any other move; only then does its
 * QEMU start post-copy. Nothing is aborted after that: half of the guest's memory is at either host, and it
 * is lost with either. Its process here is no guest any more but a store of pages, and is killed when its
 * own QEMU says that the last one is at the other host.
 *
 *   precopy -> fencing (by its run state) -> fencePersisting -> fenced -> switching -> postcopy -> releasing
 */
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { ASK_AGAIN_US, askPeer, awaitRunning, unconfirmed } from './confirmation.ts';
import { limitWait } from './interruption.ts';
import { release } from './settlement.ts';
import type { SourceState } from './state.ts';

/** The process is not frozen: it must still answer for pages. It stands still because it was told to. */
export function beginPostcopy(state: SourceState, reason: string): void {
  state.isPostcopy = true;
  state.stoppedAtUs = state.nowUs;
  state.enter('fencing', reason);
  limitWait(state);
  state.busy = 'fence';
  state.emit({ type: 'stopForPostcopy' });
}

/** This host applied the commit: the point of no return of the memory, too. */
export function startPostcopy(state: SourceState): void {
  const { to } = state.options;
  state.enter('switching', `${to} owns the guest, its devices are on their way`);
  state.note('postcopy', 'losing either host now loses the guest');
  state.busy = 'postcopy';
  state.emit({ type: 'postcopy' });
  if (state.options.isRestored) askPeer(state);
  if (state.peerResumed) runsThere(state);
}

/** It said so. What is here was overtaken, and may never run again. */
export function runsThere(state: SourceState): void {
  const { to } = state.options;
  state.failure = null;
  if (state.isWhole) return release(state);
  state.enter('postcopy', `the guest runs at ${to} and gets the rest of its memory from here`);
  // Asked for once more where it was found broken before that was known.
  if (state.shortBecause !== null) broken(state, state.shortBecause);
}

export function postcopyDone(state: SourceState, outcome: Outcome<void>): void {
  if (!outcome.ok) return broken(state, outcome.error);
  state.isWhole = true;
  state.note('postcopy', 'the last page is at the destination');
  if (state.phase === 'postcopy') return release(state);
  if (state.phase === 'switching') awaitRunning(state);
}

/** The stream is gone, or one of its ends. Nothing is woken by that, here or there. */
export function broken(state: SourceState, error: DwcpError): void {
  state.shortBecause = error;
  if (state.phase === 'switching') {
    state.setTimer('outcome', ASK_AGAIN_US);
    return unconfirmed(state, error.message);
  }
  if (state.phase !== 'postcopy') return;
  const { terms, to } = state.options;
  const message = `"${terms.guestName}" runs at ${to} without all of its memory: ${error.message}`;
  const hint =
    'What is missing there is in the stopped process here, which is kept. It is lost if that host or this one is.';
  state.failure = new DwcpError('ERR_DWCP_GUEST_FAILED', message, { hint });
  state.enter('postcopy', `${message}. ${hint}`);
}

/** The link is back: pages come over it again by themselves, what QEMU said back may be lost. */
export function goOn(state: SourceState): void {
  state.send({ type: 'reattach' });
  askPeer(state);
}

/** Gone from both hosts: nobody has all of its memory. */
export function isShort({ isPostcopy, isWhole, peerResumed }: SourceState): boolean {
  return isPostcopy && peerResumed && !isWhole;
}
