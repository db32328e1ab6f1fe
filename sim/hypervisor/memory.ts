/** A guest's memory, byte by byte, with the kernel's notes of which pages were written. */
import type { PageSet, Region } from '../../src/ports/memory.ts';
import { PAGE_DIGEST_BYTES, PAGE_HASH_BYTES } from '../../src/ports/memory.ts';
import { assert } from '../../src/util/assert.ts';
import { crc32c } from '../transport/bulk/crc32c.ts';

export const PAGE_BYTES = 4096;
const WORDS_PER_PAGE = PAGE_BYTES / 4;

export class SimMemory {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly pageCount: number;
  readonly #written: Uint8Array;

  constructor(pageCount: number) {
    this.pageCount = pageCount;
    this.bytes = new Uint8Array(pageCount * PAGE_BYTES);
    this.words = new Uint32Array(this.bytes.buffer);
    // The first scan tells of every page.
    this.#written = new Uint8Array(pageCount).fill(1);
  }

  page(page: number): Uint8Array {
    return this.bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  isZero(page: number): boolean {
    const end = (page + 1) * WORDS_PER_PAGE;
    for (let at = page * WORDS_PER_PAGE; at < end; at += 1) if (this.words[at] !== 0) return false;
    return true;
  }

  /** By the guest itself: the only writes that count as dirty. */
  write(page: number, word: number, value: number): void {
    this.words[page * WORDS_PER_PAGE + word] = value;
    this.#written[page] = 1;
  }

  read(page: number, word: number): number {
    return this.words[page * WORDS_PER_PAGE + word] as number;
  }

  /** By the agent that lands a page: not a write of the guest. */
  land(page: number, bytes: Uint8Array | null): void {
    if (bytes === null) this.page(page).fill(0);
    else this.bytes.set(bytes, page * PAGE_BYTES);
  }

  /** Scans and protects, in one step. */
  scan(into: SimPageSet): void {
    for (let page = 0; page < this.pageCount; page += 1) {
      if (this.#written[page] === 1) into.add(page);
    }
    this.#written.fill(0);
  }

  /** A new tracker starts from nothing, so its first scan tells of every page. */
  trackAnew(): void {
    this.#written.fill(1);
  }

  digest(page: number, into: Uint8Array, at: number): void {
    digestOf(this.bytes, page * PAGE_BYTES, into, at);
  }

  hashes(firstPage: number, pageCount: number): Uint8Array {
    const hashes = new Uint8Array(pageCount * PAGE_HASH_BYTES);
    for (let index = 0; index < pageCount; index += 1) {
      hashOf(this.bytes, (firstPage + index) * PAGE_BYTES, hashes, index * PAGE_HASH_BYTES);
    }
    return hashes;
  }

  digests(firstPage: number, pageCount: number): Uint8Array {
    const digests = new Uint8Array(pageCount * PAGE_DIGEST_BYTES);
    for (let index = 0; index < pageCount; index += 1) {
      this.digest(firstPage + index, digests, index * PAGE_DIGEST_BYTES);
    }
    return digests;
  }
}

/** In place of the real keyed hash: nobody in a simulation looks for collisions. */
export function hashOf(bytes: Uint8Array, from: number, into: Uint8Array, at: number): void {
  const quarter = PAGE_BYTES / 4;
  const view = new DataView(into.buffer, into.byteOffset + at, PAGE_HASH_BYTES);
  for (let index = 0; index < 4; index += 1) {
    const start = from + index * quarter;
    view.setUint32(index * 4, crc32c(bytes, start, start + quarter), true);
  }
}

/** The CRC32C of each half, little-endian. */
export function digestOf(bytes: Uint8Array, from: number, into: Uint8Array, at: number): void {
  const half = from + PAGE_BYTES / 2;
  const view = new DataView(into.buffer, into.byteOffset + at, PAGE_DIGEST_BYTES);
  view.setUint32(0, crc32c(bytes, from, half), true);
  view.setUint32(4, crc32c(bytes, half, from + PAGE_BYTES), true);
}

/** What a transfer names; the pages stay in the model. */
export class SimRegion implements Region {
  readonly pageBytes: number = PAGE_BYTES;
  readonly sizeBytes: number;
  readonly memory: SimMemory;
  /** Runs before the memory is read: the guest may have written since. */
  readonly catchUp: () => void;

  constructor(memory: SimMemory, catchUp: () => void = () => {}) {
    this.memory = memory;
    this.sizeBytes = memory.pageCount * PAGE_BYTES;
    this.catchUp = catchUp;
  }

  close(): void {}
}

export class SimPageSet implements PageSet {
  readonly pageCount: number;
  readonly pages: Set<number> = new Set();

  constructor(pageCount: number) {
    this.pageCount = pageCount;
  }

  add(page: number): void {
    assert(page >= 0 && page < this.pageCount, `a page of this set, got ${page}`);
    this.pages.add(page);
  }

  size(): number {
    return this.pages.size;
  }

  addAll(): void {
    for (let page = 0; page < this.pageCount; page += 1) this.pages.add(page);
  }

  clear(): void {
    this.pages.clear();
  }

  sorted(): number[] {
    return [...this.pages].sort((a, b) => a - b);
  }
}
