/**
 * What a simulation tells contents apart by, in place of keyed strong hashes: nobody in it looks for collisions. Any
 * one word that differs gives another fingerprint.
 */
import { assert } from '../../../src/util/assert.ts';
import { PAGE_BYTES } from '../../hypervisor/memory.ts';

const PRIME_A = 0x01000193;
const PRIME_B = 0x85ebca6b;

/** A safe integer. */
export function fingerprintOf(words: Uint32Array): number {
  let a = 0x811c9dc5 | 0;
  let b = 0x9e3779b9 | 0;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] as number;
    a = Math.imul(a ^ word, PRIME_A);
    b = Math.imul(((b << 7) | (b >>> 25)) ^ word, PRIME_B);
  }
  return (a >>> 0) * 0x200000 + (b >>> 11);
}

/** The same bytes as words: they begin and end where words do. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  assert(bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0, 'bytes that are words');
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

export const ZERO_CONTENT: number = fingerprintOf(new Uint32Array(PAGE_BYTES / 4));
