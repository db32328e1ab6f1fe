/**
 * After every pre-copy round: stop the guest now, go another round, or give up. A pure function of
 * what was measured; every answer carries the sentence that explains it.
 */
export interface ConvergenceInput {
  /** Rounds done so far; the first sends everything. */
  readonly round: number;
  readonly sentBytes: number;
  readonly elapsedUs: number;
  readonly remainingBytes: number;
  readonly previousRemainingBytes: number;
  readonly dirtyBytesPerSec: number;
  /** What the link lets through from now on, whatever the round reached; 0 is unlimited. */
  readonly maxBytesPerSec: number;
  readonly maxDowntimeMs: number;
  readonly stalledRounds: number;
  /** The hypervisor stopped the guest by itself: there is nothing left to decide. */
  readonly stopped: boolean;
}

export interface ConvergenceDecision {
  readonly action: 'round' | 'stopAndCopy' | 'abort';
  readonly reason: string;
  /** Null when the guest dirties as fast as the link carries. */
  readonly etaMs: EtaInterval | null;
  readonly stalledRounds: number;
  readonly predictedDowntimeMs: number;
}

export interface EtaInterval {
  readonly low: number;
  readonly high: number;
}

/** Rounds in a row that did not shrink what remains before the migration is called hopeless. */
export const STALLED_ROUNDS_MAX = 5;
/** A guest that shrinks a little each round could otherwise hold the link for ever. */
export const ROUNDS_MAX = 40;
/** A round must leave less than this share of the one before to count as progress. */
const PROGRESS_SHARE = 0.9;
/** Below the limit another round still pays while it would leave less than this share. */
const WORTHWHILE_SHARE = 0.6;
/** Under this, the fixed cost of stopping outweighs what one more round could save. */
const NEGLIGIBLE_DOWNTIME_MS = 8;
/** Rounds after which the limit alone decides. */
const POLISHING_ROUNDS_MAX = 6;

export function decideConvergence(input: ConvergenceInput): ConvergenceDecision {
  const rate = measuredRate(input);
  const predictedDowntimeMs =
    input.remainingBytes === 0 ? 0 : Math.ceil((input.remainingBytes / rate) * 1000);
  const stalled =
    input.round > 1 && input.remainingBytes > input.previousRemainingBytes * PROGRESS_SHARE;
  const stalledRounds = stalled ? input.stalledRounds + 1 : 0;
  const etaMs = estimate(input.remainingBytes, rate, input.dirtyBytesPerSec);
  const answer = (action: ConvergenceDecision['action'], reason: string): ConvergenceDecision => ({
    action,
    reason,
    etaMs,
    stalledRounds,
    predictedDowntimeMs,
  });
  const rates = `dirty ${megabytes(input.dirtyBytesPerSec)}/s, wire ${megabytes(rate)}/s`;
  if (input.stopped) return answer('stopAndCopy', 'the hypervisor stopped the guest by itself');
  if (predictedDowntimeMs <= input.maxDowntimeMs) {
    const nextShare = input.dirtyBytesPerSec / rate;
    const pays =
      predictedDowntimeMs > NEGLIGIBLE_DOWNTIME_MS &&
      nextShare < WORTHWHILE_SHARE &&
      !stalled &&
      input.round < POLISHING_ROUNDS_MAX;
    if (pays) {
      return answer(
        'round',
        `${predictedDowntimeMs} ms of downtime would do, one more round leaves less (${rates})`,
      );
    }
    return answer(
      'stopAndCopy',
      `${megabytes(input.remainingBytes)} left need ${predictedDowntimeMs} ms, allowed are ${input.maxDowntimeMs} ms (${rates})`,
    );
  }
  if (stalledRounds >= STALLED_ROUNDS_MAX || input.round >= ROUNDS_MAX) {
    return answer(
      'abort',
      `after ${input.round} rounds ${megabytes(input.remainingBytes)} are left: ${rates}; needs ${predictedDowntimeMs} ms of downtime, allowed are ${input.maxDowntimeMs} ms`,
    );
  }
  return answer(
    'round',
    `${megabytes(input.remainingBytes)} left would need ${predictedDowntimeMs} ms, allowed are ${input.maxDowntimeMs} ms (${rates})`,
  );
}

function measuredRate(input: ConvergenceInput): number {
  if (input.elapsedUs <= 0 || input.sentBytes <= 0) return 1;
  const measured = (input.sentBytes / input.elapsedUs) * 1e6;
  const allowed = input.maxBytesPerSec === 0 ? measured : input.maxBytesPerSec;
  return Math.max(1, Math.min(measured, allowed));
}

function estimate(remaining: number, rate: number, dirty: number): EtaInterval | null {
  const low = Math.ceil((remaining / rate) * 1000);
  if (dirty >= rate) return null;
  return { low, high: Math.ceil((remaining / (rate - dirty)) * 1000) };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
