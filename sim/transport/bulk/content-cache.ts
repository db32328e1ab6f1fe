/**
 * Pages that landed on a host, by content, as its disk keeps them: they outlive visits, links and agents. Now and then
 * an entry is lost, or its bytes are no longer those that were written.
 */
import type { ContentCacheCounters } from '../../../src/ports/content-cache.ts';
import { PAGE_BYTES } from '../../hypervisor/memory.ts';
import type { SimHost } from '../../world/host.ts';
import { fingerprintOf, wordsOf } from './fingerprint.ts';

/** Fewer than two guests have, so that older ones make room. */
const PAGES_MAX = 96;
const LOST_PERMYRIAD = 300;
const ROTTEN_PERMYRIAD = 300;

export class SimContentCache {
  readonly #host: SimHost;
  /** The oldest first. */
  readonly #pages = new Map<number, Uint8Array>();
  readonly #counts = { hits: 0, misses: 0, corruptPages: 0, storedPages: 0, evictedPages: 0 };

  constructor(host: SimHost) {
    this.#host = host;
  }

  /** What a peer hears of it when a transfer begins: from then on it is a guess. */
  contents(): Set<number> {
    return new Set(this.#pages.keys());
  }

  counters(): ContentCacheCounters {
    return {
      ...this.#counts,
      ...{ pages: this.#pages.size, bytes: this.#pages.size * PAGE_BYTES },
      ...{
        bytesMax: PAGES_MAX * PAGE_BYTES,
        segments: 1,
        savedBytes: this.#counts.hits * PAGE_BYTES,
      },
      ...{ damagedSegments: 0, writeErrors: 0, isFilling: false },
    };
  }

  keep(content: number, bytes: Uint8Array): void {
    if (this.#pages.has(content)) return;
    const [oldest] = this.#pages.keys();
    if (this.#pages.size >= PAGES_MAX && oldest !== undefined) {
      this.#pages.delete(oldest);
      this.#counts.evictedPages += 1;
    }
    this.#pages.set(content, bytes.slice());
    this.#counts.storedPages += 1;
  }

  read(content: number): Uint8Array | null {
    const { world } = this.#host;
    const chance = this.#host.random('cache');
    const bytes = this.#pages.get(content);
    if (bytes === undefined || chance.chance(LOST_PERMYRIAD)) {
      world.sometimes('the cache had lost a content');
      this.#pages.delete(content);
      this.#counts.misses += 1;
      return null;
    }
    if (chance.chance(ROTTEN_PERMYRIAD)) {
      const at = chance.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << chance.below(8));
    }
    if (this.isIntact(content, bytes)) {
      this.#counts.hits += 1;
      return bytes;
    }
    this.#counts.misses += 1;
    this.#counts.corruptPages += 1;
    world.sometimes('the cache found a content rotten');
    this.#pages.delete(content);
    return null;
  }

  /** Disks rot: what is read is looked at before it is used. */
  isIntact(content: number, bytes: Uint8Array): boolean {
    return fingerprintOf(wordsOf(bytes)) === content;
  }
}
