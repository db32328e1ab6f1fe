/** Everything between one host and one peer, over any number of attached streams; see `native/engine/link.cc`. */
import type {
  BulkKeys,
  BulkLink,
  BulkLinkCounters,
  BulkLinkLanes,
  BulkLinkOptions,
  BulkLinkTuning,
  BulkPathFacts,
  BulkTuning,
  ByteReceiveEvent,
  ByteReceiveOptions,
  ByteReceiver,
  ByteSendEvent,
  ByteSender,
  ByteSendOptions,
  CodecPolicy,
  CongestionControl,
  PageReceiveOptions,
  PageReceiver,
  PageSender,
  PageSendOptions,
  ReceiveEvent,
  SendEvent,
} from '../../../src/ports/transport.ts';
import { assert } from '../../../src/util/assert.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import { SimRegion } from '../../hypervisor/memory.ts';
import type { SimEvent } from '../../world/event-queue.ts';
import type { SimHost } from '../../world/host.ts';
import { type ByteChunk, type ChunkName, decodeChunk, type PageChunk } from './frame.ts';
import type { LocalSockets } from './local-socket.ts';
import {
  type Ack,
  ByteReceiving,
  ByteSending,
  PageReceiving,
  PageSending,
  type Receiving,
  type Sending,
  type TransferHost,
  type TransferObserver,
} from './transfers.ts';

/** What a link needs of a stream that carries its chunks. */
export interface Carrier {
  readonly id: number;
  readonly congestionControl: string;
  setCongestionControl(name: CongestionControl): void;
  /** Of chunks that it carried and the peer acknowledged. */
  ackedBytes: number;
  readonly mayWrite: boolean;
  sendChunk(frame: Uint8Array): void;
  sendAck(name: ChunkName, ack: Ack): void;
  sendReset(name: ChunkName): void;
  fail(code: 'ERR_DWCP_PROTOCOL' | 'ERR_DWCP_CORRUPT', message: string): void;
  close(): void;
}

const TRANSFERS_MAX = 64;
const BURST_BYTES = 65_536;

