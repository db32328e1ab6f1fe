/**
 * After every pre-copy round: stop the guest now, go another round, or say that rounds alone will not do.
 * A pure function of what was measured; every answer carries the sentence that explains it.
 */
import type { Trend } from './ladder-trend.ts';

export interface ConvergenceInput {
  /** Rounds done so far; the first sends everything. */
  readonly round: number;
  readonly sentBytes: number;
  readonly elapsedUs: number;
  readonly remainingBytes: number;
  readonly dirtyBytesPerSec: number;
  /** What the link lets through from now on, whatever the round reached; 0 is unlimited. */
  readonly maxBytesPerSec: number;
  /** What is allowed by now. */
  readonly maxDowntimeMs: number;
  /** With this round in it. */
  readonly trend: Trend;
  /** The hypervisor stopped the guest by itself: there is nothing left to decide. */
  readonly stopped: boolean;
}

export interface ConvergenceDecision {
  readonly action: 'round' | 'stopAndCopy' | 'stalled';
  readonly reason: string;
  /** Null when the guest dirties as fast as the link carries. */
  readonly etaMs: EtaInterval | null;
  readonly predictedDowntimeMs: number;
  /** What the least of the last rounds would have needed. */
  readonly leastDowntimeMs: number;
}

export interface EtaInterval {
  readonly low: number;
  readonly high: number;
}

/** Rounds in a row that did not get below the least so far before something else has to help. */
export const STALLED_ROUNDS_MAX = 3;
/** A guest that shrinks a little each round could otherwise hold the link for ever. */
export const ROUNDS_MAX = 40;
/** Below the limit another round still pays while it would leave less than this share. */
const WORTHWHILE_SHARE = 0.6;
/** Under this, the fixed cost of stopping outweighs what one more round could save. */
const NEGLIGIBLE_DOWNTIME_MS = 8;
/** Rounds after which the limit alone decides. */
const POLISHING_ROUNDS_MAX = 6;

export function decideConvergence(input: ConvergenceInput): ConvergenceDecision {
  const { trend, remainingBytes, maxDowntimeMs, dirtyBytesPerSec } = input;
  const rate = measuredRate(input);
  const predictedDowntimeMs = downtimeMs(remainingBytes, rate);
  const etaMs = estimate(remainingBytes, rate, dirtyBytesPerSec);
  const answer = (action: ConvergenceDecision['action'], reason: string): ConvergenceDecision => ({
    ...{ action, reason, etaMs, predictedDowntimeMs },
    leastDowntimeMs: downtimeMs(trend.leastBytes, rate),
  });
  const rates = `dirty ${megabytes(dirtyBytesPerSec)}/s, wire ${megabytes(rate)}/s`;
  const left = megabytes(remainingBytes);
  if (input.stopped) return answer('stopAndCopy', 'the hypervisor stopped the guest by itself');
  if (predictedDowntimeMs <= maxDowntimeMs) {
    const isNegligible = predictedDowntimeMs <= NEGLIGIBLE_DOWNTIME_MS;
    const pays =
      dirtyBytesPerSec / rate < WORTHWHILE_SHARE &&
      !trend.grew &&
      input.round < POLISHING_ROUNDS_MAX;
    if (!isNegligible && pays) {
      return answer(
        'round',
        `${predictedDowntimeMs} ms of downtime would do, one more round leaves less (${rates})`,
      );
    }
    if (!isNegligible && trend.isWorthWaiting && input.round < ROUNDS_MAX) {
      return answer(
        'round',
        `${left} left would do, and ${megabytes(trend.leastBytes)} were left before: waiting for that again`,
      );
    }
    return answer(
      'stopAndCopy',
      `${left} left need ${predictedDowntimeMs} ms, allowed are ${maxDowntimeMs} ms (${rates})`,
    );
  }
  const need = `would need ${predictedDowntimeMs} ms, allowed are ${maxDowntimeMs} ms (${rates})`;
  if (trend.stalledRounds >= STALLED_ROUNDS_MAX) {
    const least = `${trend.stalledRounds} rounds did not get below ${megabytes(trend.bestBytes)}`;
    return answer('stalled', `${least}; ${left} left after ${input.round} ${need}`);
  }
  if (input.round >= ROUNDS_MAX) {
    return answer('stalled', `after ${input.round} rounds the ${left} left ${need}`);
  }
  return answer('round', `${left} left ${need}`);
}

function measuredRate(input: ConvergenceInput): number {
  if (input.elapsedUs <= 0 || input.sentBytes <= 0) return 1;
  const measured = (input.sentBytes / input.elapsedUs) * 1e6;
  const allowed = input.maxBytesPerSec === 0 ? measured : input.maxBytesPerSec;
  return Math.max(1, Math.min(measured, allowed));
}

function downtimeMs(bytes: number, rate: number): number {
  return bytes === 0 ? 0 : Math.ceil((bytes / rate) * 1000);
}

function estimate(remaining: number, rate: number, dirty: number): EtaInterval | null {
  const low = Math.ceil((remaining / rate) * 1000);
  if (dirty >= rate) return null;
  return { low, high: Math.ceil((remaining / (rate - dirty)) * 1000) };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
