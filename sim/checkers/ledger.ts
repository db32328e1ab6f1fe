/**
 * Every page is delivered exactly as its last version: nothing older lands over something newer, nothing
 * counts as acknowledged that did not land, a round that is done has delivered all it read, and what counts as
 * held after a crash is there.
 */
import type { ChunkName } from '../transport/bulk/frame.ts';
import type { TransferObserver } from '../transport/bulk/sending.ts';

interface Transfer {
  /** The chunk in which each page was refused last. */
  readonly refused: Map<number, number>;
  /** The newest sequence in which each page was read. */
  readonly built: Map<number, number>;
  readonly pagesOf: Map<number, readonly number[]>;
  readonly landed: Map<number, number>;
}

/** Transfers that ended long ago are forgotten. */
const TRANSFERS_MAX = 64;

export class Ledger implements TransferObserver {
  /** The first finding; null while all is well. */
  finding: string | null = null;
  readonly #transfers = new Map<string, Transfer>();

  begins(name: ChunkName): void {
    this.#transfers.delete(keyOf(name));
  }

  /**
   * After an agent died: a page that its source does not send again has to be at the destination, as it is at
   * the source. `copies` are what else there is of the guest.
   */
  held(vm: string, page: number, bytes: Uint8Array, copies: readonly Uint8Array[]): void {
    const isThere = copies.some((copy) => copy.every((byte, index) => byte === bytes[index]));
    if (isThere || copies.length === 0) return;
    this.finding ??= `page ${page} of ${vm} counts as held, and is not there as it is at the source`;
  }

  built(name: ChunkName, seq: number, pages: readonly number[]): void {
    const transfer = this.#of(name);
    transfer.pagesOf.set(seq, pages);
    for (const page of pages) transfer.built.set(page, seq);
  }

  /**
   * After an agent died: a page that its source sends again has to differ from what its destination holds.
   */
  missing(vm: string, page: number, bytes: Uint8Array, copies: readonly Uint8Array[]): void {
    const [copy, ...others] = copies;
    if (copy === undefined || others.length > 0) return;
    if (!copy.every((byte, index) => byte === bytes[index])) return;
    this.finding ??= `page ${page} of ${vm} counts as missing, and is there as it is at the source`;
  }

  refused(name: ChunkName, seq: number, page: number): void {
    this.#of(name).refused.set(page, seq);
  }

  landed(name: ChunkName, seq: number, page: number): void {
    const { landed } = this.#of(name);
    const before = landed.get(page) ?? 0;
    if (before >= seq)
      this.#found(name, `page ${page} of chunk ${seq} landed over chunk ${before}`);
    landed.set(page, seq);
  }

  released(name: ChunkName, seq: number): void {
    const { pagesOf, landed, refused } = this.#of(name);
    const missing = (pagesOf.get(seq) ?? []).find(
      (page) => (landed.get(page) ?? 0) < seq && (refused.get(page) ?? 0) < seq,
    );
    pagesOf.delete(seq);
    if (missing === undefined) return;
    this.#found(name, `chunk ${seq} was acknowledged and its page ${missing} did not land`);
  }

  batchAcked(name: ChunkName): void {
    const { built, landed } = this.#of(name);
    for (const [page, seq] of built) {
      if (landed.get(page) === seq) continue;
      const found = `page ${page} landed as of chunk ${landed.get(page) ?? 'none'}`;
      return this.#found(name, `${found}, its last version is in chunk ${seq}`);
    }
  }

  #of(name: ChunkName): Transfer {
    const key = keyOf(name);
    let transfer = this.#transfers.get(key);
    if (transfer === undefined) {
      const maps = { built: new Map(), landed: new Map(), refused: new Map() };
      transfer = { ...maps, pagesOf: new Map() };
      this.#transfers.set(key, transfer);
      const [oldest] = this.#transfers.keys();
      if (this.#transfers.size > TRANSFERS_MAX && oldest !== undefined) {
        this.#transfers.delete(oldest);
      }
    }
    return transfer;
  }

  #found({ transferId, epoch }: ChunkName, what: string): void {
    this.finding ??= `transfer ${transferId}, epoch ${epoch}: ${what}`;
  }
}

function keyOf({ transferId, epoch }: ChunkName): string {
  return `${transferId}/${epoch}`;
}
