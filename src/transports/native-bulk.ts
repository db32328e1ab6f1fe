/**
 * The real twin of `BulkTransport`: one native engine, whose events are dealt out here by handle.
 * Names and errno of the native side become `DwcpError` in this file and nowhere else.
 */
import { availableParallelism } from 'node:os';
import { type EngineEvent, type NativeContentCache, NativeEngine } from '../native.ts';
import type { ContentCacheCounters } from '../ports/content-cache.ts';
import type { PageSet, Region } from '../ports/memory.ts';
import { NO_RDMA_COUNTERS, type RdmaWish } from '../ports/rdma.ts';
import type {
  BulkDialOptions,
  BulkKeys,
  BulkLink,
  BulkLinkCounters,
  BulkLinkLanes,
  BulkLinkOptions,
  BulkLinkTuning,
  BulkPathFacts,
  BulkStream,
  BulkStreamEvent,
  BulkTransport,
  BulkTuning,
  ByteCounters,
  ByteReceiveEvent,
  ByteReceiveOptions,
  ByteReceiver,
  ByteSendEvent,
  ByteSender,
  ByteSendOptions,
  CodecPolicy,
  CongestionControl,
  HostPort,
  PageReceiveCounters,
  PageReceiveOptions,
  PageReceiver,
  PageSendCounters,
  PageSender,
  PageSendOptions,
  ReceiveEvent,
  RefusedConnections,
  SendEvent,
  TcpInfo,
} from '../ports/transport.ts';
import { assert, assertSafeInteger } from '../util/assert.ts';
import { DwcpError, type ErrorCode, failed, type Outcome, succeeded } from '../util/errors.ts';

const JOIN_BYTES_MAX = 256;
const CHUNK_BYTES_MIN = 4096;
/** zstd's own. */
const LEVEL_MAX = 22;
const ENCODE_THREADS_USEFUL = 4;
const ENCODE_THREADS_MAX = 64;
const BASELINE_BYTES = 256 * 2 ** 20;
const CHUNK_BYTES_MAX = 16 * 1024 * 1024;

const SECRET_BYTES = 32;
const NO_SECRET = new Uint8Array(SECRET_BYTES);

/** More streams of one path tell nothing new. */
const PATH_STREAMS_MAX = 8;

const IO_THREADS_MAX = 64;
/** Beyond this a link is limited by memory or by the wire; an agent has other work for its cores. */
const IO_THREADS_USEFUL = 4;

export interface NativeBulkOptions {
  /** Threads that the streams are divided among. */
  readonly ioThreads?: number;
  /** Threads that encode pages, once a link has a policy that encodes; as many as cores, at most 4, by default. */
  readonly encodeThreads?: number;
  /** Closed with the transport. Regions that were moved are kept in it. */
  readonly contentCache?: NativeContentCache | null;
}

export function createNativeBulkTransport(options: NativeBulkOptions = {}): BulkTransport {
  const ioThreads = options.ioThreads ?? Math.min(IO_THREADS_USEFUL, availableParallelism());
  assert(
    Number.isInteger(ioThreads) && ioThreads >= 1 && ioThreads <= IO_THREADS_MAX,
    `ioThreads must be 1 to ${IO_THREADS_MAX}, got ${ioThreads}`,
  );
  const encodeThreads =
    options.encodeThreads ?? Math.min(ENCODE_THREADS_USEFUL, availableParallelism());
  assert(
    Number.isInteger(encodeThreads) && encodeThreads >= 1 && encodeThreads <= ENCODE_THREADS_MAX,
    `encodeThreads must be 1 to ${ENCODE_THREADS_MAX}, got ${encodeThreads}`,
  );
  return new NativeBulkTransport(ioThreads, encodeThreads, options.contentCache ?? null);
}

type Listener<E> = (event: E) => void;

class NativeBulkTransport implements BulkTransport {
  readonly #engine: NativeEngine;
  readonly #streams = new Map<number, NativeBulkStream>();
  readonly #transfers = new Map<number, Listener<EngineEvent>>();
  readonly #cache: NativeContentCache | null;
  #onStream: Listener<BulkStream> = () => {};
  #onRefused: Listener<RefusedConnections> = () => {};
  #closed = false;

