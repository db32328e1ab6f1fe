import type { RandomStream } from '../ports/random.ts';

const FIRST_MS = 100;
const LONGEST_MS = 5000;

/** Exponential, and half of it by chance, so that peers of a restarted host do not come as one. */
export function backoffUs(attempt: number, random: RandomStream): number {
  const fullMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  const halfMs = Math.floor(fullMs / 2);
  return (halfMs + random.below(halfMs + 1)) * 1000;
}
