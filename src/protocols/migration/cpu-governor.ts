/**
 * Keeps the work of sending below a share of one core: learns what a byte costs and says how many
 * may leave per second. Pure; whoever drives it measures once per interval.
 */
import { assert } from '../../util/assert.ts';

export interface GovernorSample {
  readonly elapsedUs: number;
  /** CPU time of the whole process during the interval. */
  readonly cpuUs: number;
  /** Put on the wire during the interval. */
  readonly sentBytes: number;
}

/** Less says nothing about what a byte costs. */
const TELLING_BYTES = 2 ** 20;
/** A migration that crawls for ever helps nobody. */
const RATE_MIN = 2 ** 20;
/** Of the newest sample; costs change with the phase, and one interval may be an accident. */
const NEWEST_SHARE = 0.4;

export class CpuGovernor {
  readonly #cpuUsPerSec: number;
  #cpuUsPerByte: number | null = null;

  constructor(maxCpuPercent: number) {
    assert(maxCpuPercent > 0, 'a limit of 0 is no governor');
    this.#cpuUsPerSec = maxCpuPercent * 10_000;
  }

  /** Bytes per second that keep within the limit; 0 while nothing is known. */
  step(sample: GovernorSample): number {
    if (sample.sentBytes >= TELLING_BYTES && sample.elapsedUs > 0) {
      const cost = sample.cpuUs / sample.sentBytes;
      const before = this.#cpuUsPerByte ?? cost;
      this.#cpuUsPerByte = before + (cost - before) * NEWEST_SHARE;
    }
    if (this.#cpuUsPerByte === null || this.#cpuUsPerByte === 0) return 0;
    return Math.max(RATE_MIN, Math.round(this.#cpuUsPerSec / this.#cpuUsPerByte));
  }
}
