/** Pages of a region, each by the cheapest name it has; see `native/engine/page_transfer.cc`. */
import type { PageSet } from '../../../src/ports/memory.ts';
import type {
  PageSendCounters,
  PageSender,
  PageSendOptions,
  SendEvent,
} from '../../../src/ports/transport.ts';
import { assert } from '../../../src/util/assert.ts';
import type { DwcpError } from '../../../src/util/errors.ts';
import { PAGE_BYTES, SimPageSet, type SimRegion } from '../../hypervisor/memory.ts';
import { SimBaselines } from './baselines.ts';
import { fingerprintOf, wordsOf, ZERO_CONTENT } from './fingerprint.ts';
import { encodePages, type PageRecord } from './frame.ts';
import { REFUSALS_MAX } from './refusals.ts';
import { Sending, type TransferHost } from './sending.ts';

/** Fewer than a guest has, so that some pages push out others. */
const BASELINES_MAX = 48;

interface Batch {
  readonly pages: readonly number[];
  next: number;
  /** Null until every page of it was read. */
  lastSeq: number | null;
}

export class PageSending extends Sending implements PageSender {
  readonly #region: SimRegion;
  readonly #isPlain: boolean;
  #listener: ((event: SendEvent) => void) | null;
  readonly #batches: Batch[] = [];
  readonly #chunks = new Map<number, { readonly pages: number; readonly named: number }>();
  readonly #counts = { zero: 0, known: 0, delta: 0, whole: 0 };
  #ackedPages = 0;
  #pendingPages = 0;
  /** By content or base, and of those how many are in chunks that were acknowledged. */
  #namedPages = 0;
  #namedAcked = 0;
  #baselines: SimBaselines | null = null;
  /** Contents that the peer probably has. */
  readonly #guess: Set<number>;
  #refusalsTold = 0;
  #refusalsHeard = 0;
  /** Not yet in `#resend`. */
  readonly #refused = new Set<number>();
  #resend: Batch | null = null;
  /** Every refused page was sent whole up to here, once there is no `#resend`. */
  #resendSeq = 0;

  constructor(
    host: TransferHost,
    options: PageSendOptions,
    region: SimRegion,
    listener: (event: SendEvent) => void,
  ) {
    const { transferId, epoch, profile } = options;
    super(host, { transferId, epoch });
    this.#region = region;
    this.#isPlain = profile === 'v1';
    this.#listener = listener;
    this.#guess = host.guess();
    for (const observer of host.observers) observer.begins(this.name);
  }

  send(pages: PageSet): void {
    assert(pages instanceof SimPageSet, 'a page set of this simulation');
    const list = pages.sorted();
    this.#pendingPages += list.length;
    const lastSeq = list.length === 0 ? this.nextSeq - 1 : null;
    this.#batches.push({ pages: list, next: 0, lastSeq });
    this.advanced();
    this.host.kick();
  }

