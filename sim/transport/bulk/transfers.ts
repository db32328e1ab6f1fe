/**
 * Transfers of a simulated link: what `native/engine/{page,byte}_transfer.cc` do around the rules of
 * the link core. The rules themselves are the shipped C++ class.
 */
import {
  type LinkAction,
  type LinkCore,
  LinkReceiveCore,
  LinkSendCore,
} from '../../../src/native.ts';
import type { PageSet } from '../../../src/ports/memory.ts';
import { PAGE_DIGEST_BYTES } from '../../../src/ports/memory.ts';
import type {
  ByteCounters,
  ByteReceiveEvent,
  ByteReceiver,
  ByteSendEvent,
  ByteSender,
  PageReceiveCounters,
  PageReceiver,
  PageSendCounters,
  PageSender,
  ReceiveEvent,
  SendEvent,
} from '../../../src/ports/transport.ts';
import { assert } from '../../../src/util/assert.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import { digestOf, PAGE_BYTES, SimPageSet, type SimRegion } from '../../hypervisor/memory.ts';
import {
  type ByteChunk,
  type ChunkName,
  encodeBytes,
  encodePages,
  type PageChunk,
} from './frame.ts';
import type { LocalEnd } from './local-socket.ts';

/** As `kChunkFrameOverhead` of the native side. */
const OVERHEAD_BYTES = 48 + 4096 * 8;
const RETURN_PIECE_BYTES = 64 * 1024;

export interface Ack {
  readonly cumulative: number;
  readonly creditBytes: number;
  readonly landed: readonly number[];
}

/** What checkers see of every transfer of a world. */
export interface TransferObserver {
  /** Perhaps anew, under the name that it had over a link that is gone. */
  begins(name: ChunkName): void;
  built(name: ChunkName, seq: number, pages: readonly number[], frame: Uint8Array): void;
  landed(name: ChunkName, seq: number, page: number): void;
  released(name: ChunkName, seq: number): void;
  batchAcked(name: ChunkName): void;
}

/** How a transfer speaks to the link that carries it. */
export interface TransferHost {
  readonly windowBytes: number;
  /** Of chunks that are built from now on. */
  chunkBytes: number;
  /** Counts the changes of how the link is tuned. */
  tuning: number;
  readonly observer: TransferObserver | null;
  /** There may be something to pull. */
  kick(): void;
  /** Acknowledgements of a receiver changed outside of a chunk's arrival. */
  ackChanged(name: ChunkName): void;
  /** A chunk was acknowledged that was named under this tuning. */
  acked(stream: number, tuning: number): void;
  /** Later, never inside the call. */
  later(run: () => void): void;
}

export interface Pulled {
  readonly frame: Uint8Array;
  readonly reinjected: boolean;
}

/** The half of a transfer that sends; a stream pulls from it. */
export abstract class Sending {
  readonly name: ChunkName;
  wireBytes = 0;
  protected readonly host: TransferHost;
  protected readonly core: LinkCore;
  protected failed = false;
  protected cumulative = 0;
  protected nextSeq = 1;
  /** Sent and not released, by sequence: the staging. */
  readonly #staged = new Map<
    number,
    { readonly frame: Uint8Array; readonly tuning: number; stream: number }
  >();
  /** Carried by streams that died. */
  readonly #lost = new Set<number>();

  constructor(host: TransferHost, name: ChunkName) {
    this.host = host;
    this.name = name;
    this.core = new LinkSendCore(host.windowBytes);
  }

