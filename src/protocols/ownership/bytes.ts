/** Numbers and texts as bytes, one way only: what is equal is equal byte for byte on every replica. */
import { assert } from '../../util/assert.ts';
import { getU64, putU64 } from '../raft/sessions/command.ts';
import { joined } from '../raft/sessions/table.ts';

const U64_BYTES = 8;
/** As long as a file name may be, which every name here becomes somewhere. */
export const NAME_BYTES_MAX = 255;

export class ByteWriter {
  readonly #parts: Uint8Array[] = [];

  byte(value: number): this {
    this.#parts.push(Uint8Array.of(value));
    return this;
  }

  number(value: number): this {
    const bytes = new Uint8Array(U64_BYTES);
    putU64(bytes, 0, value);
    this.#parts.push(bytes);
    return this;
  }

  name(text: string): this {
    const bytes = new TextEncoder().encode(text);
    assert(bytes.length <= NAME_BYTES_MAX, `a name of ${bytes.length} bytes`);
    this.#parts.push(Uint8Array.of(bytes.length), bytes);
    return this;
  }

  finish(): Uint8Array {
    return joined(this.#parts);
  }
}

/** Bytes of anybody. After something was wrong all that is read is empty and `isWhole` is false. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #isDamaged = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Everything was there and nothing is left. */
  get isWhole(): boolean {
    return !this.#isDamaged && this.#at === this.#bytes.length;
  }

  get isDamaged(): boolean {
    return this.#isDamaged;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) return this.damaged(0);
    this.#at += 1;
    return value;
  }

  number(): number {
    const value = getU64(this.#bytes, this.#at);
    if (value === null) return this.damaged(0);
    this.#at += U64_BYTES;
    return value;
  }

  name(): string {
    const length = this.byte();
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    if (bytes.length < length) return this.damaged('');
    this.#at += length;
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.damaged('');
    }
  }

  damaged<T>(instead: T): T {
    this.#isDamaged = true;
    this.#at = this.#bytes.length;
    return instead;
  }
}
