/**
 * Every page of a chunk lands at most once, and as exactly the bytes that its source read for that chunk, by whatever
 * name it went: whole, as zeros, by its content, or as what changed since a base.
 */
import type { ChunkName } from '../transport/bulk/frame.ts';
import type { TransferObserver } from '../transport/bulk/sending.ts';
import type { Finding } from '../world/violation.ts';

/** What the pages of a chunk that is under way have to be; a page is taken out when it lands or is refused. */
type Chunk = Map<number, number>;

/** Transfers that ended long ago are forgotten. */
const TRANSFERS_MAX = 64;

export class Landings implements TransferObserver {
  readonly #transfers = new Map<string, Map<number, Chunk>>();
  #finding: Finding | null = null;

  begins(name: ChunkName): void {
    this.#transfers.delete(keyOf(name));
  }

  built(name: ChunkName, seq: number, pages: readonly number[], contents: readonly number[]): void {
    const chunk = new Map(pages.map((page, index) => [page, contents[index] as number]));
    this.#of(name).set(seq, chunk);
  }

  landed(name: ChunkName, seq: number, page: number, content: number): void {
    const sent = this.#taken(name, seq, page);
    if (sent === undefined) return this.#found(name, `page ${page} of chunk ${seq} landed again`);
    if (sent === content) return;
    this.#found(name, `page ${page} of chunk ${seq} landed as another one than was read`);
  }

  refused(name: ChunkName, seq: number, page: number): void {
    if (this.#taken(name, seq, page) !== undefined) return;
    this.#found(name, `page ${page} of chunk ${seq} was refused after it had landed`);
  }

  released(name: ChunkName, seq: number): void {
    this.#of(name).delete(seq);
  }

  batchAcked(): void {}

  look(): Finding | null {
    return this.#finding;
  }

  #taken(name: ChunkName, seq: number, page: number): number | undefined {
    const chunk = this.#of(name).get(seq);
    const sent = chunk?.get(page);
    chunk?.delete(page);
    return sent;
  }

  #of(name: ChunkName): Map<number, Chunk> {
    const key = keyOf(name);
    let transfer = this.#transfers.get(key);
    if (transfer === undefined) {
      transfer = new Map();
      this.#transfers.set(key, transfer);
      const [oldest] = this.#transfers.keys();
      if (this.#transfers.size > TRANSFERS_MAX && oldest !== undefined) {
        this.#transfers.delete(oldest);
      }
    }
    return transfer;
  }

  #found({ transferId, epoch }: ChunkName, what: string): void {
    this.#finding ??= { message: `transfer ${transferId}, epoch ${epoch}: ${what}` };
  }
}

function keyOf({ transferId, epoch }: ChunkName): string {
  return `${transferId}/${epoch}`;
}
