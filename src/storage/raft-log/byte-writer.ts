import { assert } from '../../util/assert.ts';

const TWO_TO_32 = 2 ** 32;

/** Little-endian bytes in one buffer that grows, and that is used again after {@link reset}. */
export class ByteWriter {
  #bytes: Uint8Array;
  length = 0;

  constructor(capacity: number = 4096) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** What was written so far, in place: good until the next write. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  reset(): void {
    this.length = 0;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.length] = value;
    this.length += 1;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.putU32(this.length, value);
    this.length += 4;
  }

  /** A safe integer that is not negative. */
  u64(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a number on the disk is a safe integer');
    this.u32(value >>> 0);
    this.u32(Math.floor(value / TWO_TO_32));
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u32(bytes.length);
    this.raw(bytes);
  }

  zeros(count: number): void {
    this.#reserve(count);
    this.#bytes.fill(0, this.length, this.length + count);
    this.length += count;
  }

  /** Over what is there already. */
  putU32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  #reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.written);
    this.#bytes = larger;
  }
}
