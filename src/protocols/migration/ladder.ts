/**
 * What is done when rounds alone do not converge, in this order, each once it was seen that the one before
 * did not help: encode harder, more streams, slow the guest down (as far as the operator allowed, by default
 * not at all), let it stand still longer (up to the operator's ceiling), post-copy (where that is allowed), give
 * up. It runs on at the source then.
 */
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import { type ConvergenceDecision, decideConvergence, type EtaInterval } from './convergence.ts';
import { RoundTrend, type Trend } from './ladder-trend.ts';

export interface LadderOptions {
  /** Without a reason to hurry more. */
  readonly maxDowntimeMs: number;
  /** What the last step may raise it to. */
  readonly maxDowntimeCeilingMs: number;
  /** How much of its processor time the guest may lose, 0 to 99; 0 leaves it alone. */
  readonly throttlePercentMax: number;
  /** It may run at the destination before all of its memory is there; default false. */
  readonly mayPostcopy?: boolean;
}

/** What somebody else has to do. */
export type LadderHelp =
  | { readonly type: 'compress' }
  | { readonly type: 'streams' }
  | { readonly type: 'throttle'; readonly percent: number };

export interface LadderRound {
  readonly round: number;
  readonly sentBytes: number;
  readonly elapsedUs: number;
  readonly remainingBytes: number;
  readonly dirtyBytesPerSec: number;
  readonly maxBytesPerSec: number;
  readonly stopped: boolean;
}

export type LadderDecision = {
  readonly reason: string;
  readonly etaMs: EtaInterval | null;
} & (
  | { readonly action: 'round' | 'stopAndCopy' | 'postcopy' }
  /** To be answered with {@link ConvergenceLadder.helped}. */
  | { readonly action: 'help'; readonly help: LadderHelp }
  | { readonly action: 'abort'; readonly error: DwcpError }
);

/** Each is given rounds to show what it does, so few large ones. */
const THROTTLE_STEP_PERCENT = 25;
/** Over what the low point needed: the next one is not the same to the byte. */
const DOWNTIME_SHARE = 1.1;

/** What a round has to send for its rate to count. */
const TELLING_BYTES = 2 ** 20;
const POSTCOPY = 'post-copy';

type WireRate = Pick<LadderRound, 'sentBytes' | 'elapsedUs'>;

interface Asked {
  readonly help: LadderHelp;
  readonly stalled: ConvergenceDecision;
  /** Decides the same round once more, by what is allowed by then. */
  readonly again: () => ConvergenceDecision;
}

export class ConvergenceLadder {
  readonly #options: LadderOptions;
  readonly #trend = new RoundTrend();
  readonly #helps: LadderHelp[];
  readonly #steps: string[] = [];
  #asked: Asked | null = null;
  /** Of the last round that told it. */
  #rate: WireRate | null = null;
  #maxDowntimeMs: number;

