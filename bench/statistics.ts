/** Median and spread. A mean would let one noisy neighbour decide. */
import { assert } from '../src/util/assert.ts';
import type { Floor, PeerResult, Summary, Target } from './document.ts';

export function median(samples: readonly number[]): number {
  assert(samples.length > 0, 'a median needs a sample');
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Nearest rank: the smallest sample that at least `share` of all samples do not exceed. */
export function quantile(samples: readonly number[], share: number): number {
  assert(samples.length > 0 && share > 0 && share <= 1, 'a quantile needs samples and a share');
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
}

export function summarize(samples: readonly number[]): Summary {
  for (const sample of samples) assert(Number.isFinite(sample), `not a measurement: ${sample}`);
  return {
    samples,
    median: median(samples),
    min: Math.min(...samples),
    max: Math.max(...samples),
  };
}

/** Sample i of each side ran next to each other, so their quotient cancels the machine's mood. */
export function pairwise(
  name: string,
  ours: readonly number[],
  theirs: readonly number[],
): PeerResult {
  assert(ours.length === theirs.length, 'pairwise ratios need as many runs of either side');
  const samples = ours.map((value, index) => value / (theirs[index] ?? Number.NaN));
  for (const ratio of samples) assert(Number.isFinite(ratio), `not a ratio: ${ratio}`);
  return {
    name,
    samples: theirs,
    median: median(theirs),
    ratio: { samples, median: median(samples) },
  };
}

export function atLeast(what: string, target: number, measured: number): Target {
  return { what, target, measured, met: measured >= target };
}

export function atMost(what: string, target: number, measured: number): Target {
  return { what, target, measured, met: measured <= target };
}

/** A run that is better than physics allows measured something else: it fails instead of boasting. */
export function assertAboveFloor(
  caseName: string,
  samples: readonly number[],
  higherIsBetter: boolean,
  floor: Floor | null,
): void {
  if (floor === null) return;
  assert(
    Number.isFinite(floor.value) && floor.value > 0,
    `floor ${floor.name} of "${caseName}" is not a measurement: ${floor.value}`,
  );
  for (const sample of samples) {
    const beaten = higherIsBetter ? sample > floor.value : sample < floor.value;
    assert(!beaten, `"${caseName}": ${sample} beats its floor ${floor.name} (${floor.value})`);
  }
}
