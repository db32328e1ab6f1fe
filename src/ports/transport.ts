/**
 * The Transport port: a tiny control channel per peer, and bulk streams that native threads drive.
 * The real twins are `src/transports/`; the simulator has its own.
 *
 * Identity: a control channel is mutual TLS 1.3, so its peer is a node of our certificate authority.
 * A bulk stream joins a link by a keyed exchange (see {@link BulkStreamEvent}), so that a stranger's
 * socket never reaches the chunk parser.
 */

import type { Completion, DwcpError, Outcome } from '../util/errors.ts';
import type { ContentCacheCounters } from './content-cache.ts';
import type { PageSet, Region } from './memory.ts';
import type { BulkRdmaCounters, RdmaWish } from './rdma.ts';
import type { TransferProfile } from './transfer-profile.ts';

// ---- control ------------------------------------------------------------------------------------

export interface ControlTransport {
  /**
   * Opens the listening socket; every accepted and authenticated channel arrives as `onChannel`, every
   * connection that never became one as `onRefused`.
   */
  listen(
    address: HostPort,
    onChannel: (channel: ControlChannel) => void,
    done: Completion<ControlListener>,
    onRefused?: (refused: RefusedConnections) => void,
  ): void;
  /** `expectedPeer` is the node id the certificate must carry. */
  dial(address: HostPort, expectedPeer: string, done: Completion<ControlChannel>): void;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface ControlListener {
  readonly port: number;
  close(): void;
}

export interface ControlChannel {
  /** Node id from the peer's verified certificate. */
  readonly peer: string;
  /** 32 bytes from the TLS exporter, equal on both sides, new for every channel. Its owner wipes them in the end. */
  readonly secret: Uint8Array;
  /** Frames arrive whole, in order. Must be called once, before any frame can arrive. */
  subscribe(listener: (event: ControlEvent) => void): void;
  /** `full` when more than the configured bytes wait in the socket: the link is then treated as lost. */
  send(frame: Uint8Array): 'accepted' | 'full' | 'closed';
  close(): void;
}

export type ControlEvent =
  | { readonly type: 'frame'; readonly frame: Uint8Array }
  | { readonly type: 'closed'; readonly error: DwcpError | null };

// ---- bulk ---------------------------------------------------------------------------------------

export interface BulkTransport {
  /** `onRefused` hears of connections that ended before they joined: strangers, scanners, floods. */
  listen(
    address: HostPort,
    onStream: (stream: BulkStream) => void,
    onRefused?: (refused: RefusedConnections) => void,
  ): Outcome<{ readonly port: number }>;
  dial(options: BulkDialOptions): BulkStream;
  openLink(options: BulkLinkOptions): BulkLink;
  /** Of this host's content cache; null when it has none. */
  contentCache(): ContentCacheCounters | null;
  /** Stops threads, closes sockets, frees staging. Idempotent. */
  close(): void;
}

/** At most one report per code and second, so that a flood of connections is no flood of reports. */
export interface RefusedConnections {
  /** How many this report stands for; the error is that of the last one. */
  readonly count: number;
  readonly error: DwcpError;
}

export type CongestionControl = 'cubic' | 'reno' | 'bbr';

export interface BulkDialOptions {
  readonly address: HostPort;
  readonly localAddress: string | null;
  readonly congestionControl: CongestionControl;
  readonly connectTimeoutMs: number;
}

/**
 * One TCP connection. It carries nothing but its join until {@link BulkStream.attach}.
 * Join, three opaque messages of at most 256 bytes that the link handshake core makes and checks:
 * listener sends `challenge`, dialler answers with `request`, listener answers with `accept`.
 */
export interface BulkStream {
  readonly id: number;
  /** Remote address as text, for logs. */
  readonly remote: string;
  subscribe(listener: (event: BulkStreamEvent) => void): void;
  /** Listener: `accept`, then attach. Dialler: `request`. */
  sendJoin(message: Uint8Array): void;
  /** For a listener's stream; a dialler says it when it dials. What the kernel lacks changes nothing. */
  setCongestionControl(name: CongestionControl): void;
  /** From here on the stream carries chunks of `link`. */
  attach(link: BulkLink): void;
  /** Kernel's view of the connection, or null once it is closed. */
  info(): TcpInfo | null;
  close(): void;
}

export type BulkStreamEvent =
  /** Dialler: connected and the listener's 16-byte random challenge is here. */
  | {
      readonly type: 'challenge';
      readonly challenge: Uint8Array;
      /** Read back from the kernel, not what was asked. */
      readonly congestionControl: string;
    }
  /** Listener: the dialler's request, with the challenge it answers. Dialler: the listener's accept. */
  | { readonly type: 'join'; readonly message: Uint8Array; readonly challenge: Uint8Array }
  | { readonly type: 'closed'; readonly error: DwcpError | null };

export interface TcpInfo {
  readonly congestionControl: string;
  readonly rttUs: number;
  readonly rttVarUs: number;
  readonly congestionWindowBytes: number;
  readonly retransmits: number;
  readonly deliveryRateBytesPerSec: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly pacingRateBytesPerSec: number;
}

export interface BulkLinkOptions {
  readonly peer: string;
  /** Staging that unacknowledged chunks may occupy on this side, and the credit we grant the peer. */
  readonly windowBytes: number;
  /** Page bytes per chunk, 4 KiB to 16 MiB. */
  readonly chunkBytes: number;
  /** Absent or null: frames carry a checksum, and whoever sees the wire sees the guest. */
  readonly keys?: BulkKeys | null;
}

/** What the frames of one session are sealed with. Copied when it is taken; wipe it then. */
export interface BulkKeys {
  readonly keyBits: 128 | 256;
  /** 32 bytes each; ours to send is the peer's to receive. */
  readonly sendSecret: Uint8Array;
  readonly receiveSecret: Uint8Array;
  /** How much one key may seal before the next one follows from it, more than a window; default 1 TiB. */
  readonly bytesPerKey?: number;
}

/** Everything between us and one peer, over any number of attached streams. */
export interface BulkLink {
  readonly peer: string;
  /**
   * Whether queue pairs carry the streams that are attached from now on; both sides of a link wish for the same.
   * Where none comes about, their connections carry them, which is told in the counters, or with `require` they end.
   * `why` is for `off`: what keeps from it, where somebody asked for it.
   */
  setRdma(wish: RdmaWish, why: string): void;
  /** One token bucket for all that this link sends; 0 is unlimited. Takes effect at once. */
  setMaxBandwidth(bytesPerSec: number): void;
  /** How pages are encoded from the next chunk on; what was built already goes as it is. `raw` at first. */
  setCodecPolicy(policy: CodecPolicy): void;
  codecPolicy(): CodecPolicy;
  /**
   * Both hosts have a content cache and said so: in transfers that open from now on, the receiver tells what its
   * cache holds, and a sender whose policy encodes names such pages by their hash.
   */
  shareContent(): void;
  /**
   * Keys of a new session. Its streams of the old one end; what they carried is sealed anew when a
   * stream that is attached from now on takes it over. A link does not change between sealed and not
   * while transfers are open: false then.
   */
  setKeys(keys: BulkKeys | null): boolean;
  /**
   * On every stream at once, and from the next chunk on; chunks that are under way go on as they are. Null,
   * or the errno name of the first socket that refused, while the rest is tuned all the same.
   */
  tune(tuning: BulkLinkTuning): string | null;
  tuning(): BulkTuning;
  pathFacts(): BulkPathFacts;
  counters(): BulkLinkCounters;
  lanes(): BulkLinkLanes;
  sendPages(options: PageSendOptions, listener: (event: SendEvent) => void): PageSender;
  receivePages(options: PageReceiveOptions, listener: (event: ReceiveEvent) => void): PageReceiver;
  sendBytes(options: ByteSendOptions, listener: (event: ByteSendEvent) => void): ByteSender;
  receiveBytes(
    options: ByteReceiveOptions,
    listener: (event: ByteReceiveEvent) => void,
  ): ByteReceiver;
  /** Detaches the streams and fails every open transfer. Idempotent. */
  close(): void;
}

/**
 * `raw`: pages as they are, zero pages by name, at the least cost per byte. `fixed`: this codec and level, no
 * deltas. `adaptive`: chosen chunk by chunk, from what encoding costs and gains and from what the wire lets
 * through; pages that changed little go as deltas against what the peer acknowledged.
 */
export type CodecPolicy =
  | { readonly kind: 'raw' }
  | { readonly kind: 'fixed'; readonly codec: 'lz4' | 'zstd'; readonly level: number }
  | {
      readonly kind: 'adaptive';
      /** Memory for what each transfer sent last, which deltas are made against; 256 MiB by default, 0: no deltas. */
      readonly baselineBytes?: number;
    };

export interface BulkLinkTuning {
  readonly congestionControl: CongestionControl;
  /** Page bytes per chunk, 4 KiB to 16 MiB. */
  readonly chunkBytes: number;
  /** What the peer's host left unacknowledged for so long ends the stream. */
  readonly unreadTimeoutMs: number;
  /** What a socket may hold and not have sent yet; 0: as the kernel likes. */
  readonly unsentBytes: number;
}

/** How far the last {@link BulkLink.tune} has come. */
export interface BulkTuning {
  readonly chunkBytes: number;
  readonly streams: number;
  /** On which a chunk that was named after the change is acknowledged, and how long that took. */
  readonly effectiveStreams: number;
  readonly effectiveUs: number;
  /** The longest time between two chunks that landed here since, the one around the change included. */
  readonly stallUs: number;
}

/** What the kernel knows of the way to the peer, over at most 8 of the oldest streams; counters only grow. */
export interface BulkPathFacts {
  /** That were asked; 0: nothing is known. */
  readonly streams: number;
  /** The smallest of their smoothed round trips, our own queues included. */
  readonly rttUs: number;
  /** The least that any of them saw. */
  readonly rttMinUs: number;
  readonly rttVarUs: number;
  readonly segmentsSent: number;
  readonly segmentsResent: number;
  /** With something to send; of these, held back by the peer's window or our own buffer. */
  readonly busyUs: number;
  readonly heldUs: number;
  /** Of all streams that stand. */
  readonly ackedBytes: number;
  /** As {@link BulkLinkLanes.idlePulls}. */
  readonly idlePulls: number;
}

export interface BulkLinkCounters {
  readonly streams: number;
  /** On the socket, headers and acknowledgements included. */
  readonly wireBytesSent: number;
  readonly wireBytesReceived: number;
  readonly chunksSent: number;
  readonly chunksReinjected: number;
  readonly chunksLanded: number;
  readonly chunksDuplicate: number;
  readonly chunksCorrupt: number;
  /** Of the keys in use; 0: frames carry a checksum. */
  readonly keyBits: 0 | 128 | 256;
  /** Frames that the peer did not seal so; each ended its stream. */
  readonly framesForged: number;
  /** Frames that were here before and are no re-injection; each ended its stream. */
  readonly framesReplayed: number;
  /** Chunks sealed a second time, under new keys or a fresh nonce. */
  readonly chunksResealed: number;
  readonly stagingBytes: number;
  readonly rdma: BulkRdmaCounters;
}

/** How the streams share what we send; what steers their number looks at the difference of two. */
export interface BulkLinkLanes {
  /** Grows when a stream could have carried more and found nothing to send, or no leave to. */
  readonly idlePulls: number;
  readonly lanes: readonly BulkLane[];
}

export interface BulkLane {
  /** {@link BulkStream.id} */
  readonly stream: number;
  /** Of chunks that this stream carried and the peer acknowledged. */
  readonly ackedBytes: number;
  /** Read back from the kernel, not what was asked. */
  readonly congestionControl: string;
}

/** (transferId, epoch, sequence) names a chunk. `transferId` is a safe integer, unique per pair of hosts. */
export interface TransferName {
  readonly transferId: number;
  readonly epoch: number;
}

export interface PageSendOptions extends TransferName {
  readonly region: Region;
  readonly profile?: TransferProfile;
}

export interface PageSender {
  /**
   * Queues the set's pages as they are read from now on; the set may be reused when this returns.
   * Answered by one `batchAcked` once every one of them was verified and landed by the peer.
   */
  send(pages: PageSet): void;
  counters(): PageSendCounters;
  close(): void;
}

/** Each page that was sent, by the way it took; a page that was sent again counts again. */
export interface PageClasses {
  /** By name only. */
  readonly zeroPages: number;
  /** By the hash of a content that the receiver has. */
  readonly duplicatePages: number;
  /** As what changed since the version that the receiver acknowledged. */
  readonly deltaPages: number;
  /** Whole, in a chunk that a codec made smaller. */
  readonly compressedPages: number;
  /** Whole, as they are. */
  readonly rawPages: number;
}

export interface PageSendCounters extends PageClasses {
  /** Of all but the zero pages, before any encoding. */
  readonly rawBytes: number;
  readonly wireBytes: number;
  /** Page bytes the receiver acknowledged, zero pages included. */
  readonly ackedBytes: number;
  readonly pendingPages: number;
  /** Memory that holds what deltas are made against. */
  readonly baselineBytes: number;
}

export type SendEvent =
  | { readonly type: 'batchAcked'; readonly counters: PageSendCounters }
  | { readonly type: 'failed'; readonly error: DwcpError };

export interface PageReceiveOptions extends TransferName {
  readonly region: Region;
}

export interface PageReceiver {
  /** `PAGE_DIGEST_BYTES` per page as landed; all ones for a page that never landed. */
  digests(firstPage: number, pageCount: number): Uint8Array;
  counters(): PageReceiveCounters;
  close(): void;
}

export interface PageReceiveCounters {
  readonly landedPages: number;
  readonly stalePages: number;
  readonly landedBytes: number;
  /** Pages whose base or content was missing here: each came again, whole. */
  readonly refusedPages: number;
}

export type ReceiveEvent = { readonly type: 'failed'; readonly error: DwcpError };

export interface ByteSendOptions extends TransferName {
  /** Unix socket made by us; exactly one connection is accepted and carried. */
  readonly listenPath: string;
  readonly windowBytes: number;
}

export interface ByteSender {
  /** Bytes for the local connection, from the peer's side of the conversation (small). */
  writeReturn(bytes: Uint8Array): void;
  counters(): ByteCounters;
  close(): void;
}

export type ByteSendEvent =
  | { readonly type: 'connected' }
  /** The local side ended its stream and the receiver wrote every byte of it. */
  | { readonly type: 'drained' }
  | { readonly type: 'failed'; readonly error: DwcpError };

export interface ByteReceiveOptions extends TransferName {
  /** Unix socket to connect to; bytes are written in order. */
  readonly connectPath: string;
  readonly windowBytes: number;
}

export interface ByteReceiver {
  counters(): ByteCounters;
  close(): void;
}

export type ByteReceiveEvent =
  | { readonly type: 'connected' }
  /** What the local side wrote back; bounded, at most 64 KiB per event. */
  | { readonly type: 'return'; readonly bytes: Uint8Array }
  | { readonly type: 'closed' }
  | { readonly type: 'failed'; readonly error: DwcpError };

export interface ByteCounters {
  /** Read from the local socket (sender) or written to it (receiver). */
  readonly localBytes: number;
  readonly ackedBytes: number;
  readonly wireBytes: number;
}
