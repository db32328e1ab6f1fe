/** A carried byte stream; see `native/engine/byte_transfer.cc`. */
import { type LinkCore, LinkReceiveCore } from '../../../src/native.ts';
import type {
  ByteCounters,
  ByteReceiveEvent,
  ByteReceiver,
  ByteSendEvent,
  ByteSender,
} from '../../../src/ports/transport.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import { type ByteChunk, type ChunkName, encodeBytes, type PageChunk } from './frame.ts';
import type { LocalEnd } from './local-socket.ts';
import { type Ack, NOTHING, type Receiving, Sending, type TransferHost } from './sending.ts';

const RETURN_PIECE_BYTES = 64 * 1024;

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

  protected told(): void {}

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

  holds(seq: number): boolean {
    return seq <= this.#ack.cumulative || this.#held.has(seq);
  }

  /** Held until its turn: acknowledged is what the local side took. */
  take(chunk: PageChunk | ByteChunk, frameBytes: number): 'landed' | 'duplicate' | null {
    if (chunk.type !== 'bytes') return null;
    if (this.#isOver) return 'duplicate';
    const isKnown = this.holds(chunk.seq);
    if (!isKnown) this.#held.set(chunk.seq, { chunk, frameBytes });
    this.#flush();
    return isKnown ? 'duplicate' : 'landed';
  }

  ack(): Ack {
    return this.#ack;
  }

  refusals(): null {
    return null;
  }

  heard(): boolean {
    return false;
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
      const ack = actions.find(({ type }) => type === 'ack') as unknown as Ack;
      this.#ack = { ...ack, refused: 0 };
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