  constructor(ioThreads: number, encodeThreads: number, cache: NativeContentCache | null) {
    this.#cache = cache;
    const onEvents = (events: readonly EngineEvent[]): void => {
      for (const event of events) this.#dealSafely(event);
    };
    this.#engine = new NativeEngine(onEvents, ioThreads, encodeThreads);
  }

  listen(
    address: HostPort,
    onStream: Listener<BulkStream>,
    onRefused: Listener<RefusedConnections> = () => {},
  ): Outcome<{ readonly port: number }> {
    const port = this.#engine.listen(address.host, address.port);
    if (typeof port === 'string') {
      return failed(
        new DwcpError('ERR_DWCP_LISTEN', `cannot listen on ${address.host}:${address.port}`, {
          hint: 'Choose an address of this host and a port that nobody else uses.',
          errno: port,
        }),
      );
    }
    this.#onStream = onStream;
    this.#onRefused = onRefused;
    return succeeded({ port });
  }

  dial(options: BulkDialOptions): BulkStream {
    const { host, port } = options.address;
    const id = this.#engine.dial(
      host,
      port,
      options.localAddress ?? '',
      options.congestionControl,
      options.connectTimeoutMs,
    );
    const stream = new NativeBulkStream(
      this.#engine,
      typeof id === 'number' ? id : -1,
      `${host}:${port}`,
    );
    if (typeof id === 'number') {
      this.#streams.set(id, stream);
    } else {
      const error = new DwcpError(
        'ERR_DWCP_PEER_UNREACHABLE',
        `cannot connect bulk stream to ${host}:${port}`,
        { errno: id },
      );
      setImmediate(() => stream.deliver({ type: 'closed', error }));
    }
    return stream;
  }

  openLink(options: BulkLinkOptions): BulkLink {
    checkChunkBytes(options.chunkBytes);
    assertSafeInteger(options.windowBytes, 'windowBytes');
    const id = this.#engine.openLink(options.windowBytes, options.chunkBytes);
    const link = new NativeBulkLink(this.#engine, this.#transfers, this.#cache, id, options.peer);
    if (options.keys) link.setKeys(options.keys);
    return link;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#engine.close();
    this.#cache?.close();
  }

  contentCache(): ContentCacheCounters | null {
    return this.#cache?.counters() ?? null;
  }

  /** A listener that throws is a bug of its owner: it is raised, but costs nobody else their event. */
  #dealSafely(event: EngineEvent): void {
    try {
      this.#deal(event);
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }

  #deal(event: EngineEvent): void {
    switch (event.type) {
      case 'accepted': {
        const stream = new NativeBulkStream(this.#engine, event.id, event.message);
        this.#streams.set(event.id, stream);
        this.#onStream(stream);
        return;
      }
      case 'refused':
        this.#onRefused({ count: event.id, error: errorOf(event) });
        return;
      case 'challenge':
        this.#streams.get(event.id)?.deliver({
          type: 'challenge',
          challenge: event.challenge,
          congestionControl: event.message,
        });
        return;
      case 'join':
        this.#streams
          .get(event.id)
          ?.deliver({ type: 'join', message: event.bytes, challenge: event.challenge });
        return;
      case 'closed': {
        const stream = this.#streams.get(event.id);
        this.#streams.delete(event.id);
        stream?.deliver({ type: 'closed', error: event.code === '' ? null : errorOf(event) });
        return;
      }
      default:
        this.#transfers.get(event.id)?.(event);
    }
  }
}

function checkChunkBytes(chunkBytes: number): void {
  const isInRange = chunkBytes >= CHUNK_BYTES_MIN && chunkBytes <= CHUNK_BYTES_MAX;
  assert(
    isInRange && chunkBytes % 4096 === 0,
    `chunkBytes must be whole pages, 4 KiB to 16 MiB, got ${chunkBytes}`,
  );
}

function errorOf(event: EngineEvent): DwcpError {
  const options = event.errno === null ? {} : { errno: event.errno };
  return new DwcpError(event.code as ErrorCode, event.message, options);
}

class NativeBulkStream implements BulkStream {
  readonly id: number;
  readonly remote: string;
  readonly #engine: NativeEngine;
  #listener: Listener<BulkStreamEvent> | null = null;
  readonly #early: BulkStreamEvent[] = [];