  get stagedBytes(): number {
    let bytes = 0;
    for (const { frame } of this.#staged.values()) bytes += frame.length;
    return bytes;
  }

  pull(stream: number): Pulled | null {
    if (this.failed) return null;
    if (this.#lost.size > 0) return this.#reinject(stream);
    if (!this.hasWork()) return null;
    const bytes = OVERHEAD_BYTES + this.host.chunkBytes;
    const [action] = this.core.step({ type: 'reserve', stream, bytes }) as [LinkAction];
    if (action.type === 'idle') return null;
    const seq = action.seq as number;
    assert(seq === this.nextSeq, 'sequences come one by one');
    this.nextSeq += 1;
    const frame = this.build(seq);
    this.core.step({ type: 'built', seq, bytes: frame.length });
    this.#staged.set(seq, { frame, stream, tuning: this.host.tuning });
    this.wireBytes += frame.length;
    return { frame, reinjected: false };
  }

  /** False when the peer acknowledges what was never sent. */
  acked(ack: Ack): boolean {
    if (this.failed) return true;
    const actions = this.core.step({ type: 'ack', ...ack });
    if (actions.some(({ type }) => type === 'refuse')) return false;
    for (const { seq } of actions) {
      this.#lost.delete(seq as number);
      const staged = this.#staged.get(seq as number);
      if (staged !== undefined) this.host.acked(staged.stream, staged.tuning);
      this.#staged.delete(seq as number);
      this.host.observer?.released(this.name, seq as number);
      this.released(seq as number);
    }
    while (this.cumulative + 1 < this.nextSeq && !this.#staged.has(this.cumulative + 1)) {
      this.cumulative += 1;
    }
    this.advanced();
    return true;
  }

  streamDown(stream: number): void {
    this.core.step({ type: 'streamDown', stream });
    for (const [seq, staged] of this.#staged) {
      if (staged.stream === stream) this.#lost.add(seq);
    }
  }

  fail(error: DwcpError): void {
    if (this.failed) return;
    this.failed = true;
    this.#staged.clear();
    this.#lost.clear();
    this.host.later(() => this.tellFailed(error));
  }

  protected abstract hasWork(): boolean;
  protected abstract build(seq: number): Uint8Array;
  protected abstract released(seq: number): void;
  protected abstract advanced(): void;
  protected abstract tellFailed(error: DwcpError): void;

  #reinject(stream: number): Pulled {
    const [action] = this.core.step({ type: 'pull', stream, bytes: 0 }) as [LinkAction];
    assert(action.reinjected === true, 'what lost its stream is sent again first');
    const seq = action.seq as number;
    this.#lost.delete(seq);
    const staged = this.#staged.get(seq);
    assert(staged !== undefined, 'a lost chunk is kept');
    staged.stream = stream;
    this.wireBytes += staged.frame.length;
    return { frame: staged.frame, reinjected: true };
  }
}

interface Batch {
  readonly pages: readonly number[];
  next: number;
  /** Null until every page of it was read. */
  lastSeq: number | null;
}

export class PageSending extends Sending implements PageSender {
  readonly #region: SimRegion;
  #listener: ((event: SendEvent) => void) | null;
  readonly #batches: Batch[] = [];
  readonly #pagesOf = new Map<number, number>();
  #zeroPages = 0;
  #rawPages = 0;
  #ackedPages = 0;
  #pendingPages = 0;

