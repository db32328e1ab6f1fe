/**
 * One change of a link's mode, step by step, on both sides. The side that dials leads:
 *
 *   lead:    steady -> its own steps -> asking (the peer is told) -> steady in the new mode
 *   follow:  told -> its own steps -> says how that went
 *
 * Settings are each sender's own and chunks are named whatever they are, so the two sides need not change at
 * one instant. A step that fails, here or there, takes back those before it, in reverse, on both sides.
 */
import type { LinkMode } from '../../ports/link-mode.ts';
import { assert } from '../../util/assert.ts';

export type ModeStep = 'transport' | 'codecs' | 'timeouts' | 'streams';

/** What carries chunks changes first; streams that are added then begin as they shall be. */
export const MODE_STEPS: readonly ModeStep[] = ['transport', 'codecs', 'timeouts', 'streams'];

export interface ModeChange {
  readonly from: LinkMode;
  readonly to: LinkMode;
  readonly forced: boolean;
  readonly reason: string;
}

export type ModeSwitchInput = { readonly nowUs: number } & (
  | {
      readonly type: 'begin';
      readonly to: LinkMode;
      readonly forced: boolean;
      readonly reason: string;
    }
  /** The answer to `apply`: null, or why it failed. */
  | { readonly type: 'applied'; readonly step: ModeStep; readonly error: string | null }
  | {
      readonly type: 'told';
      readonly attempt: number;
      readonly to: LinkMode;
      readonly reason: string;
    }
  | { readonly type: 'answered'; readonly attempt: number; readonly error: string | null }
  | { readonly type: 'late' }
  /** Who leads tells the other side its mode again when the link is back. */
  | { readonly type: 'linkLost' }
);

export type ModeSwitchEffect =
  | { readonly type: 'apply'; readonly step: ModeStep; readonly mode: LinkMode }
  | {
      readonly type: 'tell';
      readonly attempt: number;
      readonly to: LinkMode;
      readonly reason: string;
    }
  | { readonly type: 'answer'; readonly attempt: number; readonly error: string | null }
  | { readonly type: 'waitUntil'; readonly atUs: number }
  /** The settings of the new mode are in force here. */
  | { readonly type: 'inForce'; readonly change: ModeChange }
  | { readonly type: 'agreed'; readonly change: ModeChange }
  | { readonly type: 'rolledBack'; readonly change: ModeChange; readonly why: string }
  /** Not even the old settings could be restored: the link begins anew. */
  | { readonly type: 'restart'; readonly why: string };

interface Work {
  readonly change: ModeChange;
  /** Of the one who leads; null where we do. */
  readonly attempt: number | null;
  readonly steps: readonly ModeStep[];
  readonly mode: LinkMode;
  /** Why steps are taken back, or null while they go forward. */
  readonly why: string | null;
  readonly done: number;
}

export class ModeSwitch {
  readonly #patienceUs: number;
  #mode: LinkMode;
  #work: Work | null = null;
  #asking: ModeChange | null = null;
  #attempt = 0;
  #nowUs = 0;

  constructor(mode: LinkMode, patienceUs: number) {
    this.#mode = mode;
    this.#patienceUs = patienceUs;
  }

  get mode(): LinkMode {
    return this.#mode;
  }

  /** Nothing is under way. */
  get isSteady(): boolean {
    return this.#work === null && this.#asking === null;
  }

  step(input: ModeSwitchInput): readonly ModeSwitchEffect[] {
    this.#nowUs = input.nowUs;
    switch (input.type) {
      case 'begin':
        assert(this.isSteady, 'one change at a time');
        return this.#start({ from: this.#mode, ...input }, null);
      case 'applied':
        return this.#applied(input);
      case 'told':
        if (input.to !== this.#mode) {
          const change = { from: this.#mode, to: input.to, forced: false, reason: input.reason };
          return this.#start(change, input.attempt);
        }
        return [{ type: 'answer', attempt: input.attempt, error: null }];
      case 'answered':
        if (this.#asking === null || input.attempt !== this.#attempt) return [];
        return this.#answered(this.#asking, input.error);
      case 'late':
        return this.#asking === null ? [] : this.#answered(this.#asking, 'the peer did not answer');
      case 'linkLost':
        this.#asking = null;
        return [];
    }
  }

  #start(change: ModeChange, attempt: number | null): readonly ModeSwitchEffect[] {
    const { from, to, forced, reason } = change;
    const kept = { from, to, forced, reason };
    return this.#go({ change: kept, attempt, steps: MODE_STEPS, mode: to, why: null, done: 0 });
  }

  #go(work: Work): readonly ModeSwitchEffect[] {
    const step = work.steps[work.done];
    if (step === undefined) return this.#ended(work);
    this.#work = work;
    return [{ type: 'apply', step, mode: work.mode }];
  }

  #applied({ step, error }: ModeSwitchInput & { type: 'applied' }): readonly ModeSwitchEffect[] {
    const work = this.#work;
    assert(work !== null && work.steps[work.done] === step, 'an answer to what was asked');
    if (error === null) return this.#go({ ...work, done: work.done + 1 });
    if (work.why !== null) {
      this.#work = null;
      return [{ type: 'restart', why: `${work.why}; then ${step}: ${error}` }];
    }
    // The step that failed may have been half done.
    return this.#takeBack(work, work.done + 1, `${step}: ${error}`);
  }

  #takeBack(work: Work, count: number, why: string): readonly ModeSwitchEffect[] {
    const steps = work.steps.slice(0, count).reverse();
    return this.#go({ ...work, steps, mode: work.change.from, why, done: 0 });
  }

  #ended({ change, attempt, why }: Work): readonly ModeSwitchEffect[] {
    this.#work = null;
    if (why !== null) {
      const answer = attempt === null ? [] : [{ type: 'answer', attempt, error: why } as const];
      return [{ type: 'rolledBack', change, why }, ...answer];
    }
    this.#mode = change.to;
    if (attempt !== null) {
      return [
        { type: 'inForce', change },
        { type: 'answer', attempt, error: null },
        { type: 'agreed', change },
      ];
    }
    this.#attempt += 1;
    this.#asking = change;
    return [
      { type: 'inForce', change },
      { type: 'tell', attempt: this.#attempt, to: change.to, reason: change.reason },
      { type: 'waitUntil', atUs: this.#nowUs + this.#patienceUs },
    ];
  }

  #answered(change: ModeChange, error: string | null): readonly ModeSwitchEffect[] {
    this.#asking = null;
    if (error === null) return [{ type: 'agreed', change }];
    // The peer took its own steps back, or may have taken them and gone silent: it is told again.
    this.#mode = change.from;
    this.#attempt += 1;
    const reason = `taken back: ${error}`;
    const tell = { type: 'tell', attempt: this.#attempt, to: change.from, reason } as const;
    const work = { change, attempt: null, steps: MODE_STEPS, mode: change.to, why: null, done: 0 };
    return [tell, ...this.#takeBack(work, MODE_STEPS.length, `the peer: ${error}`)];
  }

  /** What the other side is told when the link is back. */
  again(): ModeSwitchEffect {
    this.#attempt += 1;
    return { type: 'tell', attempt: this.#attempt, to: this.#mode, reason: 'the link is back' };
  }
}
