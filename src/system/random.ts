import { randomBytes } from 'node:crypto';
import type { Random, RandomStream } from '../ports/random.ts';
import { assert } from '../util/assert.ts';

/** The kernel's random numbers: streams are independent of each other by nature. */
export function systemRandom(): Random {
  const stream: RandomStream = { below };
  return { stream: () => stream, bytes: (count) => new Uint8Array(randomBytes(count)) };
}

/** Draws 53 bits and rejects the uneven rest, so that every value is equally likely. */
function below(bound: number): number {
  assert(Number.isSafeInteger(bound) && bound > 0, `a bound above 0, got ${bound}`);
  const limit = 2 ** 53 - (2 ** 53 % bound);
  for (;;) {
    const bytes = randomBytes(7);
    const draw = (bytes.readUIntBE(0, 6) * 2 ** 5 + (bytes.readUInt8(6) >> 3)) % 2 ** 53;
    if (draw < limit) return draw % bound;
  }
}
