/** Everything between one host and one peer, over any number of attached streams; see `native/engine/link.cc`. */
import { NO_RDMA_COUNTERS, type RdmaWish } from '../../../src/ports/rdma.ts';
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
import { withoutDevice } from '../rdma-absent.ts';
import { ByteReceiving, ByteSending } from './byte-transfers.ts';
import type { SimContentCache } from './content-cache.ts';
import {
  type ByteChunk,
  type ChunkName,
  decodeChunk,
  type PageChunk,
  tagOfFrame,
} from './frame.ts';
import type { LocalSockets } from './local-socket.ts';
import { PageReceiving } from './page-receiving.ts';
import { PageSending } from './page-sending.ts';
import { SEAL_BYTES, type Seal, type SealObserver, SimLinkKeys } from './seal.ts';
import type { Ack, Receiving, Sending, Staged, TransferHost, TransferObserver } from './sending.ts';

/** What a link needs of a stream that carries its chunks. */
export interface Carrier {
  readonly id: number;
  readonly congestionControl: string;
  setCongestionControl(name: CongestionControl): void;
  /** Of chunks that it carried and the peer acknowledged. */
  ackedBytes: number;
  readonly mayWrite: boolean;
  sendChunk(frame: Uint8Array, seal: Seal | null): void;
  sendAck(name: ChunkName, ack: Ack): void;
  sendReset(name: ChunkName): void;
  sendRefused(name: ChunkName, first: number, pages: readonly number[]): void;
  sendHeard(name: ChunkName, refusals: number): void;
  fail(code: 'ERR_DWCP_PROTOCOL' | 'ERR_DWCP_CORRUPT', message: string): void;
  /** As if it had come over this stream. */
  inject(frame: Uint8Array, seal: Seal): void;
  close(): void;
}

const TRANSFERS_MAX = 64;
const BURST_BYTES = 65_536;
/** What a sender did not hear of is told again. */
const REPEAT_US = 250_000;
/** Of deltas: what they are made against is no longer there. */
const ROT_PERMYRIAD = 300;

/** What links have in common with others of their host and world. */
export interface LinkSurroundings {
  readonly sockets: LocalSockets;
  readonly observers: readonly TransferObserver[];
  readonly seals: SealObserver | null;
  /** What a host keeps of what landed there; null for a host that keeps nothing. */
  readonly caches: ((host: string) => SimContentCache | null) | null;
  /** What a host measures of the way to a peer. */
  readonly rttUs: (peer: string) => number;
}

