/**
 * The state that all parts of the source's machine share, and how they put effects down. Who may
 * change what is said by the files beside this one; nobody outside the machine sees it.
 */
import { assert } from '../../../util/assert.ts';
import { DwcpError } from '../../../util/errors.ts';
import type { EtaInterval } from '../convergence.ts';
import { ConvergenceLadder } from '../ladder.ts';
import type { MigrationMessage } from '../types.ts';
import {
  PAST_NO_RETURN,
  type SourceEffect,
  type SourceOperation,
  type SourceOptions,
  type SourcePhase,
  type SourceResult,
} from './types.ts';

/** After this long without an outcome the source proposes to abort. It asks; it never resumes. */
export const OUTCOME_TIMEOUT_US = 10_000_000;

/** Room is made meanwhile, or what is there is found again. */
export const PREPARE_TIMEOUT_US = 60_000_000;

export class SourceState {
  readonly options: SourceOptions;
  readonly pageCount: number;
  phase: SourcePhase = 'idle';
  reason = 'not started';
  nowUs = 0;
  linkIsUp: boolean;
  /** Operation in flight; an abort waits for those that could still act on the guest. */
  busy: SourceOperation | 'persistFence' | null = null;
  /** The hypervisor holds an outgoing migration, which only its own abort or release ends. */
  isOpen = false;
  /** Null while all is well; what an operator reads when the guest stands stopped. */
  failure: DwcpError | null = null;

  // pre-copy
  round = 0;
  readonly ladder: ConvergenceLadder;
  remainingBytes = 0;
  etaMs: EtaInterval | null = null;
  stoppedAtUs: number | null = null;

  // a broken link
  /** Null while it stands, or while nobody waits for it. */
  cut: { readonly sinceUs: number; readonly error: DwcpError } | null = null;
  cuts = 0;
  /** The round under way saw the link down: how long it took says nothing of the link. */
  isRoundCut = false;
  isFenceDurable = false;

  // an agent that died
  /** The link that it had is gone for good, and what was on its way with it. */
  isTransferLost = false;
  isRegaining = false;
  restarts = 0;
  hasOutgoingRecord = false;
  /** Asked for, answered, compared: each in order. */
  heldAskedPages = 0;
  heldPages = 0;
  heldComparedPages = 0;
  heldEqualPages = 0;
  heldBlocks: { readonly firstPage: number; readonly hashes: Uint8Array }[] = [];

  // giving up before the fence
  wantAbort: DwcpError | null = null;

  // the log
  /** Prepare was proposed, so it may come to be applied however this goes on. */
  isProposed = false;
  proposeUntilUs = 0;
  isCommitted = false;
  /** Our abort is under way in the log; its answer says who owns the guest. */
  isAsking = false;
  /** Why we asked for the abort: what is told if it wins. */
  cause: DwcpError | null = null;
  /** The destination said that it runs the guest, before this host applied that it may. */
  peerResumed = false;
  /** Until then a silent destination is no trouble yet. */
  confirmByUs = 0;
  /** Another host has it, and not by this migration. */
  isLost = false;

  // post-copy
  isPostcopy: boolean;
  /** Every page is at the destination. */
  isWhole = false;
  /** Why that will not come to be by itself. */
  shortBecause: DwcpError | null = null;

  // comparing
  nextDigestPage = 0;
  comparedPages = 0;
  differentPages = 0;

  #effects: SourceEffect[] = [];

  constructor(options: SourceOptions) {
    this.options = options;
    this.linkIsUp = options.linkIsUp;
    this.isPostcopy = options.isPostcopy ?? false;
    const { maxDowntimeMs } = options.terms;
    const plain = { maxDowntimeCeilingMs: maxDowntimeMs, throttlePercentMax: 0 };
    this.ladder = new ConvergenceLadder({ ...plain, ...options.ladder, maxDowntimeMs });
    this.pageCount = Math.ceil(options.terms.memoryBytes / options.terms.pageBytes);
  }

  /** From here on neither cancel nor failure may make the guest run again. */
  get isPastNoReturn(): boolean {
    return PAST_NO_RETURN.has(this.phase);
  }

  begin(nowUs: number): void {
    assert(this.#effects.length === 0, 'a step left effects behind');
    this.nowUs = nowUs;
  }

  takeEffects(): readonly SourceEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  emit(...effects: readonly SourceEffect[]): void {
    this.#effects.push(...effects);
  }

  /** Told the peer if it can hear; whoever waits for an answer has a timer or the next linkUp. */
  send(message: MigrationMessage): void {
    if (this.linkIsUp) this.emit({ type: 'send', after: null, message });
  }

  setTimer(id: string, afterUs: number): void {
    this.emit({ type: 'setTimer', id, atUs: this.nowUs + afterUs });
  }

  cancelTimer(id: string): void {
    this.emit({ type: 'cancelTimer', id });
  }

  note(what: string, reason: string): void {
    this.emit({ type: 'decided', what, reason });
  }

  enter(phase: SourcePhase, reason: string): void {
    this.phase = phase;
    this.reason = reason;
  }

  finish(result: SourceResult): void {
    this.phase = 'finished';
    this.emit({ type: 'finished', result });
  }
}

export function unreachablePeer(peer: string): DwcpError {
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${peer} is not connected`, {
    hint: `Check that the agent on ${peer} runs and that its address in the configuration is right.`,
  });
}

export function timedOut(message: string): DwcpError {
  return new DwcpError('ERR_DWCP_TIMEOUT', message, {
    hint: 'Look at the log of the destination.',
  });
}
