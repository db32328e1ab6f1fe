/** A message in its queue. A cancelled letter keeps its place and is skipped. */
export interface Letter<M> {
  readonly message: M;
  readonly reserved: boolean;
  /** The timer whose expiry this is. */
  readonly timerId: string | null;
  cancelled: boolean;
}

/**
 * First in, first out, bounded for ordinary messages. Reserved ones (completions, timers,
 * terminated) are always taken: each was asked for by the actor itself, so they are bounded by it.
 */
export class Mailbox<M> {
  readonly #limit: number;
  #letters: Letter<M>[] = [];
  #head = 0;
  #ordinary = 0;
  #live = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Messages that will still be delivered. */
  get size(): number {
    return this.#live;
  }

  /** False when full. */
  offer(message: M): boolean {
    if (this.#ordinary >= this.#limit) return false;
    this.#ordinary += 1;
    this.#push({ message, reserved: false, timerId: null, cancelled: false });
    return true;
  }

  putReserved(message: M, timerId: string | null = null): Letter<M> {
    return this.#push({ message, reserved: true, timerId, cancelled: false });
  }

  cancel(letter: Letter<M>): void {
    if (letter.cancelled) return;
    letter.cancelled = true;
    this.#live -= 1;
  }

  take(): Letter<M> | null {
    for (;;) {
      const letter = this.#letters[this.#head];
      if (letter === undefined) return null;
      this.#head += 1;
      if (this.#head === this.#letters.length || this.#head >= 1024) {
        this.#letters = this.#letters.slice(this.#head);
        this.#head = 0;
      }
      if (letter.cancelled) continue;
      // Out of the queue it can no longer be cancelled, so the count cannot go down twice.
      letter.cancelled = true;
      this.#live -= 1;
      if (!letter.reserved) this.#ordinary -= 1;
      return letter;
    }
  }

  #push(letter: Letter<M>): Letter<M> {
    this.#letters.push(letter);
    this.#live += 1;
    return letter;
  }
}
