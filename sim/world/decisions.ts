/**
 * Every draw of a run by label: `choose the 7th latency of a>b`. A seed replays only the code that drew
 * it; a log of decisions still fits after a small change, because what a label has no record of is drawn
 * from that label's own stream, and is counted.
 */
import type { Random, RandomStream } from '../../src/ports/random.ts';
import { assert } from '../../src/util/assert.ts';
import { Xoshiro } from './random.ts';

/** What each label drew, in order. */
export type DecisionLog = Readonly<Record<string, readonly number[]>>;

export interface DecisionOptions {
  readonly seed: number;
  /** Draws to repeat; null draws all from the seed. */
  readonly replay: DecisionLog | null;
  readonly record: boolean;
}

/** How far a replayed log fitted the code that ran. */
export interface ReplayFit {
  /** Draws of labels that the log knows, beyond its end or outside the new bound. */
  readonly missing: number;
  /** Labels that were drawn from and are not in the log. */
  readonly newLabels: readonly string[];
  /** Recorded draws that nobody asked for. */
  readonly unused: number;
}

/** Past this a log is no longer worth a file: the labelled streams repeat it from the seed anyway. */
const RECORDED_DRAWS_MAX = 4_000_000;

export class Decisions implements Random {
  readonly #options: DecisionOptions;
  readonly #streams = new Map<string, LabelledStream>();
  readonly #budget: { left: number };

  constructor(options: DecisionOptions) {
    this.#options = options;
    this.#budget = { left: options.record ? RECORDED_DRAWS_MAX : 0 };
  }

  stream(label: string): LabelledStream {
    let stream = this.#streams.get(label);
    if (stream === undefined) {
      const { seed, replay } = this.#options;
      const recorded = replay !== null && Object.hasOwn(replay, label) ? replay[label] : undefined;
      stream = new LabelledStream(`${seed} ${label}`, recorded ?? null, this.#budget);
      this.#streams.set(label, stream);
    }
    return stream;
  }

  bytes(count: number): Uint8Array {
    const stream = this.stream('bytes');
    return Uint8Array.from({ length: count }, () => stream.below(256));
  }

  /** In label order; empty unless the run records. */
  log(): DecisionLog {
    const entries = [...this.#streams]
      .filter(([, stream]) => stream.drawn.length > 0)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([label, stream]) => [label, stream.drawn] as const);
    return Object.fromEntries(entries);
  }

  fit(): ReplayFit | null {
    const { replay } = this.#options;
    if (replay === null) return null;
    let missing = 0;
    let unused = 0;
    for (const [label, recorded] of Object.entries(replay)) {
      const stream = this.#streams.get(label);
      missing += stream?.missing ?? 0;
      unused += Math.max(0, recorded.length - (stream?.count ?? 0));
    }
    const newLabels = [...this.#streams]
      .filter(([label, stream]) => stream.count > 0 && !Object.hasOwn(replay, label))
      .map(([label]) => label);
    return { missing, newLabels: newLabels.sort(), unused };
  }
}

export class LabelledStream implements RandomStream {
  readonly drawn: number[] = [];
  count = 0;
  missing = 0;
  readonly #source: Xoshiro;
  readonly #recorded: readonly number[] | null;
  readonly #budget: { left: number };

  constructor(text: string, recorded: readonly number[] | null, budget: { left: number }) {
    this.#source = new Xoshiro(text);
    this.#recorded = recorded;
    this.#budget = budget;
  }

  below(bound: number): number {
    // Drawn even when replaying, so that a label whose record ends goes on where its seed would have.
    let value = this.#source.below(bound);
    if (this.#recorded !== null) {
      const recorded = this.#recorded[this.count];
      if (recorded === undefined || recorded >= bound) this.missing += 1;
      else value = recorded;
    }
    this.count += 1;
    if (this.#budget.left > 0) {
      this.#budget.left -= 1;
      this.drawn.push(value);
    }
    return value;
  }

  /** In `[min, max]`. */
  between(min: number, max: number): number {
    assert(max >= min, 'a range is not empty');
    return max === min ? min : min + this.below(max - min + 1);
  }

  /** True in `permyriad` of 10,000 draws; certain outcomes draw nothing. */
  chance(permyriad: number): boolean {
    if (permyriad <= 0) return false;
    if (permyriad >= 10_000) return true;
    return this.below(10_000) < permyriad;
  }
}