  constructor(engine: NativeEngine, id: number, remote: string) {
    this.#engine = engine;
    this.id = id;
    this.remote = remote;
  }

  subscribe(listener: Listener<BulkStreamEvent>): void {
    assert(this.#listener === null, 'a bulk stream has one listener');
    this.#listener = listener;
    for (const event of this.#early.splice(0)) listener(event);
  }

  /** At most challenge, join and closed can come before somebody listens. */
  deliver(event: BulkStreamEvent): void {
    if (this.#listener === null) this.#early.push(event);
    else this.#listener(event);
  }

  sendJoin(message: Uint8Array): void {
    assert(message.length <= JOIN_BYTES_MAX, `a join message has at most ${JOIN_BYTES_MAX} bytes`);
    this.#engine.sendJoin(this.id, message);
  }

  setCongestionControl(name: CongestionControl): void {
    this.#engine.setCongestion(this.id, name);
  }

  attach(link: BulkLink): void {
    assert(link instanceof NativeBulkLink, 'a native stream attaches to a native link');
    this.#engine.attach(this.id, link.id);
  }

  info(): TcpInfo | null {
    return this.#engine.streamInfo(this.id);
  }

  close(): void {
    this.#engine.closeStream(this.id);
  }
}

class NativeBulkLink implements BulkLink {
  readonly id: number;
  readonly peer: string;
  readonly #engine: NativeEngine;
  readonly #transfers: Map<number, Listener<EngineEvent>>;
  readonly #cache: NativeContentCache | null;
  #last: BulkLinkCounters = NO_COUNTERS;
  #policy: CodecPolicy = { kind: 'raw' };

  constructor(
    engine: NativeEngine,
    transfers: Map<number, Listener<EngineEvent>>,
    cache: NativeContentCache | null,
    id: number,
    peer: string,
  ) {
    this.#engine = engine;
    this.#transfers = transfers;
    this.#cache = cache;
    this.id = id;
    this.peer = peer;
  }

  setRdma(wish: RdmaWish, why: string): void {
    this.#engine.setRdma(this.id, wish, why);
  }

  setMaxBandwidth(bytesPerSec: number): void {
    assertSafeInteger(bytesPerSec, 'bytesPerSec');
    this.#engine.setMaxBandwidth(this.id, bytesPerSec);
  }

  setCodecPolicy(policy: CodecPolicy): void {
    const { kind } = policy;
    const { codec, level } = kind === 'fixed' ? policy : { codec: '', level: 0 };
    const baselineBytes = kind === 'adaptive' ? (policy.baselineBytes ?? BASELINE_BYTES) : 0;
    assert(Number.isInteger(level) && level >= 0 && level <= LEVEL_MAX, `no level ${level}`);
    assertSafeInteger(baselineBytes, 'baselineBytes');
    this.#engine.setCodecPolicy(this.id, kind, codec, level, baselineBytes);
    this.#policy = policy;
  }

  codecPolicy(): CodecPolicy {
    return this.#policy;
  }

  shareContent(): void {
    if (this.#cache !== null) this.#engine.shareContent(this.id, this.#cache);
  }

  setKeys(keys: BulkKeys | null): boolean {
    if (keys === null) return this.#engine.setKeys(this.id, 0, NO_SECRET, NO_SECRET, 0);
    const { keyBits, sendSecret, receiveSecret, bytesPerKey = 0 } = keys;
    assert(
      sendSecret.length === SECRET_BYTES && receiveSecret.length === SECRET_BYTES,
      `the secrets of a link have ${SECRET_BYTES} bytes each`,
    );
    return this.#engine.setKeys(this.id, keyBits / 8, sendSecret, receiveSecret, bytesPerKey);
  }

  tune(tuning: BulkLinkTuning): string | null {
    const { congestionControl, chunkBytes, unreadTimeoutMs, unsentBytes } = tuning;
    checkChunkBytes(chunkBytes);
    return this.#engine.tuneLink(
      this.id,
      congestionControl,
      chunkBytes,
      unreadTimeoutMs,
      unsentBytes,
    );
  }

  tuning(): BulkTuning {
    return this.#engine.linkTuning(this.id) ?? NO_TUNING;
  }

  pathFacts(): BulkPathFacts {
    return this.#engine.pathFacts(this.id, PATH_STREAMS_MAX) ?? NO_FACTS;
  }

  counters(): BulkLinkCounters {
    this.#last = this.#engine.linkCounters(this.id) ?? { ...this.#last, streams: 0 };
    return this.#last;
  }

  lanes(): BulkLinkLanes {
    return this.#engine.linkLanes(this.id) ?? { idlePulls: 0, lanes: [] };
  }

  sendPages(options: PageSendOptions, listener: Listener<SendEvent>): PageSender {
    const { transferId, epoch, region, profile = 'v3' } = options;
    const handle = this.#opened(
      this.#engine.sendPages(this.id, transferId, epoch, region, profile),
    );
    let last = NO_SEND_COUNTERS;
    const counters = (): PageSendCounters => {
      const now = this.#engine.sendCounters(handle);
      if (now !== null) {
        const { localBytes: _, ...pages } = now;
        last = pages;
      }
      return last;
    };
    const fail = (error: DwcpError): void => listener({ type: 'failed', error });
    this.#transfers.set(handle, (event) => {
      if (event.type === 'batchAcked') listener({ type: 'batchAcked', counters: counters() });
      else if (event.type === 'sendFailed') fail(this.#why(event));
    });
    return {
      send: (pages: PageSet) => {
        const answer = this.#engine.sendBatch(handle, pages);
        if (answer === 0) return;
        assert(answer !== 'EINVAL', 'the page set belongs to a region of another size');
        const error =
          answer === 'ENOSPC'
            ? new DwcpError('ERR_DWCP_LIMIT', 'too many page sets wait on one transfer')
            : new DwcpError('ERR_DWCP_CLOSED', 'the transfer was closed');
        setImmediate(() => fail(error));
      },
      counters,
      close: () => {
        this.#closeTransfer(handle, counters);
        this.#keep(region, last.ackedBytes);
      },
    };
  }

  receivePages(options: PageReceiveOptions, listener: Listener<ReceiveEvent>): PageReceiver {
    const { transferId, epoch, region } = options;
    const handle = this.#opened(this.#engine.receivePages(this.id, transferId, epoch, region));
    let last: PageReceiveCounters = {
      ...{ landedPages: 0, stalePages: 0, landedBytes: 0, refusedPages: 0 },
    };
    const counters = (): PageReceiveCounters => {
      const now = this.#engine.receiveCounters(handle);
      if (now !== null) {
        const { landedPages, stalePages, landedBytes, refusedPages } = now;
        last = { landedPages, stalePages, landedBytes, refusedPages };
      }
      return last;
    };
    this.#transfers.set(handle, (event) => {
      if (event.type === 'receiveFailed') listener({ type: 'failed', error: this.#why(event) });
    });
    return {
      digests: (firstPage, pageCount) => {
        const digests = this.#engine.digests(handle, firstPage, pageCount);
        if (digests === null) throw new DwcpError('ERR_DWCP_CLOSED', 'the transfer was closed');
        return digests;
      },
      counters,
      close: () => {
        this.#closeTransfer(handle, counters);
        this.#keep(region, last.landedPages);
      },
    };
  }

  sendBytes(options: ByteSendOptions, listener: Listener<ByteSendEvent>): ByteSender {
    const { transferId, epoch, listenPath, windowBytes } = options;
    const handle = this.#opened(
      this.#engine.sendBytes(this.id, transferId, epoch, listenPath, windowBytes),
      listenPath,
    );
    let last: ByteCounters = NO_BYTE_COUNTERS;
    const counters = (): ByteCounters => {
      const now = this.#engine.sendCounters(handle);
      if (now !== null) {
        const { localBytes, ackedBytes, wireBytes } = now;
        last = { localBytes, ackedBytes, wireBytes };
      }
      return last;
    };
    this.#transfers.set(handle, (event) => {
      if (event.type === 'localConnected') listener({ type: 'connected' });
      else if (event.type === 'drained') listener({ type: 'drained' });
      else if (event.type === 'sendFailed') listener({ type: 'failed', error: this.#why(event) });
    });
    return {
      writeReturn: (bytes) => this.#engine.writeReturn(handle, bytes),
      counters,
      close: () => this.#closeTransfer(handle, counters),
    };
  }

