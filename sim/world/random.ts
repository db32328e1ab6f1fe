/**
 * Chance of a simulation: one stream per label, split from the seed, in 32-bit integer arithmetic, so
 * that it is the same bit for bit on every machine, and that a new draw shifts no other label's.
 */
import type { RandomStream } from '../../src/ports/random.ts';
import { assert } from '../../src/util/assert.ts';

const TWO_32 = 0x1_0000_0000;
const MAX_32 = 0xffff_ffff;

/** xoshiro128** by Blackman and Vigna (public domain), started from a hash of the label. */
export class Xoshiro implements RandomStream {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(text: string) {
    const [a, b, c, d] = hash128(text);
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = (a | b | c | d) === 0 ? 1 : d; // all zeros is the one state that never moves
  }

  next(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  below(bound: number): number {
    assert(Number.isSafeInteger(bound) && bound > 0, 'a bound is a whole number above 0');
    if (bound < TWO_32) {
      // Values beyond the last whole multiple of the bound would make small results likelier. Unsigned
      // all the way, so that the engine divides integers.
      const divisor = bound >>> 0;
      const last = MAX_32 - (((MAX_32 % divisor) + 1) % divisor);
      let value = this.next();
      while (value > last) value = this.next();
      return value % divisor;
    }
    const range = 2 ** 53;
    const limit = range - (range % bound);
    let value = this.#next53();
    while (value >= limit) value = this.#next53();
    return value % bound;
  }

  #next53(): number {
    return (this.next() >>> 11) * TWO_32 + this.next();
  }
}

/** A 128-bit hash of UTF-16 code units (cyrb128's shape): spreads labels, is no secret. */
export function hash128(text: string): [number, number, number, number] {
  let a = 1779033703;
  let b = 3144134277;
  let c = 1013904242;
  let d = 2773480762;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    a = b ^ Math.imul(a ^ unit, 597399067);
    b = c ^ Math.imul(b ^ unit, 2869860233);
    c = d ^ Math.imul(c ^ unit, 951274213);
    d = a ^ Math.imul(d ^ unit, 2716044179);
  }
  a = Math.imul(c ^ (a >>> 18), 597399067);
  b = Math.imul(d ^ (b >>> 22), 2869860233);
  c = Math.imul(a ^ (c >>> 17), 951274213);
  d = Math.imul(b ^ (d >>> 19), 2716044179);
  return [(a ^ b ^ c ^ d) >>> 0, (b ^ a) >>> 0, (c ^ a) >>> 0, (d ^ a) >>> 0];
}
