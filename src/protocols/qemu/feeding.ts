/**
 * Which pages a waiting QEMU is given, and when. They land in a staging area first, because a page that
 * the guest writes all the time would cost QEMU's loading again and again: only one that stood still for
 * a whole round is fed, at most once a round, and only if QEMU does not have it as it is. In the first round
 * no page comes twice: what landed is fed while the rest is on its way, or the link would wait for QEMU
 * behind that round. When RAM has ended, all the others follow.
 *
 * Pages are compared by digest, two words each, of the bytes that landed and of the bytes that were fed.
 */
export interface PagesToFeed {
  readonly pages: Uint32Array;
  /** To be fed as zeros, without looking at staging. */
  readonly zeros: Uint32Array;
}

/** A page that never landed: it is still zero, as all of staging was. */
const NEVER = 0xffffffff;
const NOTHING: PagesToFeed = { pages: new Uint32Array(0), zeros: new Uint32Array(0) };

export class Feeding {
  readonly #pageCount: number;
  readonly #zero: readonly [number, number];
  readonly #before: Uint32Array;

  /** `zeroDigest`: of a page of zeros, its two words. */
  constructor(pageCount: number, zeroDigest: readonly [number, number]) {
    this.#pageCount = pageCount;
    this.#zero = zeroDigest;
    this.#before = new Uint32Array(2 * pageCount).fill(NEVER);
  }

  /**
   * `landed`, `fed`: two words per page, all ones for a page that did not yet. While QEMU still takes what it
   * was given before, it is given nothing more: those pages would be chosen again.
   */
  roundEnded(landed: Uint32Array, fed: Uint32Array, isFeeding: boolean): PagesToFeed {
    const chosen = isFeeding ? NOTHING : this.#choose(landed, fed, this.#before);
    this.#before.set(landed.subarray(0, this.#before.length));
    return chosen;
  }

  /** Within the first round: what landed before the last look. What did not come yet is nothing, not zeros. */
  meanwhile(landed: Uint32Array, fed: Uint32Array, isFeeding: boolean): PagesToFeed {
    const { pages } = this.roundEnded(landed, fed, isFeeding);
    return { pages, zeros: NOTHING.zeros };
  }

  /** Every page has landed and stands still. */
  last(landed: Uint32Array, fed: Uint32Array): PagesToFeed {
    return this.#choose(landed, fed, null);
  }

  #choose(landed: Uint32Array, fed: Uint32Array, before: Uint32Array | null): PagesToFeed {
    const pages = new Uint32Array(this.#pageCount);
    const zeros = new Uint32Array(this.#pageCount);
    let pageCount = 0;
    let zeroCount = 0;
    const [zeroLow, zeroHigh] = this.#zero;
    for (let page = 0; page < this.#pageCount; page += 1) {
      let low = landed[2 * page] as number;
      let high = landed[2 * page + 1] as number;
      if (before !== null && (before[2 * page] !== low || before[2 * page + 1] !== high)) continue;
      if (low === NEVER && high === NEVER) [low, high] = this.#zero;
      if (fed[2 * page] === low && fed[2 * page + 1] === high) continue;
      if (low === zeroLow && high === zeroHigh) {
        zeros[zeroCount] = page;
        zeroCount += 1;
      } else {
        pages[pageCount] = page;
        pageCount += 1;
      }
    }
    return { pages: pages.slice(0, pageCount), zeros: zeros.slice(0, zeroCount) };
  }
}