  counters(): PageSendCounters {
    const { zero, known, delta, whole } = this.#counts;
    return {
      ...{ zeroPages: zero, duplicatePages: known, deltaPages: delta, rawPages: whole },
      // No codec is simulated: what it makes of a chunk is no rule.
      ...{ compressedPages: 0, baselineBytes: this.#baselines?.bytes ?? 0 },
      rawBytes: (known + delta + whole) * PAGE_BYTES,
      wireBytes: this.wireBytes,
      ackedBytes: this.#ackedPages * PAGE_BYTES,
      pendingPages: this.#pendingPages,
    };
  }

  close(): void {
    this.#listener = null;
    this.failed = true;
  }

  override refused(first: number, pages: readonly number[]): number | null {
    if (this.failed) return this.#refusalsHeard;
    // What lies between will be told again.
    if (first > this.#refusalsHeard + 1) return this.#refusalsHeard;
    for (const page of pages.slice(this.#refusalsHeard + 1 - first)) {
      const isNamed = this.#refusalsHeard < this.#namedPages;
      if (page >= this.#region.memory.pageCount || !isNamed) return null;
      this.#refusalsHeard += 1;
      this.#baselines?.forget(page);
      if (this.#refused.has(page)) continue;
      this.#refused.add(page);
      this.#pendingPages += 1;
    }
    this.host.kick();
    return this.#refusalsHeard;
  }

  protected told(refusals: number): void {
    this.#refusalsTold = Math.max(this.#refusalsTold, refusals);
  }

  protected hasWork(): boolean {
    const isResending = this.#refused.size > 0 || this.#resend !== null;
    return isResending || this.#batches.some((batch) => batch.lastSeq === null);
  }

  protected build(seq: number): Uint8Array {
    const batch = this.#nextBatch();
    const most = this.host.chunkBytes / PAGE_BYTES;
    const pages = batch.pages.slice(batch.next, batch.next + most);
    batch.next += pages.length;
    if (batch.next === batch.pages.length) this.#handedOut(batch, seq);
    this.#region.catchUp();
    const isWhole = batch === this.#resend;
    if (isWhole) this.host.sometimes('a refused page was sent whole');
    if (isWhole && batch.lastSeq !== null) this.#resend = null;
    const namedBefore = this.#namedPages;
    const contents: number[] = [];
    const records = pages.map((page) => this.#record(page, seq, isWhole, contents));
    const frame = encodePages(this.name, seq, pages, records);
    const named = this.#namedPages - namedBefore;
    this.#chunks.set(seq, { pages: pages.length, named });
    for (const observer of this.host.observers) observer.built(this.name, seq, pages, contents);
    return frame;
  }

  protected released(seq: number): void {
    const { pages, named } = this.#chunks.get(seq) ?? { pages: 0, named: 0 };
    this.#chunks.delete(seq);
    this.#pendingPages -= pages;
    this.#ackedPages += pages;
    this.#namedAcked += named;
  }

  protected advanced(): void {
    // What the receiver refused must have landed whole first.
    if (!this.hasLandedRefused()) return;
    for (;;) {
      const [first] = this.#batches;
      if (first === undefined || first.lastSeq === null || first.lastSeq > this.cumulative) return;
      this.#batches.shift();
      for (const observer of this.host.observers) observer.batchAcked(this.name);
      const counters = this.counters();
      this.host.later(() => this.#listener?.({ type: 'batchAcked', counters }));
    }
  }

  /** Whether nothing is left of all that was refused. */
  hasLandedRefused(): boolean {
    if (this.#refusalsHeard < this.#refusalsTold || this.#refused.size > 0) return false;
    return this.#resend === null && this.#resendSeq <= this.cumulative;
  }

  protected tellFailed(error: DwcpError): void {
    this.#listener?.({ type: 'failed', error });
  }

  /** Whose pages go into the next chunk: refused ones first. */
  #nextBatch(): Batch {
    if (this.#resend === null && this.#refused.size > 0) {
      const pages = [...this.#refused].sort((a, b) => a - b);
      this.#resend = { pages, next: 0, lastSeq: null };
      this.#refused.clear();
    }
    const batch = this.#resend ?? this.#batches.find(({ lastSeq }) => lastSeq === null);
    assert(batch !== undefined, 'a batch with pages left');
    return batch;
  }

  #handedOut(batch: Batch, seq: number): void {
    batch.lastSeq = seq;
    if (batch === this.#resend) this.#resendSeq = seq;
  }

  #record(page: number, seq: number, isWhole: boolean, contents: number[]): PageRecord {
    const { memory } = this.#region;
    const baselines = this.#baselinesOfNow();
    if (memory.isZero(page)) {
      contents.push(ZERO_CONTENT);
      baselines?.forget(page);
      this.#counts.zero += 1;
      return { kind: 'zero' };
    }
    const words = wordsOf(memory.page(page));
    const content = fingerprintOf(words);
    contents.push(content);
    if (isWhole) baselines?.forget(page);
    const delta = baselines?.advance(page, seq, this.cumulative, words, content) ?? null;
    const named = isWhole || !this.#mayName() ? null : (delta ?? this.#known(content));
    if (named === null) {
      this.#counts.whole += 1;
      return { kind: 'whole', bytes: memory.page(page) };
    }
    this.host.sometimes(named === delta ? 'a page went as a delta' : 'a page went by its content');
    this.#counts[named === delta ? 'delta' : 'known'] += 1;
    this.#namedPages += 1;
    return named;
  }

  /** Whatever goes unencoded is no base that a later delta could know of. */
  #baselinesOfNow(): SimBaselines | null {
    if (this.host.codec.kind !== 'adaptive' || this.#isPlain) this.#baselines = null;
    else this.#baselines ??= new SimBaselines(BASELINES_MAX);
    return this.#baselines;
  }

  #known(content: number): PageRecord | null {
    return this.#guess.has(content) ? { kind: 'known', content } : null;
  }

  /** What is named may be refused: no more of it than the receiver will remember. */
  #mayName(): boolean {
    if (this.host.codec.kind === 'raw' || this.#isPlain) return false;
    const unsettled = this.#refusalsTold - this.#refusalsHeard;
    return this.#namedPages - this.#namedAcked + unsettled < REFUSALS_MAX / 4;
  }
}
