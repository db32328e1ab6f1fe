/**
 * Which mode fits what was measured: the medians of a window judge, and each sample of it votes on its own,
 * which says how sure the judgement is. What is unknown stays unknown, and then the mode of now stays.
 */
import type { LinkMode } from '../../ports/link-mode.ts';
import { assert } from '../../util/assert.ts';
import type { Bounds, PathSample } from './mode-path.ts';

export interface ModeThresholds {
  /** Below it, and wide, is a datacenter. */
  readonly nearUs: number;
  /** Above it is the internet. */
  readonly farUs: number;
  /** Below it is the internet. */
  readonly wideBytesPerSec: number;
  /** By this share a threshold must be passed to leave a mode. */
  readonly hysteresis: number;
  /** Of the samples that say anything, so many must agree. */
  readonly confidence: number;
  readonly samples: number;
}

export const MODE_THRESHOLDS: ModeThresholds = {
  nearUs: 10_000,
  farUs: 50_000,
  wideBytesPerSec: 125_000_000,
  hysteresis: 0.2,
  confidence: 0.7,
  samples: 10,
};

/** What is known of a way, over the window. */
export interface PathEstimate {
  readonly rttUs: Bounds;
  readonly bytesPerSec: Bounds;
  readonly lossShare: number | null;
  readonly jitterUs: number | null;
}

export interface Verdict {
  readonly mode: LinkMode;
  readonly confidence: number;
  /** When the first of the newest samples that all agree was taken. */
  readonly sinceUs: number;
  readonly reason: string;
}

/** A window of an idle link may reach far back: older samples say nothing about now. */
const AGE_MAX_US = 30_000_000;

export class ModeJudge {
  readonly #thresholds: ModeThresholds;
  #window: PathSample[] = [];

  constructor(thresholds: ModeThresholds = MODE_THRESHOLDS) {
    assert(thresholds.nearUs <= thresholds.farUs, 'near is not farther than far');
    assert(thresholds.samples >= 1, 'a window has samples');
    this.#thresholds = thresholds;
  }

  add(sample: PathSample): void {
    const isKnown = [sample.rttUs, sample.bytesPerSec].some(
      ({ least, most }) => least !== null || most !== null,
    );
    if (!isKnown) return;
    const freshUs = sample.atUs - AGE_MAX_US;
    this.#window = [...this.#window.filter(({ atUs }) => atUs >= freshUs), sample];
    this.#window = this.#window.slice(-this.#thresholds.samples);
  }

  forget(): void {
    this.#window = [];
  }

  estimate(): PathEstimate {
    const of = (pick: (sample: PathSample) => number | null): number | null =>
      median(this.#window.map(pick).filter((value) => value !== null));
    return {
      rttUs: { least: of(({ rttUs }) => rttUs.least), most: of(({ rttUs }) => rttUs.most) },
      bytesPerSec: {
        least: of(({ bytesPerSec }) => bytesPerSec.least),
        most: of(({ bytesPerSec }) => bytesPerSec.most),
      },
      lossShare: of(({ lossShare }) => lossShare),
      jitterUs: of(({ jitterUs }) => jitterUs),
    };
  }

  /** Null while too little is known, or what is known does not agree. */
  verdict(current: LinkMode): Verdict | null {
    if (this.#window.length < this.#thresholds.samples) return null;
    const estimate = this.estimate();
    const mode = classify(estimate, current, this.#thresholds);
    if (mode === null) return null;
    const votes = this.#window.map((sample) => classify(sample, current, this.#thresholds));
    const counted = votes.filter((vote) => vote !== null);
    const confidence = counted.filter((vote) => vote === mode).length / (counted.length || 1);
    if (confidence < this.#thresholds.confidence) return null;
    let first = votes.length - 1;
    while (first > 0 && votes[first - 1] === mode) first -= 1;
    const sinceUs = this.#window[first]?.atUs ?? 0;
    return { mode, confidence, sinceUs, reason: describe(estimate) };
  }
}

/** Null: what is known fits more than one mode, among them the one of now. */
export function classify(
  { rttUs, bytesPerSec }: Pick<PathEstimate, 'rttUs' | 'bytesPerSec'>,
  current: LinkMode,
  thresholds: ModeThresholds,
): LinkMode | null {
  const { nearUs, farUs, wideBytesPerSec } = shifted(current, thresholds);
  const isFar = rttUs.least !== null && rttUs.least > farUs;
  const isNarrow = bytesPerSec.most !== null && bytesPerSec.most < wideBytesPerSec;
  if (isFar || isNarrow) return 'internet';
  const isNear = rttUs.most !== null && rttUs.most < nearUs;
  const isWide = bytesPerSec.least !== null && bytesPerSec.least >= wideBytesPerSec;
  if (isNear) return isWide ? 'datacenter' : null;
  const isNotNear = rttUs.least !== null && rttUs.least >= nearUs;
  const isNotFar = rttUs.most !== null && rttUs.most <= farUs;
  if (!isNotNear) return null;
  if (isNotFar && isWide) return 'hybrid';
  // No datacenter, whatever the rate: between the other two the one of now is as good.
  return current === 'datacenter' ? 'hybrid' : null;
}

/** Thresholds as they stand for a link in this mode: to leave it takes more than to stay. */
function shifted(current: LinkMode, thresholds: ModeThresholds): ModeThresholds {
  const { nearUs, farUs, wideBytesPerSec, hysteresis } = thresholds;
  const [more, less] = [1 + hysteresis, 1 - hysteresis];
  return {
    ...thresholds,
    nearUs: nearUs * (current === 'datacenter' ? more : less),
    farUs: farUs * (current === 'internet' ? less : more),
    wideBytesPerSec: wideBytesPerSec * (current === 'internet' ? more : less),
  };
}

function describe({ rttUs, bytesPerSec }: PathEstimate): string {
  const ms = (us: number): string => `${(us / 1000).toFixed(1)} ms`;
  const rate = (value: number): string => `${((value * 8) / 1e6).toFixed(0)} Mbit/s`;
  return `round trip ${range(rttUs, ms)}, rate ${range(bytesPerSec, rate)}`;
}

function range({ least, most }: Bounds, show: (value: number) => string): string {
  if (least !== null && most !== null) {
    return show(least) === show(most) ? show(least) : `${show(least)} to ${show(most)}`;
  }
  if (least !== null) return `at least ${show(least)}`;
  return most === null ? 'unknown' : `at most ${show(most)}`;
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}