export class SimBulkLink implements BulkLink {
  readonly peer: string;
  readonly #host: SimHost;
  readonly #sockets: LocalSockets;
  readonly #streams: Carrier[] = [];
  readonly #senders: (Sending & { close(): void })[] = [];
  readonly #receivers: (Receiving & { close(): void })[] = [];
  readonly #transferHost: TransferHost;
  #turn = 0;
  #isClosed = false;
  #keyBits: BulkLinkCounters['keyBits'] = 0;
  #isPumping = false;
  #bytesPerSec = 0;
  #tokens = 0;
  #tokensUs = 0;
  #throttled: SimEvent | null = null;
  #idlePulls = 0;
  #tunedUs = 0;
  #landedUs: number | null = null;
  #stallUs = 0;
  /** How long after the last change each stream was effective. */
  readonly #effective = new Map<number, number>();
  readonly #rttUs: () => number;
  readonly #counts = {
    ...{ wireBytesSent: 0, wireBytesReceived: 0, chunksSent: 0, chunksReinjected: 0 },
    ...{ chunksLanded: 0, chunksDuplicate: 0, chunksCorrupt: 0 },
    ...{ framesForged: 0, framesReplayed: 0, chunksResealed: 0 },
  };

  constructor(
    host: SimHost,
    sockets: LocalSockets,
    options: BulkLinkOptions,
    observer: TransferObserver | null,
    rttUs: () => number,
  ) {
    this.#host = host;
    this.#sockets = sockets;
    this.#rttUs = rttUs;
    this.peer = options.peer;
    const { windowBytes, chunkBytes, keys } = options;
    this.#keyBits = keys?.keyBits ?? 0;
    this.#transferHost = {
      ...{ windowBytes, chunkBytes, observer, tuning: 0 },
      acked: (stream, tuning) => this.#acked(stream, tuning),
      kick: () => this.kick(),
      ackChanged: (name) => this.#tellAck(name),
      later: (run) => void host.after(0, 'bulk', run),
    };
  }

  // ---- the port -----------------------------------------------------------------------------------

  setMaxBandwidth(bytesPerSec: number): void {
    this.#bytesPerSec = bytesPerSec;
    this.#tokens = 0;
    this.#tokensUs = this.#host.world.nowUs;
    this.kick();
  }

  /** Bytes travel as they are here, under any policy. */
  setCodecPolicy(): void {}

  codecPolicy(): CodecPolicy {
    return { kind: 'raw' };
  }

  /** Pages travel whole here: what a cache saves is not modelled. */
  shareContent(): void {}

  setKeys(keys: BulkKeys | null): boolean {
    this.#keyBits = keys?.keyBits ?? 0;
    for (const stream of [...this.#streams]) stream.close();
    return true;
  }

  tune({ congestionControl, chunkBytes }: BulkLinkTuning): string | null {
    this.#transferHost.chunkBytes = chunkBytes;
    this.#transferHost.tuning += 1;
    this.#effective.clear();
    this.#tunedUs = this.#host.world.nowUs;
    this.#stallUs = 0;
    for (const stream of this.#streams) stream.setCongestionControl(congestionControl);
    return null;
  }

  tuning(): BulkTuning {
    return {
      chunkBytes: this.#transferHost.chunkBytes,
      streams: this.#streams.length,
      effectiveStreams: this.#streams.filter(({ id }) => this.#effective.has(id)).length,
      effectiveUs: Math.max(0, ...this.#effective.values()),
      stallUs: this.#stallUs,
    };
  }

  /** Whether the way or we are the limit is not simulated: `busyUs` stands still. */
  pathFacts(): BulkPathFacts {
    const rttUs = this.#rttUs();
    return {
      ...{ streams: this.#streams.length, rttUs, rttMinUs: rttUs, rttVarUs: 0 },
      ...{ segmentsSent: 0, segmentsResent: 0, busyUs: 0, heldUs: 0 },
      ackedBytes: this.#streams.reduce((sum, { ackedBytes }) => sum + ackedBytes, 0),
      idlePulls: this.#idlePulls,
    };
  }

  counters(): BulkLinkCounters {
    const stagingBytes = this.#senders.reduce((sum, sender) => sum + sender.stagedBytes, 0);
    return { ...this.#counts, keyBits: this.#keyBits, streams: this.#streams.length, stagingBytes };
  }

  lanes(): BulkLinkLanes {
    const lanes = this.#streams.map(({ id, ackedBytes, congestionControl }) => ({
      ...{ stream: id, ackedBytes, congestionControl },
    }));
    return { idlePulls: this.#idlePulls, lanes };
  }

  sendPages(options: PageSendOptions, listener: (event: SendEvent) => void): PageSender {
    const { region } = options;
    assert(region instanceof SimRegion, 'a region of this simulation');
    this.#mayOpen(this.#senders.length);
    const sender = new PageSending(this.#transferHost, nameOf(options), region, listener);
    this.#senders.push(sender);
    return this.#removing(this.#senders, sender);
  }

  receivePages(options: PageReceiveOptions, listener: (event: ReceiveEvent) => void): PageReceiver {
    const { region } = options;
    assert(region instanceof SimRegion, 'a region of this simulation');
    this.#mayOpen(this.#receivers.length);
    const receiver = new PageReceiving(this.#transferHost, nameOf(options), region, listener);
    return this.#opened(receiver);
  }

  sendBytes(options: ByteSendOptions, listener: (event: ByteSendEvent) => void): ByteSender {
    this.#mayOpen(this.#senders.length);
    const { listenPath } = options;
    const stop = (): void => this.#sockets.unlisten(listenPath);
    const sender = new ByteSending(this.#transferHost, nameOf(options), listener, stop);
    this.#sockets.listen(listenPath, 'agent', (end) => sender.accepted(end));
    this.#senders.push(sender);
    return this.#removing(this.#senders, sender);
  }

  receiveBytes(
    options: ByteReceiveOptions,
    listener: (event: ByteReceiveEvent) => void,
  ): ByteReceiver {
    this.#mayOpen(this.#receivers.length);
    const local = this.#sockets.connect(options.connectPath, 'agent');
    if (local === null) {
      const message = `cannot open the local socket ${options.connectPath}`;
      throw new DwcpError('ERR_DWCP_NATIVE', message, { errno: 'ECONNREFUSED' });
    }
    return this.#opened(new ByteReceiving(this.#transferHost, nameOf(options), local, listener));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stream of [...this.#streams]) stream.close();
    const hint = `It is dialled again by itself; check the agent on ${this.peer} if this lasts.`;
    const message = `the link to ${this.peer} was lost`;
    const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', message, { hint });
    for (const sender of this.#senders) sender.fail(error);
    for (const receiver of this.#receivers) receiver.fail(error);
  }

  // ---- for streams --------------------------------------------------------------------------------

  attach(stream: Carrier): void {
    this.#streams.push(stream);
    // Every new stream repeats what was granted: the sender may know nothing of it.
    for (const { name, ack } of this.#acks()) stream.sendAck(name, ack);
    this.kick();
  }

  streamGone(stream: Carrier): void {
    const index = this.#streams.indexOf(stream);
    if (index < 0) return;
    this.#streams.splice(index, 1);
    for (const sender of this.#senders) sender.streamDown(stream.id);
    this.#host.after(0, 'bulk', () => this.kick());
  }

  onChunk(stream: Carrier, frame: Uint8Array): void {
    this.#counts.wireBytesReceived += frame.length;
    const chunk = decodeChunk(frame);
    if (chunk === null) {
      this.#counts.chunksCorrupt += 1;
      return stream.fail('ERR_DWCP_CORRUPT', 'a chunk failed its checksum');
    }
    const receiver = this.#receivers.find(({ name }) => isSame(name, chunk));
    if (receiver === undefined) return stream.sendReset(nameOf(chunk));
    this.#take(stream, receiver, chunk, frame.length);
  }

  #take(
    stream: Carrier,
    receiver: Receiving,
    chunk: PageChunk | ByteChunk,
    frameBytes: number,
  ): void {
    const taken = receiver.take(chunk, frameBytes);
    if (taken === null) return stream.fail('ERR_DWCP_PROTOCOL', 'sequence or credit exceeded');
    if (taken === 'landed') this.#landed();
    else this.#counts.chunksDuplicate += 1;
    stream.sendAck(receiver.name, receiver.ack());
  }

  onAck(stream: Carrier, name: ChunkName, ack: Ack): void {
    const sender = this.#senders.find((each) => isSame(each.name, name));
    if (sender === undefined) return;
    if (!sender.acked(ack)) {
      return stream.fail('ERR_DWCP_PROTOCOL', 'acknowledges what was never sent');
    }
    this.kick();
  }

  onReset(name: ChunkName): void {
    const sender = this.#senders.find((each) => isSame(each.name, name));
    sender?.fail(new DwcpError('ERR_DWCP_PROTOCOL', 'the peer knows no such transfer'));
  }

  /** Lets every stream that has room pull what there is. */
  kick(): void {
    if (this.#isPumping || this.#isClosed) return;
    this.#isPumping = true;
    try {
      let moved = true;
      while (moved) {
        moved = false;
        for (const stream of this.#streams) {
          if (stream.mayWrite && this.#feed(stream)) moved = true;
        }
      }
    } finally {
      this.#isPumping = false;
    }
  }

  // -------------------------------------------------------------------------------------------------

  #feed(stream: Carrier): boolean {
    if (this.#senders.length === 0 || this.#isThrottled()) return false;
    for (let tried = 0; tried < this.#senders.length; tried += 1) {
      const sender = this.#senders[this.#turn % this.#senders.length] as Sending;
      this.#turn += 1;
      const pulled = sender.pull(stream.id);
      if (pulled === null) continue;
      const { frame, reinjected } = pulled;
      this.#counts.chunksSent += 1;
      if (reinjected) this.#counts.chunksReinjected += 1;
      this.#counts.wireBytesSent += frame.length;
      this.#tokens -= frame.length;
      stream.sendChunk(frame);
      return true;
    }
    this.#idlePulls += 1;
    return false;
  }

  /** A bucket that may go into debt, as `native/engine/pacing.h`. */
  #isThrottled(): boolean {
    if (this.#bytesPerSec === 0) return false;
    const { world } = this.#host;
    const perUs = this.#bytesPerSec / 1e6;
    const gained = (world.nowUs - this.#tokensUs) * perUs;
    this.#tokens = Math.min(perUs * 20_000 + BURST_BYTES, this.#tokens + gained);
    this.#tokensUs = world.nowUs;
    if (this.#tokens >= 0) return false;
    if (this.#throttled === null) {
      const waitUs = Math.ceil(-this.#tokens / perUs) + 1;
      this.#throttled = this.#host.after(waitUs, 'pacing', () => {
        this.#throttled = null;
        this.kick();
      });
    }
    return true;
  }

  #tellAck(name: ChunkName): void {
    const receiver = this.#receivers.find((each) => isSame(each.name, name));
    if (receiver === undefined) return;
    for (const stream of this.#streams) stream.sendAck(name, receiver.ack());
  }

  #acks(): { readonly name: ChunkName; readonly ack: Ack }[] {
    return this.#receivers.map((receiver) => ({ name: receiver.name, ack: receiver.ack() }));
  }

  #landed(): void {
    const { nowUs } = this.#host.world;
    this.#counts.chunksLanded += 1;
    if (this.#landedUs !== null) this.#stallUs = Math.max(this.#stallUs, nowUs - this.#landedUs);
    this.#landedUs = nowUs;
  }

  #acked(stream: number, tuning: number): void {
    if (tuning !== this.#transferHost.tuning || this.#effective.has(stream)) return;
    this.#effective.set(stream, this.#host.world.nowUs - this.#tunedUs);
  }

  #mayOpen(open: number): void {
    if (this.#isClosed) throw new DwcpError('ERR_DWCP_CLOSED', 'the link was closed');
    if (open >= TRANSFERS_MAX) throw new DwcpError('ERR_DWCP_LIMIT', 'too many transfers');
  }

  #opened<R extends Receiving & { close(): void }>(receiver: R): R {
    this.#receivers.push(receiver);
    // The sender may send only one chunk before it knows our credit.
    this.#tellAck(receiver.name);
    return this.#removing(this.#receivers, receiver);
  }

  #removing<T extends { close(): void }>(list: { close(): void }[], transfer: T): T {
    const close = transfer.close.bind(transfer);
    transfer.close = () => {
      const index = list.indexOf(transfer);
      if (index >= 0) list.splice(index, 1);
      close();
    };
    return transfer;
  }
}

function nameOf({ transferId, epoch }: ChunkName): ChunkName {
  return { transferId, epoch };
}

function isSame(a: ChunkName, b: ChunkName): boolean {
  return a.transferId === b.transferId && a.epoch === b.epoch;
}