export class SimBulkLink implements BulkLink {
  readonly peer: string;
  readonly #host: SimHost;
  readonly #around: LinkSurroundings;
  readonly #streams: Carrier[] = [];
  readonly #senders: (Sending & { close(): void })[] = [];
  readonly #receivers: (Receiving & { close(): void })[] = [];
  readonly #transferHost: TransferHost;
  #turn = 0;
  #isClosed = false;
  #keys: SimLinkKeys | null = null;
  #sessions = 0;
  #sharesContent = false;
  #repeats: SimEvent | null = null;
  /** A chunk that somebody on the way kept. */
  #overheard: { readonly frame: Uint8Array; readonly seal: Seal } | null = null;
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
  readonly #counts = {
    ...{ wireBytesSent: 0, wireBytesReceived: 0, chunksSent: 0, chunksReinjected: 0 },
    ...{ chunksLanded: 0, chunksDuplicate: 0, chunksCorrupt: 0 },
    ...{ framesForged: 0, framesReplayed: 0, chunksResealed: 0 },
  };
  #rdma = NO_RDMA_COUNTERS;

  constructor(host: SimHost, options: BulkLinkOptions, around: LinkSurroundings) {
    this.#host = host;
    this.#around = around;
    this.peer = options.peer;
    const { windowBytes, chunkBytes, keys } = options;
    const { world } = host;
    const { observers, caches } = around;
    this.#keys = this.#keysOf(keys ?? null);
    this.#transferHost = {
      ...{ windowBytes, chunkBytes, observers, tuning: 0, codec: { kind: 'raw' } },
      cache: caches?.(host.name) ?? null,
      guess: () => (this.#sharesContent ? caches?.(this.peer)?.contents() : null) ?? new Set(),
      rots: () => caches !== null && host.random('rot').chance(ROT_PERMYRIAD),
      sometimes: (label) => world.sometimes(label),
      acked: (stream, tuning) => this.#acked(stream, tuning),
      kick: () => this.kick(),
      ackChanged: (name) => this.#tellAck(name),
      later: (run) => void host.after(0, 'bulk', run),
    };
  }

  // ---- the port -----------------------------------------------------------------------------------

  /** A simulated host has no such device, and its streams go on without. */
  setRdma(wish: RdmaWish, why: string): void {
    this.#rdma = withoutDevice(wish, why);
  }

  setMaxBandwidth(bytesPerSec: number): void {
    this.#bytesPerSec = bytesPerSec;
    this.#tokens = 0;
    this.#tokensUs = this.#host.world.nowUs;
    this.kick();
  }

  /** Pages go by names under it; what a codec makes of the rest is not simulated. */
  setCodecPolicy(policy: CodecPolicy): void {
    this.#transferHost.codec = policy;
  }

  codecPolicy(): CodecPolicy {
    return this.#transferHost.codec;
  }

  shareContent(): void {
    this.#sharesContent = true;
  }

  setKeys(keys: BulkKeys | null): boolean {
    const isOtherKind = (keys === null) !== (this.#keys === null);
    if (isOtherKind && this.#senders.length + this.#receivers.length > 0) return false;
    for (const stream of [...this.#streams]) stream.close();
    this.#keys = this.#keysOf(keys);
    return true;
  }

  get keys(): SimLinkKeys | null {
    return this.#keys;
  }

  #keysOf(keys: BulkKeys | null): SimLinkKeys | null {
    if (keys === null) return null;
    this.#sessions += 1;
    const { name, incarnation, world } = this.#host;
    world.sometimes('a link got the keys of a later session', this.#sessions > 1);
    const by = `${name}#${incarnation} to ${this.peer}, session ${this.#sessions}`;
    return new SimLinkKeys(by, keys, this.#around.seals);
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
    const rttUs = this.#around.rttUs(this.peer);
    return {
      ...{ streams: this.#streams.length, rttUs, rttMinUs: rttUs, rttVarUs: 0 },
      ...{ segmentsSent: 0, segmentsResent: 0, busyUs: 0, heldUs: 0 },
      ackedBytes: this.#streams.reduce((sum, { ackedBytes }) => sum + ackedBytes, 0),
      idlePulls: this.#idlePulls,
    };
  }

  counters(): BulkLinkCounters {
    const stagingBytes = this.#senders.reduce((sum, sender) => sum + sender.stagedBytes, 0);
    const keyBits = this.#keys?.bits ?? 0;
    const streams = this.#streams.length;
    return { rdma: this.#rdma, ...this.#counts, keyBits, streams, stagingBytes };
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
    const sender = new PageSending(this.#transferHost, options, region, listener);
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
    const stop = (): void => this.#around.sockets.unlisten(listenPath);
    const sender = new ByteSending(this.#transferHost, nameOf(options), listener, stop);
    this.#around.sockets.listen(listenPath, 'agent', (end) => sender.accepted(end));
    this.#senders.push(sender);
    return this.#removing(this.#senders, sender);
  }

  receiveBytes(
    options: ByteReceiveOptions,
    listener: (event: ByteReceiveEvent) => void,
  ): ByteReceiver {
    this.#mayOpen(this.#receivers.length);
    const local = this.#around.sockets.connect(options.connectPath, 'agent');
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
    this.#tellRefusals();
    this.kick();
  }

  streamGone(stream: Carrier): void {
    const index = this.#streams.indexOf(stream);
    if (index < 0) return;
    this.#streams.splice(index, 1);
    for (const sender of this.#senders) sender.streamDown(stream.id);
    this.#host.after(0, 'bulk', () => this.kick());
  }

  onChunk(stream: Carrier, frame: Uint8Array, seal: Seal | null): void {
    this.#counts.wireBytesReceived += frame.length;
    const isFresh = seal === null || this.#keys?.opener.mark(seal) === true;
    const chunk = decodeChunk(frame);
    if (chunk === null) {
      this.#counts.chunksCorrupt += 1;
      return stream.fail('ERR_DWCP_CORRUPT', 'a chunk failed its checksum');
    }
    const receiver = this.#receivers.find(({ name }) => isSame(name, chunk));
    if (receiver === undefined) return stream.sendReset(nameOf(chunk));
    // What lost its stream comes again as it was, and is a duplicate here, too. What would be news is none.
    if (!isFresh && !receiver.holds(chunk.seq)) return this.replayed(stream);
    this.#take(stream, receiver, chunk, frame.length);
    if (seal !== null) this.#listenIn(stream, frame, seal);
  }

  /** Whoever sees the wire can keep a frame, and send it again later. */
  #listenIn(stream: Carrier, frame: Uint8Array, seal: Seal): void {
    const kept = this.#overheard;
    this.#overheard ??= { frame, seal };
    if (kept === null || !this.#host.world.buggify('a chunk is replayed')) return;
    this.#overheard = null;
    stream.inject(kept.frame, kept.seal);
  }

  /** A frame that the peer did not seal so. */
  forged(stream: Carrier): void {
    this.#counts.framesForged += 1;
    stream.fail('ERR_DWCP_CORRUPT', 'a frame is not what the peer sealed');
  }

  /** One that was here before. */
  replayed(stream: Carrier): void {
    this.#counts.framesReplayed += 1;
    this.#host.world.sometimes('a replayed frame ended its stream');
    stream.fail('ERR_DWCP_PROTOCOL', 'a frame was here before');
  }

  #take(
    stream: Carrier,
    receiver: Receiving,
    chunk: PageChunk | ByteChunk,
    frameBytes: number,
  ): void {
    const refusedBefore = receiver.ack().refused;
    const taken = receiver.take(chunk, frameBytes);
    if (taken === null) return stream.fail('ERR_DWCP_PROTOCOL', 'sequence or credit exceeded');
    if (taken === 'landed') this.#landed();
    else this.#counts.chunksDuplicate += 1;
    if (receiver.ack().refused > refusedBefore) this.#tellRefusals();
    stream.sendAck(receiver.name, receiver.ack());
  }

  /** Until the sender heard of them: a stream that ends takes along what it carried. */
  #tellRefusals(): void {
    let isWaiting = false;
    for (const receiver of this.#receivers) {
      const untold = receiver.refusals();
      if (untold === null) continue;
      isWaiting = true;
      this.#streams[0]?.sendRefused(receiver.name, untold.first, untold.pages);
    }
    if (!isWaiting || this.#repeats !== null) return;
    this.#repeats = this.#host.after(REPEAT_US, 'refusals', () => {
      this.#repeats = null;
      if (!this.#isClosed) this.#tellRefusals();
    });
  }

  onRefused(stream: Carrier, name: ChunkName, first: number, pages: readonly number[]): void {
    const sender = this.#senders.find((each) => isSame(each.name, name));
    if (sender === undefined) return;
    const heard = sender.refused(first, pages);
    if (heard === null) return stream.fail('ERR_DWCP_PROTOCOL', 'refuses what was never named');
    stream.sendHeard(name, heard);
  }

  onHeard(stream: Carrier, name: ChunkName, refusals: number): void {
    const receiver = this.#receivers.find((each) => isSame(each.name, name));
    if (receiver === undefined || receiver.heard(refusals)) return;
    stream.fail('ERR_DWCP_PROTOCOL', 'heard of refusals that were never told');
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
      const { staged, reinjected } = pulled;
      const { frame } = staged;
      this.#counts.chunksSent += 1;
      if (reinjected) this.#counts.chunksReinjected += 1;
      this.#seal(staged, reinjected);
      const bytes = frame.length + (staged.seal === null ? 0 : SEAL_BYTES);
      this.#counts.wireBytesSent += bytes;
      this.#tokens -= bytes;
      stream.sendChunk(frame, staged.seal);
      return true;
    }
    this.#idlePulls += 1;
    return false;
  }

  /** A chunk goes out again as the identical frame, unless its nonce would no longer be recognised. */
  #seal(staged: Staged, reinjected: boolean): void {
    if (this.#keys === null) return;
    const { sealer } = this.#keys;
    const { world } = this.#host;
    const { frame, seq } = staged;
    const tag = tagOfFrame(frame);
    const isSame = staged.seal !== null && staged.sealer === sealer && !sealer.isStale(staged.seal);
    if (!isSame) {
      if (staged.seal !== null) this.#counts.chunksResealed += 1;
      world.sometimes('a chunk was sealed anew', staged.seal !== null);
      const { generation } = sealer;
      staged.seal = sealer.sealChunk(seq, frame.length, tag);
      staged.sealer = sealer;
      world.sometimes('a key followed another', sealer.generation !== generation);
    }
    world.sometimes('a chunk went out again as it was', isSame && reinjected);
    this.#around.seals?.sent(staged.seal as Seal, tag);
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