  constructor(
    host: TransferHost,
    name: ChunkName,
    region: SimRegion,
    listener: (event: SendEvent) => void,
  ) {
    super(host, name);
    this.#region = region;
    this.#listener = listener;
    host.observer?.begins(name);
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
    return {
      ...{ zeroPages: this.#zeroPages, rawPages: this.#rawPages },
      // No codec is simulated: what it makes of a chunk is no rule.
      ...{ duplicatePages: 0, deltaPages: 0, compressedPages: 0, baselineBytes: 0 },
      rawBytes: this.#rawPages * PAGE_BYTES,
      wireBytes: this.wireBytes,
      ackedBytes: this.#ackedPages * PAGE_BYTES,
      pendingPages: this.#pendingPages,
    };
  }

  close(): void {
    this.#listener = null;
    this.failed = true;
  }

  protected hasWork(): boolean {
    return this.#batches.some((batch) => batch.lastSeq === null);
  }

  protected build(seq: number): Uint8Array {
    const batch = this.#batches.find(({ lastSeq }) => lastSeq === null);
    assert(batch !== undefined, 'a batch with pages left');
    const most = this.host.chunkBytes / PAGE_BYTES;
    const pages = batch.pages.slice(batch.next, batch.next + most);
    batch.next += pages.length;
    if (batch.next === batch.pages.length) batch.lastSeq = seq;
    this.#region.catchUp();
    const { memory } = this.#region;
    const frame = encodePages(this.name, seq, pages, memory);
    const zero = pages.filter((page) => memory.isZero(page)).length;
    this.#zeroPages += zero;
    this.#rawPages += pages.length - zero;
    this.#pagesOf.set(seq, pages.length);
    this.host.observer?.built(this.name, seq, pages, frame);
    return frame;
  }

  protected released(seq: number): void {
    const pages = this.#pagesOf.get(seq) ?? 0;
    this.#pagesOf.delete(seq);
    this.#pendingPages -= pages;
    this.#ackedPages += pages;
  }

  protected advanced(): void {
    for (;;) {
      const [first] = this.#batches;
      if (first === undefined || first.lastSeq === null || first.lastSeq > this.cumulative) return;
      this.#batches.shift();
      this.host.observer?.batchAcked(this.name);
      const counters = this.counters();
      this.host.later(() => this.#listener?.({ type: 'batchAcked', counters }));
    }
  }

  protected tellFailed(error: DwcpError): void {
    this.#listener?.({ type: 'failed', error });
  }
}

/** The half of a transfer that receives; streams bring it verified chunks. */
export interface Receiving {
  readonly name: ChunkName;
  /** Null when the chunk breaks the rules: its stream is then closed. */
  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null;
  ack(): Ack;
  fail(error: DwcpError): void;
}

const NOTHING: Ack = { cumulative: 0, creditBytes: 0, landed: [] };

export class PageReceiving implements Receiving, PageReceiver {
  readonly name: ChunkName;
  readonly #host: TransferHost;
  readonly #region: SimRegion;
  readonly #core: LinkCore;
  readonly #digests: Uint8Array;
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

  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null {
    if (chunk.type !== 'pages') return null;
    const { seq, pages } = chunk;
    const before = this.#ack;
    const isKnown = seq <= before.cumulative || before.landed.includes(seq);
    const actions = this.#core.step({ type: 'chunk', seq, bytes: frameBytes, pages });
    const ack = actions.find(({ type }) => type === 'ack');
    if (ack === undefined) return null;
    this.#ack = ack as unknown as Ack;
    const written = new Set(
      actions.filter(({ type }) => type === 'writePage').map(({ page }) => page as number),
    );
    for (const [index, page] of pages.entries()) {
      if (written.has(page)) this.land(seq, page, chunk.page(index));
    }
    if (isKnown) return 'duplicate';
    this.#landedPages += written.size;
    this.#stalePages += pages.length - written.size;
    this.#landedBytes += pages.length * PAGE_BYTES;
    return 'landed';
  }

  ack(): Ack {
    return this.#ack;
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
      landedBytes: this.#landedBytes,
      refusedPages: 0,
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
  land(seq: number, page: number, bytes: Uint8Array | null): void {
    const { memory } = this.#region;
    memory.land(page, bytes);
    digestOf(bytes ?? ZERO_PAGE, 0, this.#digests, page * PAGE_DIGEST_BYTES);
    this.#host.observer?.landed(this.name, seq, page);
  }
}

const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

export class ByteSending extends Sending implements ByteSender {
  #listener: ((event: ByteSendEvent) => void) | null;
  readonly #stopListening: () => void;
  #local: LocalEnd | null = null;
  #return: Uint8Array[] = [];
  #localBytes = 0;
  #ackedBytes = 0;
  readonly #bytesOf = new Map<number, number>();
  #endSeq: number | null = null;
  #isDrained = false;

  constructor(
    host: TransferHost,
    name: ChunkName,
    listener: (event: ByteSendEvent) => void,
    stopListening: () => void,
  ) {
    super(host, name);
    this.#listener = listener;
    this.#stopListening = stopListening;
  }

  accepted(local: LocalEnd): void {
    if (this.failed || this.#local !== null) return local.close();
    this.#local = local;
    this.#stopListening();
    local.subscribe(() => {
      this.#flushReturn();
      this.host.kick();
    });
    this.host.later(() => this.#listener?.({ type: 'connected' }));
  }

  writeReturn(bytes: Uint8Array): void {
    if (this.failed || this.#local === null) return;
    this.#return.push(bytes);
    this.#flushReturn();
  }

  counters(): ByteCounters {
    return {
      ...{ localBytes: this.#localBytes, ackedBytes: this.#ackedBytes },
      wireBytes: this.wireBytes,
    };
  }

  close(): void {
    this.#listener = null;
    this.failed = true;
    this.#hide();
  }

  protected hasWork(): boolean {
    const local = this.#local;
    if (local === null || this.#endSeq !== null) return false;
    return local.unreadBytes > 0 || local.isAtEnd;
  }

  protected build(seq: number): Uint8Array {
    const payload = (this.#local as LocalEnd).read(this.host.chunkBytes);
    this.#localBytes += payload.length;
    this.#bytesOf.set(seq, payload.length);
    if (payload.length === 0) this.#endSeq = seq;
    return encodeBytes(this.name, seq, payload, payload.length === 0);
  }

  protected released(seq: number): void {
    this.#ackedBytes += this.#bytesOf.get(seq) ?? 0;
    this.#bytesOf.delete(seq);
  }

  protected advanced(): void {
    if (this.#endSeq === null || this.#isDrained || this.cumulative < this.#endSeq) return;
    this.#isDrained = true;
    this.host.later(() => this.#listener?.({ type: 'drained' }));
  }

  protected tellFailed(error: DwcpError): void {
    this.#hide();
    this.#listener?.({ type: 'failed', error });
  }

  #hide(): void {
    this.#stopListening();
    this.#local?.close();
    this.#local = null;
  }

  #flushReturn(): void {
    const local = this.#local;
    if (local === null) return;
    while (this.#return.length > 0) {
      const first = this.#return[0] as Uint8Array;
      const taken = local.write(first);
      if (taken < first.length) {
        this.#return[0] = first.subarray(taken);
        return;
      }
      this.#return.shift();
    }
  }
}

export class ByteReceiving implements Receiving, ByteReceiver {
  readonly name: ChunkName;
  readonly #host: TransferHost;
  readonly #core: LinkCore;
  readonly #local: LocalEnd;
  readonly #held = new Map<number, { readonly chunk: ByteChunk; readonly frameBytes: number }>();
  #listener: ((event: ByteReceiveEvent) => void) | null;
  #ack: Ack;
  #written = 0;
  #localBytes = 0;
  #returnEnded = false;
  #isOver = false;

  constructor(
    host: TransferHost,
    name: ChunkName,
    local: LocalEnd,
    listener: (event: ByteReceiveEvent) => void,
  ) {
    this.name = name;
    this.#host = host;
    this.#local = local;
    this.#listener = listener;
    this.#core = new LinkReceiveCore(host.windowBytes, 0);
    this.#ack = { ...NOTHING, creditBytes: host.windowBytes };
    local.subscribe(() => this.#onLocal());
    host.later(() => this.#listener?.({ type: 'connected' }));
  }

  /** Held until its turn: acknowledged is what the local side took. */
  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null {
    if (chunk.type !== 'bytes') return null;
    if (this.#isOver) return 'duplicate';
    const isKnown = chunk.seq <= this.#ack.cumulative || this.#held.has(chunk.seq);
    if (!isKnown) this.#held.set(chunk.seq, { chunk, frameBytes });
    this.#flush();
    return isKnown ? 'duplicate' : 'landed';
  }

  ack(): Ack {
    return this.#ack;
  }

  counters(): ByteCounters {
    return { localBytes: this.#localBytes, ackedBytes: this.#localBytes, wireBytes: 0 };
  }

  close(): void {
    this.#listener = null;
    this.#isOver = true;
    this.#local.close();
  }

  fail(error: DwcpError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#local.close();
    this.#host.later(() => this.#listener?.({ type: 'failed', error }));
  }

  #flush(): void {
    let changed = false;
    for (;;) {
      const seq = this.#ack.cumulative + 1;
      const held = this.#held.get(seq);
      if (held === undefined || this.#isOver) break;
      const { chunk, frameBytes } = held;
      if (this.#local.isBroken) {
        const message = 'the local side of a carried stream stopped reading';
        this.fail(new DwcpError('ERR_DWCP_NATIVE', message));
        break;
      }
      const rest = chunk.payload.subarray(this.#written);
      const taken = this.#local.write(rest);
      this.#written += taken;
      this.#localBytes += taken;
      if (taken < rest.length) break;
      if (chunk.isEnd) this.#local.end();
      this.#held.delete(seq);
      this.#written = 0;
      const actions = this.#core.step({ type: 'chunk', seq, bytes: frameBytes, pages: [] });
      this.#ack = actions.find(({ type }) => type === 'ack') as unknown as Ack;
      changed = true;
    }
    if (changed) this.#host.ackChanged(this.name);
  }

  #onLocal(): void {
    if (this.#isOver) return;
    this.#flush();
    while (this.#local.unreadBytes > 0) {
      const bytes = this.#local.read(RETURN_PIECE_BYTES);
      this.#host.later(() => this.#listener?.({ type: 'return', bytes }));
    }
    if (!this.#local.isAtEnd || this.#returnEnded) return;
    this.#returnEnded = true;
    this.#host.later(() => this.#listener?.({ type: 'closed' }));
  }
}