  receiveBytes(options: ByteReceiveOptions, listener: Listener<ByteReceiveEvent>): ByteReceiver {
    const { transferId, epoch, connectPath, windowBytes } = options;
    const handle = this.#opened(
      this.#engine.receiveBytes(this.id, transferId, epoch, connectPath, windowBytes),
      connectPath,
    );
    let last: ByteCounters = NO_BYTE_COUNTERS;
    const counters = (): ByteCounters => {
      const now = this.#engine.receiveCounters(handle);
      if (now !== null) {
        const { localBytes, wireBytes } = now;
        last = { localBytes, ackedBytes: localBytes, wireBytes };
      }
      return last;
    };
    this.#transfers.set(handle, (event) => {
      if (event.type === 'localConnected') listener({ type: 'connected' });
      else if (event.type === 'return') listener({ type: 'return', bytes: event.bytes });
      else if (event.type === 'localClosed') listener({ type: 'closed' });
      else if (event.type === 'receiveFailed')
        listener({ type: 'failed', error: this.#why(event) });
    });
    return { counters, close: () => this.#closeTransfer(handle, counters) };
  }

  close(): void {
    this.#engine.closeLink(this.id);
  }

  /** In the background, whatever became of the move: contents are contents. */
  #keep(region: Region, moved: number): void {
    if (moved > 0) this.#cache?.keep(region);
  }

  /** Whoever closes a link under its transfers has lost the peer, and that is what they are told. */
  #why(event: EngineEvent): DwcpError {
    const error = errorOf(event);
    if (error.code !== 'ERR_DWCP_CLOSED') return error;
    return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `the link to ${this.peer} was lost`, {
      hint: `It is dialled again by itself; check the agent on ${this.peer} if this lasts.`,
    });
  }

  /** Keeps the last counters: they are read after the end, too. */
  #closeTransfer(handle: number, counters: () => unknown): void {
    counters();
    this.#transfers.delete(handle);
    this.#engine.closeTransfer(handle);
  }

  #opened(answer: number | string, path: string | null = null): number {
    if (typeof answer === 'number') return answer;
    if (answer === 'EBADF') throw new DwcpError('ERR_DWCP_CLOSED', 'the link was closed');
    if (answer === 'ENOSPC') {
      throw new DwcpError('ERR_DWCP_LIMIT', 'too many transfers on one link', {
        hint: 'Wait until a migration of this peer ends.',
      });
    }
    throw new DwcpError('ERR_DWCP_NATIVE', `cannot open the local socket ${path ?? ''}`, {
      errno: answer,
    });
  }
}

