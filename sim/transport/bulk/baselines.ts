/** What a sender of pages remembers of what it sent; see `native/codec/baselines.h`. */
import { PAGE_BYTES } from '../../hypervisor/memory.ts';
import type { PageRecord } from './frame.ts';

/** A page that changed in more places goes whole. */
const CHANGES_MAX = 64;
const WORDS = PAGE_BYTES / 4;

interface Baseline {
  seq: number;
  content: number;
  readonly words: Uint32Array;
}

/**
 * A delta is made only against a version that the peer acknowledged, and only when no other one is on its way: so a
 * page has at most one unacknowledged version that anything may be based on.
 */
export class SimBaselines {
  readonly #pagesMax: number;
  /** The page that was sent longest ago comes first. */
  readonly #of = new Map<number, Baseline>();

  constructor(pagesMax: number) {
    this.#pagesMax = pagesMax;
  }

  get bytes(): number {
    return this.#of.size * PAGE_BYTES;
  }

  /** The page is `words` from `seq` on. Null when it must go whole. */
  advance(
    page: number,
    seq: number,
    ackedSeq: number,
    words: Uint32Array,
    content: number,
  ): PageRecord | null {
    const known = this.#of.get(page);
    if (known === undefined) {
      this.#remember(page, { seq, content, words: words.slice() });
      return null;
    }
    const changes = this.mayBase(known.seq, ackedSeq) ? changesOf(known.words, words) : null;
    const record =
      changes === null
        ? null
        : ({ kind: 'delta', base: known.content, result: content, changes } as const);
    known.seq = seq;
    known.content = content;
    known.words.set(words);
    return record;
  }

  /** May a delta be made against what went out in chunk `seq`? */
  mayBase(seq: number, ackedSeq: number): boolean {
    return seq <= ackedSeq;
  }

  /** The peer does not have what we think, or the page went as something else. */
  forget(page: number): void {
    this.#of.delete(page);
  }

  #remember(page: number, baseline: Baseline): void {
    const [oldest] = this.#of.keys();
    if (this.#of.size >= this.#pagesMax && oldest !== undefined) this.#of.delete(oldest);
    this.#of.set(page, baseline);
  }
}

function changesOf(before: Uint32Array, now: Uint32Array): Uint32Array | null {
  const changes: number[] = [];
  for (let at = 0; at < WORDS; at += 1) {
    if (before[at] === now[at]) continue;
    if (changes.length === 2 * CHANGES_MAX) return null;
    changes.push(at, now[at] as number);
  }
  return Uint32Array.from(changes);
}
