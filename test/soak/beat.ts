/** What a guest says when it works: which process counts, how far it is, and when. */
export interface Beat {
  /** One process: pid and start, never the same again. */
  readonly instance: string;
  readonly counter: number;
  /**
   * CLOCK_MONOTONIC, between which two moments it was said. Equal where the guest reads the clock
   * itself; for a guest that only has a serial port: the last look that found its pipe empty, and the
   * look that found these bytes.
   */
  readonly earliestNs: bigint;
  readonly latestNs: bigint;
}

export function monotonicNs(): bigint {
  return process.hrtime.bigint();
}
