/** When a link changes its mode: at once when an operator says so, else seldom, however the way flaps. */
import { LINK_MODES, type LinkMode } from '../../ports/link-mode.ts';
import { assert } from '../../util/assert.ts';
import type { Verdict } from './mode-judge.ts';

export type ModePolicy = 'auto' | LinkMode;

export interface ModeLimits {
  /** A mode that was chosen lasts at least so long. */
  readonly minStayMs: number;
  /** After any change, and after one that failed, nothing is changed for so long. */
  readonly coolDownMs: number;
  /** Changes that nobody forced, in any minute. */
  readonly maxPerMinute: number;
}

export const MODE_LIMITS: ModeLimits = { minStayMs: 60_000, coolDownMs: 30_000, maxPerMinute: 2 };

export interface ModeDecision {
  readonly to: LinkMode;
  readonly forced: boolean;
  readonly reason: string;
  /** Since when the samples said so; null when somebody did. */
  readonly sinceUs: number | null;
}

/** What one side of a link wants. */
export interface ModeView {
  readonly policy: ModePolicy;
  readonly verdict: Pick<Verdict, 'mode' | 'reason' | 'sinceUs'> | null;
}

const MINUTE_US = 60_000_000;

export class ModeGovernor {
  readonly #limits: ModeLimits;
  #mode: LinkMode;
  /** Null: the mode of now was assumed, so nothing holds it. */
  #chosenUs: number | null = null;
  #coolUntilUs = 0;
  /** What was refused is not asked again at once, not even by an operator's word of before. */
  #failedUntilUs = 0;
  /** Of changes that nobody forced, within the last minute. */
  #changedUs: number[] = [];

  constructor(mode: LinkMode, limits: ModeLimits = MODE_LIMITS) {
    assert(limits.maxPerMinute >= 1, 'at least one change a minute');
    this.#mode = mode;
    this.#limits = limits;
  }

  get mode(): LinkMode {
    return this.#mode;
  }

  decide(nowUs: number, own: ModeView, peer: ModeView): ModeDecision | null {
    const forced = mostCautious([own.policy, peer.policy].filter((each) => each !== 'auto'));
    if (forced !== null) {
      if (forced === this.#mode || nowUs < this.#failedUntilUs) return null;
      const by = own.policy === forced ? 'an operator here' : 'an operator at the peer';
      return { to: forced, forced: true, reason: `forced by ${by}`, sinceUs: null };
    }
    // A way is as bad as its worse direction.
    const to = mostCautious(
      [own, peer].flatMap(({ verdict }) => (verdict === null ? [] : [verdict.mode])),
    );
    if (to === null || to === this.#mode || !this.#mayChange(nowUs)) return null;
    const side = own.verdict?.mode === to ? own : peer;
    const { reason = '', sinceUs = nowUs } = side.verdict ?? {};
    const where = side === own ? '' : ' (measured by the peer)';
    return { to, forced: false, reason: `${reason}${where}`, sinceUs };
  }

  changed(nowUs: number, to: LinkMode, forced: boolean): void {
    this.#mode = to;
    this.#chosenUs = nowUs;
    if (forced) return;
    this.#coolUntilUs = nowUs + this.#limits.coolDownMs * 1000;
    this.#changedUs = [...this.#changedUs.filter((at) => nowUs - at < MINUTE_US), nowUs];
  }

  failed(nowUs: number): void {
    this.#failedUntilUs = nowUs + this.#limits.coolDownMs * 1000;
  }

  /** An operator spoke: what failed before may work now. */
  asked(): void {
    this.#failedUntilUs = 0;
  }

  #mayChange(nowUs: number): boolean {
    const { minStayMs, maxPerMinute } = this.#limits;
    if (nowUs < Math.max(this.#coolUntilUs, this.#failedUntilUs)) return false;
    if (this.#chosenUs !== null && nowUs - this.#chosenUs < minStayMs * 1000) return false;
    return this.#changedUs.filter((at) => nowUs - at < MINUTE_US).length < maxPerMinute;
  }
}

function mostCautious(modes: readonly LinkMode[]): LinkMode | null {
  const ranks = modes.map((mode) => LINK_MODES.indexOf(mode));
  return LINK_MODES[Math.max(-1, ...ranks)] ?? null;
}
