/** Pages that a receiver could not take, told until the sender heard of them; see `native/engine/refusal_log.h`. */
import { assert } from '../../../src/util/assert.ts';

/** Whoever names pages stays below it, as natively. */
export const REFUSALS_MAX = 4_096;

export class Refusals {
  #heard = 0;
  /** After those that were heard of. */
  readonly #pages: number[] = [];

  add(page: number): void {
    assert(this.#pages.length < REFUSALS_MAX, 'room for a refusal');
    this.#pages.push(page);
  }

  get total(): number {
    return this.#heard + this.#pages.length;
  }

  /** Null when there is nothing to tell. */
  untold(): { readonly first: number; readonly pages: readonly number[] } | null {
    if (this.#pages.length === 0) return null;
    return { first: this.#heard + 1, pages: [...this.#pages] };
  }

  /** False when nobody told so many. */
  heard(number: number): boolean {
    if (number > this.total) return false;
    if (number <= this.#heard) return true;
    this.#pages.splice(0, number - this.#heard);
    this.#heard = number;
    return true;
  }
}
