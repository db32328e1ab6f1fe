/** The bulk engine as the addon has it: integers, plain objects and errno names. See `native/binding/engine_wrap.h`. */
import type { PageSet, Region } from '../ports/memory.ts';
import type { RdmaWish } from '../ports/rdma.ts';
import type {
  BulkLinkCounters,
  BulkLinkLanes,
  BulkPathFacts,
  BulkTuning,
  PageReceiveCounters,
  PageSendCounters,
  TcpInfo,
} from '../ports/transport.ts';
import { addon } from './addon.ts';
import type { NativeContentCache } from './cache.ts';

/** A handle above 0, or the errno name of why there is none. */
type HandleOrErrno = number | string;

export interface EngineEvent {
  readonly type:
    | 'accepted'
    | 'refused'
    | 'challenge'
    | 'join'
    | 'closed'
    | 'batchAcked'
    | 'sendFailed'
    | 'receiveFailed'
    | 'localConnected'
    | 'localClosed'
    | 'drained'
    | 'return';
  /** Of the stream, or of the transfer; `refused`: how many connections. */
  readonly id: number;
  readonly code: string;
  readonly message: string;
  readonly errno: string | null;
  readonly bytes: Uint8Array;
  readonly challenge: Uint8Array;
}

export interface NativeEngine {
  listen(host: string, port: number): HandleOrErrno;
  dial(
    host: string,
    port: number,
    localAddress: string,
    congestionControl: string,
    connectTimeoutMs: number,
  ): HandleOrErrno;
  sendJoin(stream: number, message: Uint8Array): void;
  attach(stream: number, link: number): void;
  streamInfo(stream: number): TcpInfo | null;
  setCongestion(stream: number, name: string): void;
  closeStream(stream: number): void;
  openLink(windowBytes: number, chunkBytes: number): number;
  /** 0 key bytes: frames with a CRC. False when open transfers stand in the way. */
  setKeys(
    link: number,
    keyBytes: number,
    sendSecret: Uint8Array,
    receiveSecret: Uint8Array,
    bytesPerKey: number,
  ): boolean;
  setRdma(link: number, wish: RdmaWish, why: string): void;
  setMaxBandwidth(link: number, bytesPerSec: number): void;
  setCodecPolicy(
    link: number,
    kind: string,
    codec: string,
    level: number,
    baselineBytes: number,
  ): void;
  /** Pages may be known by what this cache and the peer's hold, in transfers that open from now on. */
  shareContent(link: number, cache: NativeContentCache): void;
  /** Null, or the errno name of the first socket that refused. */
  tuneLink(
    link: number,
    congestionControl: string,
    chunkBytes: number,
    unreadTimeoutMs: number,
    unsentBytes: number,
  ): string | null;
  linkTuning(link: number): BulkTuning | null;
  pathFacts(link: number, streamsMax: number): BulkPathFacts | null;
  linkCounters(link: number): BulkLinkCounters | null;
  linkLanes(link: number): BulkLinkLanes | null;
  closeLink(link: number): void;
  sendPages(
    link: number,
    transferId: number,
    epoch: number,
    region: Region,
    profile: string,
  ): HandleOrErrno;
  receivePages(link: number, transferId: number, epoch: number, region: Region): HandleOrErrno;
  sendBatch(transfer: number, pages: PageSet): HandleOrErrno;
  sendCounters(transfer: number): (PageSendCounters & { readonly localBytes: number }) | null;
  receiveCounters(
    transfer: number,
  ): (PageReceiveCounters & { readonly localBytes: number; readonly wireBytes: number }) | null;
  digests(transfer: number, firstPage: number, pageCount: number): Uint8Array | null;
  sendBytes(
    link: number,
    transferId: number,
    epoch: number,
    listenPath: string,
    windowBytes: number,
  ): HandleOrErrno;
  receiveBytes(
    link: number,
    transferId: number,
    epoch: number,
    connectPath: string,
    windowBytes: number,
  ): HandleOrErrno;
  writeReturn(transfer: number, bytes: Uint8Array): void;
  closeTransfer(transfer: number): void;
  close(): void;
}

/** The rules of one transfer end, without sockets: `step(event) -> actions`. */
export interface LinkCore {
  step(event: object): readonly LinkAction[];
}

export interface LinkAction {
  readonly type: string;
  readonly seq?: number;
  readonly reinjected?: boolean;
  readonly count?: number;
  readonly page?: number;
  readonly cumulative?: number;
  readonly creditBytes?: number;
  readonly landed?: readonly number[];
}

export interface SealedFrame {
  readonly nonce: Uint8Array;
  readonly body: Uint8Array;
  readonly tag: Uint8Array;
}

/** What seals one direction of a link's frames. See `native/crypto/sealer.h`. */
export interface FrameSealer {
  sealChunk(header: Uint8Array, body: Uint8Array): SealedFrame;
  sealSmall(header: Uint8Array, body: Uint8Array): SealedFrame;
  unseal(
    header: Uint8Array,
    nonce: Uint8Array,
    body: Uint8Array,
    tag: Uint8Array,
  ): Uint8Array | null;
  isStale(nonce: Uint8Array): boolean;
}

/** See `native/crypto/opener.h`. */
export interface FrameOpener {
  /** Null when the tag does not hold. */
  open(header: Uint8Array, nonce: Uint8Array, body: Uint8Array, tag: Uint8Array): Uint8Array | null;
  /** True the first time only. */
  mark(nonce: Uint8Array): boolean;
}

export interface EngineAddon {
  readonly Engine: new (
    onEvents: (events: readonly EngineEvent[]) => void,
    ioThreads: number,
    encodeThreads: number,
  ) => NativeEngine;
  readonly FrameSealer: new (
    secret: Uint8Array,
    keyBytes: number,
    bytesPerKey?: number,
    framesPerLaneAndKey?: number,
  ) => FrameSealer;
  readonly FrameOpener: new (secret: Uint8Array, keyBytes: number) => FrameOpener;
  readonly LinkSendCore: new (windowBytes: number) => LinkCore;
  readonly LinkReceiveCore: new (windowBytes: number, pageCount: number) => LinkCore;
}

export const NativeEngine: EngineAddon['Engine'] = addon.Engine;
export const FrameSealer: EngineAddon['FrameSealer'] = addon.FrameSealer;
export const FrameOpener: EngineAddon['FrameOpener'] = addon.FrameOpener;
export const LinkSendCore: EngineAddon['LinkSendCore'] = addon.LinkSendCore;
export const LinkReceiveCore: EngineAddon['LinkReceiveCore'] = addon.LinkReceiveCore;
