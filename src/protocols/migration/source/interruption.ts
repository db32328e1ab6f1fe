/**
 * A link that breaks before `fenced` was sent. The guest goes on where it is, and so does the migration
 * once the link is back with the same process of the peer: what was on its way stays with the link, and
 * only rounds pause. While the guest runs that may take as long as was configured, while it stands still as
 * long as it may stand still; then the migration is given up.
 */
import { DwcpError } from '../../../util/errors.ts';
import { isRegainable } from '../types.ts';
import { fail } from './abort.ts';
import { sendFenced } from './fence.ts';
import { askHeldAgain, regain } from './regain.ts';
import { nextRound } from './rounds.ts';
import { type SourceState, unreachablePeer } from './state.ts';
import type { SourcePhase } from './types.ts';

/** What moves is with the destination, or on its way there. Before it there is nothing worth a wait. */
const HOLDS_OUT: ReadonlySet<SourcePhase> = new Set([
  'opening',
  'precopy',
  'regaining',
  'stopAndCopy',
  'awaitLoaded',
  'fencing',
  'fencePersisting',
]);

export function interrupted(state: SourceState, error: DwcpError): void {
  if (!holdsOut(state) || graceMs(state) === 0) return fail(state, error);
  state.cut = { sinceUs: state.nowUs, error };
  state.cuts += 1;
  state.isRoundCut = true;
  state.note('interrupted', `${error.message}; waiting for ${seconds(graceMs(state))} s`);
  limitWait(state);
}

/** Called anew when the guest stops: from then on it is its downtime that is waited away. */
export function limitWait(state: SourceState): void {
  if (state.cut !== null) state.setTimer('grace', graceMs(state) * 1000);
}

export function graceOver(state: SourceState): void {
  const { cut } = state;
  if (cut === null || !holdsOut(state)) return;
  const { to } = state.options;
  const what = `the link to ${to} was down for ${seconds((state.nowUs - cut.sinceUs) / 1000)} s`;
  const limit =
    state.stoppedAtUs === null ? 'migrations.resumeGraceMs' : 'the downtime that was allowed';
  const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${what}: ${cut.error.message}`, {
    hint: `Longer than ${limit}. Start the migration anew once ${to} is connected.`,
    cause: cut.error,
  });
  fail(state, error);
}

/** The link is back. What was said on it may be lost, so the peer is asked where it is. */
export function reattached(state: SourceState, peerRestarted: boolean): void {
  const { cut } = state;
  if (cut === null || !holdsOut(state)) return;
  state.cut = null;
  state.cancelTimer('grace');
  // This agent restarted, and asks the log first.
  if (state.phase === 'proposing') return;
  if (peerRestarted || state.isTransferLost) {
    return isRegainableIn(state) ? regain(state) : fail(state, unreachablePeer(state.options.to));
  }
  if (state.phase === 'regaining') return askHeldAgain(state);
  const downMs = (state.nowUs - cut.sinceUs) / 1000;
  state.note('resumed', `the link was down for ${seconds(downMs)} s`);
  state.send({ type: 'reattach' });
  if (state.phase === 'awaitLoaded') state.send({ type: 'copied' });
  if (state.phase === 'fencePersisting' && state.isFenceDurable) sendFenced(state);
  if (state.phase === 'precopy' && state.busy === null) nextRound(state);
}

function holdsOut({ phase, isRegaining }: SourceState): boolean {
  return HOLDS_OUT.has(phase) || (phase === 'proposing' && isRegaining);
}

/** Only of a guest that runs: one that stands still does not wait for an agent to start. */
function isRegainableIn({ phase, options }: SourceState): boolean {
  return isRegainable(options.terms) && (phase === 'precopy' || phase === 'regaining');
}

/** True where it is the link that failed, and waiting for it decides. */
export function isOfLink(state: SourceState, error: DwcpError): boolean {
  if (state.cut === null || error.code !== 'ERR_DWCP_PEER_UNREACHABLE') return false;
  if (!isRegainableIn(state)) return false;
  state.isTransferLost = true;
  return true;
}

/** For people: while the link is down, that is why nothing moves. */
export function interruptionOf(state: SourceState, nowUs: number): string | null {
  if (state.cut === null || !holdsOut(state)) return null;
  const down = seconds((nowUs - state.cut.sinceUs) / 1000);
  return `link to ${state.options.to} is down for ${down} s of ${seconds(graceMs(state))} s`;
}

function graceMs(state: SourceState): number {
  const { resumeGraceMs } = state.options.terms;
  const { maxDowntimeMs } = state.ladder;
  return state.stoppedAtUs === null ? resumeGraceMs : Math.min(resumeGraceMs, maxDowntimeMs);
}

function seconds(ms: number): string {
  return ms < 10_000 ? (ms / 1000).toFixed(1) : (ms / 1000).toFixed(0);
}