const NO_COUNTERS: BulkLinkCounters = {
  streams: 0,
  wireBytesSent: 0,
  wireBytesReceived: 0,
  chunksSent: 0,
  chunksReinjected: 0,
  chunksLanded: 0,
  chunksDuplicate: 0,
  chunksCorrupt: 0,
  keyBits: 0,
  framesForged: 0,
  framesReplayed: 0,
  chunksResealed: 0,
  rdma: NO_RDMA_COUNTERS,
  stagingBytes: 0,
};

/** Of a link that is closed. */
const NO_TUNING: BulkTuning = {
  chunkBytes: 0,
  streams: 0,
  effectiveStreams: 0,
  effectiveUs: 0,
  stallUs: 0,
};

const NO_FACTS: BulkPathFacts = {
  ...{ streams: 0, rttUs: 0, rttMinUs: 0, rttVarUs: 0, segmentsSent: 0, segmentsResent: 0 },
  ...{ busyUs: 0, heldUs: 0, ackedBytes: 0, idlePulls: 0 },
};

const NO_SEND_COUNTERS: PageSendCounters = {
  zeroPages: 0,
  duplicatePages: 0,
  deltaPages: 0,
  compressedPages: 0,
  rawPages: 0,
  rawBytes: 0,
  wireBytes: 0,
  ackedBytes: 0,
  pendingPages: 0,
  baselineBytes: 0,
};

const NO_BYTE_COUNTERS: ByteCounters = { localBytes: 0, ackedBytes: 0, wireBytes: 0 };
