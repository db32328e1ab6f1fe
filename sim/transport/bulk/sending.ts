/**
 * Transfers of a simulated link: what `native/engine/{page,byte}_transfer.cc` do around the rules of
 * the link core. The rules themselves are the shipped C++ class.
 */
import { type LinkAction, type LinkCore, LinkSendCore } from '../../../src/native.ts';
import type { CodecPolicy } from '../../../src/ports/transport.ts';
import { assert } from '../../../src/util/assert.ts';
import type { DwcpError } from '../../../src/util/errors.ts';
import type { SimContentCache } from './content-cache.ts';
import type { ByteChunk, ChunkName, PageChunk } from './frame.ts';
import type { Seal, SimSealer } from './seal.ts';

/** As `kChunkFrameOverhead` of the native side. */
const OVERHEAD_BYTES = 48 + 4096 * 8;

export interface Ack {
  readonly cumulative: number;
  readonly creditBytes: number;
  readonly landed: readonly number[];
  /** Pages so far whose base or content was missing. */
  readonly refused: number;
}

/** What checkers see of every transfer of a world. */
export interface TransferObserver {
  /** Perhaps anew, under the name that it had over a link that is gone. */
  begins(name: ChunkName): void;
  /** `contents` are fingerprints of what was read, page by page. */
  built(name: ChunkName, seq: number, pages: readonly number[], contents: readonly number[]): void;
  landed(name: ChunkName, seq: number, page: number, content: number): void;
  /** Its base or its content is missing. */
  refused(name: ChunkName, seq: number, page: number): void;
  released(name: ChunkName, seq: number): void;
  batchAcked(name: ChunkName): void;
}

/** How a transfer speaks to the link that carries it. */
export interface TransferHost {
  readonly windowBytes: number;
  /** Of chunks that are built from now on. */
  chunkBytes: number;
  codec: CodecPolicy;
  /** Counts the changes of how the link is tuned. */
  tuning: number;
  readonly observers: readonly TransferObserver[];
  /** What this host keeps of what lands; null where nothing is kept. */
  readonly cache: SimContentCache | null;
  /** What the peer is thought to keep. */
  guess(): Set<number>;
  /** Now and then a page no longer holds what landed there. */
  rots(): boolean;
  sometimes(label: string): void;
  /** There may be something to pull. */
  kick(): void;
  /** Acknowledgements of a receiver changed outside of a chunk's arrival. */
  ackChanged(name: ChunkName): void;
  /** A chunk was acknowledged that was named under this tuning. */
  acked(stream: number, tuning: number): void;
  /** Later, never inside the call. */
  later(run: () => void): void;
}

/** A chunk until it is acknowledged. */
export interface Staged {
  readonly seq: number;
  readonly frame: Uint8Array;
  readonly tuning: number;
  stream: number;
  /** With what it leaves; null until then, and on a link without keys. */
  seal: Seal | null;
  sealer: SimSealer | null;
}

export interface Pulled {
  readonly staged: Staged;
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
  readonly #staged = new Map<number, Staged>();
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
    const { tuning } = this.host;
    const staged: Staged = { seq, frame, stream, tuning, seal: null, sealer: null };
    this.#staged.set(seq, staged);
    this.wireBytes += frame.length;
    return { staged, reinjected: false };
  }

  /** False when the peer acknowledges what was never sent. */
  acked(ack: Ack): boolean {
    if (this.failed) return true;
    const actions = this.core.step({ type: 'ack', ...ack });
    if (actions.some(({ type }) => type === 'refuse')) return false;
    this.told(ack.refused);
    for (const { seq } of actions) {
      this.#lost.delete(seq as number);
      const staged = this.#staged.get(seq as number);
      if (staged !== undefined) this.host.acked(staged.stream, staged.tuning);
      this.#staged.delete(seq as number);
      for (const observer of this.host.observers) observer.released(this.name, seq as number);
      this.released(seq as number);
    }
    while (this.cumulative + 1 < this.nextSeq && !this.#staged.has(this.cumulative + 1)) {
      this.cumulative += 1;
    }
    this.advanced();
    return true;
  }

  /** How many refusals were heard of then; null when what is refused was never named. */
  refused(_first: number, _pages: readonly number[]): number | null {
    return null;
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
  /** The receiver says how many pages it refused so far. */
  protected abstract told(refusals: number): void;
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
    return { staged, reinjected: true };
  }
}

/** The half of a transfer that receives; streams bring it verified chunks. */
export interface Receiving {
  readonly name: ChunkName;
  /** Whether a chunk of this sequence was here. */
  holds(seq: number): boolean;
  /** Null when the chunk breaks the rules: its stream is then closed. */
  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null;
  ack(): Ack;
  /** What the sender did not hear of yet; null for nothing. */
  refusals(): { readonly first: number; readonly pages: readonly number[] } | null;
  /** False when the sender heard of what nobody said. */
  heard(refusals: number): boolean;
  fail(error: DwcpError): void;
}

export const NOTHING: Ack = { cumulative: 0, creditBytes: 0, landed: [], refused: 0 };
