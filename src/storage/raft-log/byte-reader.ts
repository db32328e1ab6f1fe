const TWO_TO_32 = 2 ** 32;
const HIGH_MAX = 2 ** 21;

/**
 * Reads what a {@link ByteWriter} wrote, or what somebody claims that it wrote: a read beyond the end,
 * or of a number that no writer writes, answers zero and sets `failed`, for good.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;
  failed = false;

  constructor(bytes: Uint8Array, from: number = 0, to: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = Math.min(to, bytes.length);
  }

  get left(): number {
    return this.#end - this.#at;
  }

  /** All was read, and nothing was wrong. */
  get isDone(): boolean {
    return !this.failed && this.left === 0;
  }

  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] ?? 0);
  }

  u32(): number {
    const at = this.#take(4);
    if (at < 0) return 0;
    const bytes = this.#bytes;
    const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return (low | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
  }

  u64(): number {
    const low = this.u32();
    const high = this.u32();
    if (high >= HIGH_MAX) this.failed = true;
    return this.failed ? 0 : high * TWO_TO_32 + low;
  }

  /** A copy: the buffer it came from may be large, and what is read stays. */
  raw(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? new Uint8Array() : this.#bytes.slice(at, at + length);
  }

  text(lengthMax: number): string {
    const length = this.u32();
    if (length > lengthMax) this.failed = true;
    const bytes = this.failed ? new Uint8Array() : this.raw(length);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      this.failed = true;
      return '';
    }
  }

  #take(count: number): number {
    const at = this.#at;
    if (this.failed || count > this.left) {
      this.failed = true;
      return -1;
    }
    this.#at = at + count;
    return at;
  }
}
