/**
 * Every chance of a run comes from one stream of bytes, named by a seed and cut at a length: both
 * are what fast-check draws and shrinks. A zero is the harmless choice, and so is all after the end.
 */
export interface Schedule {
  readonly seed: number;
  readonly length: number;
}

export class Choices {
  readonly #stream: { below(bound: number): number };
  readonly #length: number;
  #at = 0;

  constructor({ seed, length }: Schedule) {
    this.#stream = seededStream(seed);
    this.#length = length;
  }

  get isExhausted(): boolean {
    return this.#at >= this.#length;
  }

  byte(): number {
    this.#at += 1;
    return this.#at > this.#length ? 0 : this.#stream.below(256);
  }
}

/** A small generator for what a replica draws itself: its state is the replica's own. */
export function seededStream(seed: number): { below(bound: number): number } {
  let state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
  return { below: (bound) => (next() * 2 ** 20 + (next() >>> 12)) % bound };
}