  constructor(options: LadderOptions) {
    this.#options = options;
    this.#maxDowntimeMs = options.maxDowntimeMs;
    this.#helps = [
      { type: 'compress' },
      { type: 'streams' },
      ...throttles(options.throttlePercentMax),
    ];
  }

  /** What it may stand still by now. */
  get maxDowntimeMs(): number {
    return this.#maxDowntimeMs;
  }

  /** What was tried, and what came of it. */
  get steps(): readonly string[] {
    return this.#steps;
  }

  afterRound(measured: LadderRound): LadderDecision {
    const round = { ...measured, ...this.#rateBy(measured) };
    const trend = this.#trend.add(round.remainingBytes);
    const decision = this.#decide(round, trend);
    const { action, reason, etaMs } = decision;
    if (action === 'round' && decision.predictedDowntimeMs <= this.#maxDowntimeMs) {
      if (trend.isWorthWaiting) this.#trend.waited();
    }
    if (action !== 'stalled') return { action, reason, etaMs };
    return this.#climb(decision, (): ConvergenceDecision => this.#decide(round, trend));
  }

  /** A round with next to nothing to send takes the time of its round trips: it says nothing of the wire. */
  #rateBy({ sentBytes, elapsedUs }: LadderRound): WireRate {
    if (this.#rate === null || sentBytes >= TELLING_BYTES) this.#rate = { sentBytes, elapsedUs };
    return this.#rate;
  }

  /** What came of it in words; the step after it at once where it could not be done, else a round shows. */
  helped(outcome: Outcome<void>): { readonly text: string; readonly next: LadderDecision | null } {
    const asked = this.#asked;
    assert(asked !== null, 'only what was asked for is answered');
    this.#asked = null;
    const { help, stalled, again } = asked;
    const what = nameOf(help);
    // A guest that cannot be slowed down a little cannot be slowed down more.
    if (!outcome.ok && help.type === 'throttle') this.#helps.length = 0;
    const text = outcome.ok ? what : `${what}: not possible, ${outcome.error.message}`;
    this.#steps.push(text);
    if (!outcome.ok) return { text, next: this.#climb(stalled, again) };
    this.#trend.anew();
    return { text, next: null };
  }

  #decide(round: LadderRound, trend: Trend): ConvergenceDecision {
    return decideConvergence({ ...round, maxDowntimeMs: this.#maxDowntimeMs, trend });
  }

  #climb(stalled: ConvergenceDecision, again: () => ConvergenceDecision): LadderDecision {
    const { reason, etaMs, leastDowntimeMs } = stalled;
    const help = this.#helps.shift();
    if (help !== undefined) {
      this.#asked = { help, stalled, again };
      return { action: 'help', help, reason: `${nameOf(help)}: ${reason}`, etaMs };
    }
    const { maxDowntimeCeilingMs } = this.#options;
    if (this.#maxDowntimeMs < maxDowntimeCeilingMs) {
      const before = this.#maxDowntimeMs;
      const needed = Math.ceil(leastDowntimeMs * DOWNTIME_SHARE);
      // First what the low point needed, and all of it if even that did not do.
      const isFirst = before === this.#options.maxDowntimeMs && needed > before;
      this.#maxDowntimeMs = isFirst ? Math.min(maxDowntimeCeilingMs, needed) : maxDowntimeCeilingMs;
      const step = `${this.#maxDowntimeMs} ms of downtime instead of ${before} ms`;
      this.#steps.push(step);
      this.#trend.anew();
      const decision = again();
      const action = decision.action === 'stopAndCopy' ? 'stopAndCopy' : 'round';
      return { action, reason: `${step}: ${reason}`, etaMs };
    }
    if (this.#options.mayPostcopy) {
      this.#steps.push(POSTCOPY);
      return { action: 'postcopy', reason: `${POSTCOPY}: ${reason}`, etaMs };
    }
    return { action: 'abort', reason, etaMs, error: this.#hopeless(reason) };
  }

  #hopeless(reason: string): DwcpError {
    const { throttlePercentMax } = this.#options;
    const tried = this.#steps.length === 0 ? '' : ` (tried: ${this.#steps.join('; ')})`;
    const slower = throttlePercentMax === 0 ? ', let it be slowed down (throttle)' : '';
    return new DwcpError('ERR_DWCP_NOT_CONVERGING', `${reason}${tried}`, {
      hint: `Allow more downtime or a higher ceiling of it${slower}, raise the bandwidth limit, or lower the write rate in the guest.`,
    });
  }
}

function throttles(percentMax: number): readonly LadderHelp[] {
  const helps: LadderHelp[] = [];
  for (let percent = 0; percent < percentMax; ) {
    percent = Math.min(percentMax, percent + THROTTLE_STEP_PERCENT);
    helps.push({ type: 'throttle', percent });
  }
  return helps;
}

function nameOf(help: LadderHelp): string {
  switch (help.type) {
    case 'compress':
      return 'encode harder';
    case 'streams':
      return 'more streams';
    case 'throttle':
      return `slow the guest down by ${help.percent} %`;
  }
}
