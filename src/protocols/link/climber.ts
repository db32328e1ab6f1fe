/**
 * How many bulk streams a link should have: one more for as long as that pays, and none that holds
 * the others up. Pure; whoever drives it measures once per interval and does what it says.
 */
import { assert } from '../../util/assert.ts';

export interface ClimberOptions {
  readonly streamsMin: number;
  readonly streamsMax: number;
  /** How long it rests on a number that a further stream did not improve, before it tries again. */
  readonly restUs: number;
}

export interface LaneSample {
  readonly lane: number;
  /** Acknowledged by the peer during the interval. */
  readonly ackedBytes: number;
}

export interface ClimberInput {
  readonly nowUs: number;
  readonly elapsedUs: number;
  /** In the order in which they were added. */
  readonly lanes: readonly LaneSample[];
  /** There was always something to send; otherwise the sample says nothing about the wire. */
  readonly saturated: boolean;
}

export type ClimberEffect =
  | { readonly type: 'addLane'; readonly reason: string }
  | { readonly type: 'dropLane'; readonly lane: number; readonly reason: string };

/** A further stream must bring more than this. */
const GAIN = 1.05;
/** A lane slower than this part of the best one is dropped. */
const SLOW_PART = 4;
/** Of three samples, so that one hiccup neither adds nor drops. */
const SAMPLES = 3;

export class StreamClimber {
  readonly #options: ClimberOptions;
  readonly #lanes = new Map<number, number[]>();
  #samples: number[] = [];
  /** Goodput before the last lanes were added, or null when none is on trial. */
  #beforeTrial: number | null = null;
  #onTrial = 0;
  #restUntilUs = 0;

  constructor(options: ClimberOptions) {
    assert(options.streamsMin >= 1, 'at least one stream');
    assert(options.streamsMax >= options.streamsMin, 'streamsMax is not below streamsMin');
    this.#options = options;
  }

  step(input: ClimberInput): readonly ClimberEffect[] {
    const { lanes } = input;
    if (lanes.length < this.#options.streamsMin) {
      this.#forget();
      return [{ type: 'addLane', reason: `fewer than ${this.#options.streamsMin} streams` }];
    }
    if (!input.saturated || input.elapsedUs <= 0) return [];
    this.#record(input);
    if (this.#samples.length < SAMPLES) return [];
    const goodput = median(this.#samples);
    const slow = this.#slowLane();
    if (slow !== null && lanes.length > this.#options.streamsMin) {
      this.#rest(input);
      return [slow];
    }
    return this.#climb(input, goodput);
  }

  #climb(input: ClimberInput, goodput: number): readonly ClimberEffect[] {
    const before = this.#beforeTrial;
    this.#beforeTrial = null;
    if (before !== null && goodput <= before * GAIN) {
      this.#rest(input);
      const spare = Math.min(this.#onTrial, input.lanes.length - this.#options.streamsMin);
      if (spare <= 0) return [];
      const reason = `${named(this.#onTrial)} changed goodput by ${percent(before, goodput)}`;
      const newest = input.lanes.slice(-spare).reverse();
      return newest.map(({ lane }) => ({ type: 'dropLane', lane, reason }));
    }
    if (input.nowUs < this.#restUntilUs || input.lanes.length >= this.#options.streamsMax) {
      return [];
    }
    this.#forget();
    this.#beforeTrial = goodput;
    const { length } = input.lanes;
    // Of many streams one more is lost in the noise, and hundreds one by one would take minutes.
    const count = Math.min(Math.max(1, length >> 2), this.#options.streamsMax - length);
    const reason =
      before === null
        ? `trying ${length + count} streams`
        : `${named(this.#onTrial)} changed goodput by ${percent(before, goodput)}`;
    this.#onTrial = count;
    return Array.from({ length: count }, () => ({ type: 'addLane', reason }));
  }

  #record(input: ClimberInput): void {
    const total = input.lanes.reduce((sum, lane) => sum + lane.ackedBytes, 0);
    this.#samples = [...this.#samples, total / input.elapsedUs].slice(-SAMPLES);
    const present = new Set(input.lanes.map(({ lane }) => lane));
    for (const lane of this.#lanes.keys()) if (!present.has(lane)) this.#lanes.delete(lane);
    for (const { lane, ackedBytes } of input.lanes) {
      const rates = this.#lanes.get(lane) ?? [];
      this.#lanes.set(lane, [...rates, ackedBytes / input.elapsedUs].slice(-SAMPLES));
    }
  }

  #slowLane(): (ClimberEffect & { type: 'dropLane' }) | null {
    const rates = [...this.#lanes]
      .filter(([, samples]) => samples.length === SAMPLES)
      .map(([lane, samples]) => ({ lane, rate: median(samples) }))
      .sort((a, b) => a.rate - b.rate);
    const [worst, best] = [rates[0], rates[rates.length - 1]];
    if (worst === undefined || best === undefined || worst.rate * SLOW_PART >= best.rate) {
      return null;
    }
    const part = `${Math.round((worst.rate / best.rate) * 100)} % of the best`;
    return { type: 'dropLane', lane: worst.lane, reason: `stream ${worst.lane} has ${part}` };
  }

  #rest(input: ClimberInput): void {
    this.#forget();
    this.#restUntilUs = input.nowUs + this.#options.restUs;
  }

  /** What was measured with another number of streams says nothing about this one. */
  #forget(): void {
    this.#samples = [];
    this.#lanes.clear();
    this.#beforeTrial = null;
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function named(count: number): string {
  return count === 1 ? 'the last stream' : `the last ${count} streams`;
}

function percent(before: number, after: number): string {
  if (before === 0) return 'everything';
  const change = (after / before - 1) * 100;
  return `${change >= 0 ? '+' : ''}${change.toFixed(1)} %`;
}
