/** One historical bug, planted by a patch of the shipped sources: `bugs/<id>.patch`. */
export interface Bug {
  readonly id: string;
  readonly story: string;
  /** Where it really happened, or was found to be possible. */
  readonly source: string;
  /** The campaign that has to find it, as it runs for clean code. */
  readonly scenario: string;
  /** What may catch it; anything else is a find too, and reported as a surprise. */
  readonly checkers: readonly string[];
}
