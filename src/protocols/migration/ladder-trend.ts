/** What the ends of the last rounds say together: whether it still shrinks, and where its low points are. */

/** A round must leave less than this share of the least so far to count as progress. */
const PROGRESS_SHARE = 0.9;
/** Within this factor of the least of the last rounds it is as low as it gets. */
const LOW_POINT_SHARE = 1.1;
/** A workload with a rhythm of so many rounds shows its low point among them. */
export const LOW_POINT_ROUNDS = 6;

export interface Trend {
  /** Of the last rounds, this one included. */
  readonly leastBytes: number;
  /** Since something was done about it last. */
  readonly bestBytes: number;
  /** Rounds in a row that were no progress against the best. */
  readonly stalledRounds: number;
  /** More is left than after the round before, or hardly less. */
  readonly grew: boolean;
  /** It was lower not long ago, and waiting for that again has not taken too long yet. */
  readonly isWorthWaiting: boolean;
}

export class RoundTrend {
  #recent: number[] = [];
  #best: number | null = null;
  #stalledRounds = 0;
  #waitedRounds = 0;

  /** How it stands after one more round. */
  add(remainingBytes: number): Trend {
    const previous = this.#recent.at(-1);
    this.#recent = [...this.#recent, remainingBytes].slice(-LOW_POINT_ROUNDS);
    if (this.#best === null || remainingBytes < this.#best * PROGRESS_SHARE) {
      this.#best = remainingBytes;
      this.#stalledRounds = 0;
    } else {
      this.#stalledRounds += 1;
    }
    const leastBytes = Math.min(...this.#recent);
    const isLow = remainingBytes <= leastBytes * LOW_POINT_SHARE;
    return {
      ...{ leastBytes, bestBytes: this.#best, stalledRounds: this.#stalledRounds },
      grew: previous !== undefined && remainingBytes > previous * PROGRESS_SHARE,
      isWorthWaiting: !isLow && this.#waitedRounds < LOW_POINT_ROUNDS,
    };
  }

  /** Another round although this one would do. */
  waited(): void {
    this.#waitedRounds += 1;
  }

  /** Something was done: it gets its rounds to show. */
  anew(): void {
    this.#best = null;
    this.#stalledRounds = 0;
  }
}
