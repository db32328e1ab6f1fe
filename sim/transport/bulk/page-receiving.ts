/** What lands of a region's pages, and what is refused; see `native/engine/page_transfer.cc`. */
import { type LinkCore, LinkReceiveCore } from '../../../src/native.ts';
import { PAGE_DIGEST_BYTES } from '../../../src/ports/memory.ts';
import type {
  PageReceiveCounters,
  PageReceiver,
  ReceiveEvent,
} from '../../../src/ports/transport.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import { PAGE_BYTES, type SimRegion } from '../../hypervisor/memory.ts';
import { fingerprintOf, wordsOf, ZERO_CONTENT } from './fingerprint.ts';
import type { ByteChunk, ChunkName, PageChunk, PageRecord } from './frame.ts';
import { Refusals } from './refusals.ts';
import { type Ack, NOTHING, type Receiving, type TransferHost } from './sending.ts';

type Delta = PageRecord & { readonly kind: 'delta' };

/** What stands in a page from now on; null for zeros. */
interface Landing {
  readonly bytes: Uint8Array | null;
  readonly content: number;
}

export class PageReceiving implements Receiving, PageReceiver {
  readonly name: ChunkName;
  readonly #host: TransferHost;
  readonly #region: SimRegion;
  readonly #core: LinkCore;
  readonly #digests: Uint8Array;
  readonly #refusals = new Refusals();
  #listener: ((event: ReceiveEvent) => void) | null;
  #ack: Ack;
  #isClosed = false;
  #landedPages = 0;
  #stalePages = 0;
  #landedBytes = 0;

  constructor(
    host: TransferHost,
    name: ChunkName,
    region: SimRegion,
    listener: (event: ReceiveEvent) => void,
  ) {
    this.name = name;
    this.#host = host;
    this.#region = region;
    this.#listener = listener;
    const { pageCount } = region.memory;
    this.#core = new LinkReceiveCore(host.windowBytes, pageCount);
    this.#ack = { ...NOTHING, creditBytes: host.windowBytes };
    this.#digests = new Uint8Array(pageCount * PAGE_DIGEST_BYTES).fill(0xff);
  }

  holds(seq: number): boolean {
    return seq <= this.#ack.cumulative || this.#ack.landed.includes(seq);
  }

  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null {
    if (chunk.type !== 'pages') return null;
    const { seq, pages } = chunk;
    const isKnown = this.holds(seq);
    const actions = this.#core.step({ type: 'chunk', seq, bytes: frameBytes, pages });
    const ack = actions.find(({ type }) => type === 'ack');
    if (ack === undefined) return null;
    const admitted = new Set(
      actions.filter(({ type }) => type === 'writePage').map(({ page }) => page as number),
    );
    const refusedBefore = this.#refusals.total;
    for (const [index, page] of pages.entries()) {
      if (admitted.has(page)) this.#takePage(seq, page, chunk.record(index));
    }
    // An acknowledgement tells of every refusal in what it acknowledges.
    this.#ack = { ...(ack as unknown as Ack), refused: this.#refusals.total };
    if (isKnown) return 'duplicate';
    this.#landedPages += admitted.size - (this.#refusals.total - refusedBefore);
    this.#stalePages += pages.length - admitted.size;
    this.#landedBytes += pages.length * PAGE_BYTES;
    return 'landed';
  }

  ack(): Ack {
    return this.#ack;
  }

  refusals(): { readonly first: number; readonly pages: readonly number[] } | null {
    return this.#isClosed ? null : this.#refusals.untold();
  }

  heard(refusals: number): boolean {
    return this.#refusals.heard(refusals);
  }

  digests(firstPage: number, pageCount: number): Uint8Array {
    if (this.#isClosed) throw new DwcpError('ERR_DWCP_CLOSED', 'the transfer was closed');
    return this.#digests.slice(
      firstPage * PAGE_DIGEST_BYTES,
      (firstPage + pageCount) * PAGE_DIGEST_BYTES,
    );
  }

  counters(): PageReceiveCounters {
    return {
      ...{ landedPages: this.#landedPages, stalePages: this.#stalePages },
      ...{ landedBytes: this.#landedBytes, refusedPages: this.#refusals.total },
    };
  }

  close(): void {
    this.#listener = null;
    this.#isClosed = true;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  fail(error: DwcpError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#host.later(() => this.#listener?.({ type: 'failed', error }));
  }

  /** Puts one page into its place. */
  land(seq: number, page: number, { bytes, content }: Landing): void {
    const { memory } = this.#region;
    memory.land(page, bytes);
    memory.digest(page, this.#digests, page * PAGE_DIGEST_BYTES);
    for (const observer of this.#host.observers) observer.landed(this.name, seq, page, content);
  }

  fits(content: number, expected: number): boolean {
    return content === expected;
  }

  /** Built aside, and null unless base and result are what the sender has: nothing but that is ever written. */
  #built(page: number, { base, result, changes }: Delta): Landing | null {
    const words = wordsOf(this.#region.memory.page(page)).slice();
    if (!this.fits(fingerprintOf(words), base)) return null;
    for (let at = 0; at < changes.length; at += 2) {
      words[changes[at] as number] = changes[at + 1] as number;
    }
    const content = fingerprintOf(words);
    return this.fits(content, result) ? { bytes: new Uint8Array(words.buffer), content } : null;
  }

  #takePage(seq: number, page: number, record: PageRecord): void {
    const landing = this.#landingOf(page, record);
    if (landing !== null) return this.land(seq, page, landing);
    this.#refusals.add(page);
    for (const observer of this.#host.observers) observer.refused(this.name, seq, page);
  }

  #landingOf(page: number, record: PageRecord): Landing | null {
    const { cache } = this.#host;
    switch (record.kind) {
      case 'zero':
        return { bytes: null, content: ZERO_CONTENT };
      case 'whole': {
        const { bytes } = record;
        const content = fingerprintOf(wordsOf(bytes));
        cache?.keep(content, bytes);
        return { bytes, content };
      }
      case 'known': {
        const bytes = cache?.read(record.content) ?? null;
        if (bytes === null) return null;
        return { bytes, content: fingerprintOf(wordsOf(bytes)) };
      }
      case 'delta': {
        if (this.#host.rots()) this.#rot(page);
        const built = this.#built(page, record);
        if (built === null) this.#host.sometimes('a delta lacked its base');
        return built;
      }
    }
  }

  #rot(page: number): void {
    const words = wordsOf(this.#region.memory.page(page));
    words[0] = (words[0] as number) ^ 1;
  }
}
