/** The public face of one running node; `startNode` in `src/index.ts` makes it. */
import type { Logger } from 'pino';
import type { Observable } from 'rxjs';
import type { ContentCacheCounters, ContentCacheOptions } from './ports/content-cache.ts';
import type { Cipher } from './ports/encryption.ts';
import type {
  GuestHandle,
  GuestKind,
  QemuBinary,
  TransferProgress,
  WorkloadReport,
} from './ports/hypervisor.ts';
import type { LinkMode } from './ports/link-mode.ts';
import type { GroupView } from './ports/ownership.ts';
import type { BulkRdmaCounters } from './ports/rdma.ts';
import type { TransferProfile } from './ports/transfer-profile.ts';
import type { CongestionControl, HostPort, PageClasses } from './ports/transport.ts';
import type { DwcpError } from './util/errors.ts';

export type { ContentCacheCounters, ContentCacheOptions } from './ports/content-cache.ts';
export type { Cipher } from './ports/encryption.ts';
export type { GuestHandle, QemuBinary } from './ports/hypervisor.ts';
export type { LinkMode } from './ports/link-mode.ts';
export type { GroupView } from './ports/ownership.ts';

/** `startNode(options): Promise<DwcpNode>` rejects with a coded error; nothing is left behind then. */
export interface StartNodeOptions {
  readonly id: string;
  /** Port 0 lets the kernel choose; `DwcpNode.address` says what it chose. */
  readonly listen: HostPort;
  /** Bulk streams of peers arrive here, on the host of `listen`; default 0, chosen by the kernel. */
  readonly bulkPort?: number;
  readonly peers: readonly PeerAddress[];
  /** Locked while the node runs; one data directory belongs to one node. */
  readonly dataDir: string;
  readonly identity: IdentityFiles;
  /**
   * Hosts whose majority decides who runs which VM: the same on each of them, and for good. Absent or
   * empty: this node and all its peers.
   */
  readonly group?: { readonly voters: readonly string[] };
  /** Of every link that nobody forced: `auto`, the default, follows what is measured, from `datacenter` on. */
  readonly linkMode?: LinkMode | 'auto';
  /** How `auto` judges a way, and how seldom it follows. */
  readonly linkModeRules?: Partial<LinkModeRules>;
  /** Bulk streams per link, 1 to 512, or `auto`, the default: as many as pay, in the bounds of its mode. */
  readonly streams?: number | 'auto';
  /** `auto`, the default, is what the link's mode asks for. */
  readonly congestionControl?: CongestionControl | 'auto';
  /** Page bytes per chunk, 16 KiB to 16 MiB, or `auto`, the default: what the link's mode asks for. */
  readonly chunkBytes?: number | 'auto';
  /**
   * What carries memory: `auto`, the default, takes queue pairs where both hosts have an RDMA device; `rdma` asks for
   * them and tells where they do not come about; `tcp` does without.
   */
  readonly transport?: 'auto' | 'tcp' | 'rdma';
  /** With `rdma`: refuses to start without a device, and a peer that offers none. Default false: falls back to TCP. */
  readonly requireTransport?: boolean;
  /** Unacknowledged bytes per link; default 32 MiB. */
  readonly windowBytes?: number;
  /** Both directions together; default 4. One more is refused with `ERR_DWCP_LIMIT`. */
  readonly maxConcurrentMigrations?: number;
  /**
   * How long a move from here waits for a broken link while its guest runs, at most an hour; default 5
   * minutes. 0 gives up at once. Once the guest is stopped, the downtime it may have is the limit.
   */
  readonly resumeGraceMs?: number;
  /**
   * `off` declares the networks to all peers trusted that do not say otherwise: memory then travels as it
   * is, under a checksum. Default `on`. What either side of a link wants is done.
   */
  readonly encryption?: 'on' | 'off';
  /** Default `aes-128-gcm`; the longer of both sides' keys is taken. */
  readonly cipher?: Cipher;
  /** Bytes per second per link, for all migrations on it; default 0, unlimited. */
  readonly maxBandwidth?: number;
  /** Of a migration that does not say so itself; default false. See {@link MigrateOptions.allowPostcopy}. */
  readonly allowPostcopy?: boolean;
  /** Bytes per second of a migration that names no limit of its own; default 0, unlimited. */
  readonly migrationBandwidth?: number;
  /** Of one core, for what this node sends; default 0, unlimited. */
  readonly maxCpuPercent?: number;
  /** Runs incoming QEMU guests; default `qemu-system-x86_64` on the PATH. */
  readonly qemu?: QemuBinary;
  /** Keeps page contents on disk, so that what this host has seen is not sent to it again; default none. */
  readonly contentCache?: ContentCacheOptions;
  readonly logger?: Logger;
  /** A bug of ours was found by an assertion; default logs it and exits with 70. */
  readonly onFatal?: (error: unknown) => void;
}

/** Below `nearMs` and at `wideBytesPerSec` or more is a datacenter; above `farMs` or below the rate the internet. */
export interface LinkModeRules {
  /** Default 10. */
  readonly nearMs: number;
  /** Default 50. */
  readonly farMs: number;
  /** Default 125e6, 1 Gbit/s. */
  readonly wideBytesPerSec: number;
  /** By this share a threshold must be passed to leave a mode; default 0.2. */
  readonly hysteresis: number;
  /** Share of the samples that must agree; default 0.7. */
  readonly confidence: number;
  /** Of which one judgement is made; default 10. */
  readonly samples: number;
  /** A chosen mode lasts at least so long; default 60000. */
  readonly minStayMs: number;
  /** Nothing is changed for so long after a change, also after one that failed; default 30000. */
  readonly coolDownMs: number;
  /** Changes that nobody forced; default 2. */
  readonly maxPerMinute: number;
}

export const NODE_DEFAULTS: {
  readonly linkMode: LinkMode | 'auto';
  readonly streams: number | 'auto';
  readonly chunkBytes: number | 'auto';
  readonly windowBytes: number;
  readonly maxConcurrentMigrations: number;
  readonly resumeGraceMs: number;
} = {
  linkMode: 'auto',
  streams: 'auto',
  chunkBytes: 'auto',
  windowBytes: 32 * 2 ** 20,
  maxConcurrentMigrations: 4,
  resumeGraceMs: 300_000,
};

export interface PeerAddress extends HostPort {
  readonly id: string;
  /** True: whoever sees the wire to this peer may see the guests. Absent: what `encryption` says. */
  readonly trustedNetwork?: boolean | undefined;
}

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  /** Node ids and certificate serial numbers that are refused, one per line; absent: none are. */
  readonly revokedFile?: string | undefined;
}

export interface DwcpNode extends AsyncDisposable {
  readonly id: string;
  readonly address: { readonly controlPort: number; readonly bulkPort: number };
  /** Starts managing a guest of this host; resolves with its name. */
  adopt(guest: GuestHandle): Promise<string>;
  guests(): readonly GuestStatus[];
  peers(): readonly PeerStatus[];
  group(): GroupView;
  /** Null where this node was started without one. */
  contentCache(): ContentCacheCounters | null;
  /** Who owns which VM, of all hosts, as far as this host has applied the group's log. */
  owners(): readonly VmOwner[];
  migrate(guestName: string, options: MigrateOptions): MigrationSession;
  migrations(): readonly MigrationStatus[];
  cancel(migrationId: string): Promise<void>;
  /** Operator's word that the guest's owner is dead or fenced: in the log, this host owns it then. */
  claim(guestName: string, operator: string): Promise<ClaimReceipt>;
  /** One bucket per link, for every migration on it; 0 is unlimited. */
  setMaxBandwidth(peer: string, bytesPerSec: number): void;
  /** Pins the mode of a link, or lets it follow what is measured; durable when it resolves. */
  setLinkMode(peer: string, policy: LinkMode | 'auto'): Promise<void>;
  /**
   * Of a migration that runs from here, at once; 0 lifts it. Migrations on one link share its
   * bucket, so the lowest of their limits and the link's own counts for all of them.
   */
  setMigrationBandwidth(migrationId: string, bytesPerSec: number): Promise<void>;
  readonly events$: Observable<NodeEvent>;
  /**
   * Reads the identity's files again. New connections use what they say now, running ones go on, and those
   * of a peer that is revoked now end. Throws, and changes nothing, when the files are no good.
   */
  reloadIdentity(): void;
  stop(): Promise<void>;
}

export interface MigrateOptions {
  readonly to: string;
  /** Default 300. */
  readonly maxDowntimeMs?: number;
  /**
   * As long as it may stand still where nothing else makes it converge; default `maxDowntimeMs`, never more
   * than that then.
   */
  readonly maxDowntimeCeilingMs?: number;
  /** How much of its processor time a guest may lose so that it converges, 0 to 99; default 0: none. */
  readonly throttlePercentMax?: number;
  /**
   * QEMU only, and only once all else did not make it converge: the guest runs at its destination before its
   * memory is there. **Losing either host then loses the guest.** Nothing of it is compared, and from the
   * first round on QEMU's stream travels as it is, unencoded. Default that of the node.
   */
  readonly allowPostcopy?: boolean;
  /** Bytes per second on the link, while this migration runs; default that of the node. */
  readonly maxBandwidth?: number;
  /** Default `after` (memory) or `strict` (QEMU). */
  readonly verify?: 'after' | 'strict' | 'off';
  /** How its pages travel; `v1` is the baseline that others are measured against. Default `v3`. */
  readonly profile?: TransferProfile;
}

export interface MigrationSession {
  readonly id: string;
  readonly progress$: Observable<MigrationProgress>;
  /** Rejects with a coded error; the guest is where receipt or error says. */
  readonly done: Promise<MigrationReceipt>;
  cancel(): void;
}

export interface MigrationProgress extends TransferProgress {
  readonly migrationId: string;
  readonly phase: MigrationPhase;
  readonly round: number;
  readonly totalBytes: number;
  readonly goodputBytesPerSec: number;
  /** What the link lets through right now, in bytes per second; 0 is unlimited. */
  readonly maxBandwidth: number;
  /** Null when it cannot converge as things are. */
  readonly etaMs: { readonly low: number; readonly high: number } | null;
  readonly reason: string;
}

export type MigrationPhase =
  | 'preflight'
  | 'precopy'
  | 'stopAndCopy'
  | 'committing'
  /** It runs at its destination, and what it lacks of its memory is still at its source. */
  | 'postcopy'
  | 'verifying'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'outcomeUnknown';

export interface MigrationReceipt extends PageClasses {
  readonly migrationId: string;
  readonly guest: string;
  readonly from: string;
  readonly to: string;
  readonly rounds: number;
  /** What was tried so that it converges, and what came of it; empty when rounds alone did. */
  readonly steps: readonly string[];
  /** It ran at its destination before all of its memory was there. */
  readonly postcopy: boolean;
  readonly totalMs: number;
  readonly stoppedMs: number;
  readonly wireBytes: number;
  readonly rawBytes: number;
  readonly comparedPages: number;
  readonly differentPages: number;
  /** How often the link broke, or an agent died, and the move went on. */
  readonly cuts: number;
  readonly restarts: number;
  /** After the last agent that died: pages that were at the destination already, and not sent again. */
  readonly heldPages: number;
  /** What carried it at the end, null where no stream stood; why it was not RDMA although that was asked for. */
  readonly transport: 'tcp' | 'rdma' | null;
  readonly transportFallback: string | null;
  /** Null when verification was off, or post-copy left nothing to compare. */
  readonly verified: boolean | null;
}

export interface VmOwner {
  readonly vm: string;
  readonly owner: string;
  readonly epoch: number;
  /** Where it is on its way to; null while nobody moves it. */
  readonly movingTo: string | null;
}

export interface ClaimReceipt {
  readonly guest: string;
  readonly epoch: number;
  /** A frozen copy was here and runs again. False: this host owns a guest that it must start anew. */
  readonly resumed: boolean;
}

export interface GuestStatus {
  readonly name: string;
  readonly kind: GuestKind;
  readonly state: 'running' | 'paused' | 'fenced' | 'incoming' | 'outcomeUnknown';
  readonly memoryBytes: number;
  readonly pid: number;
  readonly migrationId: string | null;
  readonly epoch: number;
  readonly workload: WorkloadReport | null;
}

export interface PeerStatus {
  readonly id: string;
  readonly connected: boolean;
  readonly streams: number;
  readonly mode: LinkMode;
  /** What the operator said of the mode. */
  readonly modePolicy: LinkMode | 'auto';
  /** The last change of the mode; null while there was none. */
  readonly modeChange: LinkModeChange | null;
  /** What memory to and from it travels under; null while there is no link. */
  readonly encryption: Cipher | 'off' | null;
  /** What carries memory to and from it right now; null without a stream. */
  readonly transport: 'tcp' | 'rdma' | null;
  /** Why it is not RDMA although that was asked for, or not for every stream; null while all is as asked. */
  readonly transportFallback: string | null;
  readonly rdma: BulkRdmaCounters;
  /** Read back from the kernel; null without a stream. */
  readonly congestionControl: string | null;
  /** What the link lets through right now, in bytes per second; 0 is unlimited. */
  readonly maxBandwidth: number;
  /** Why the link is down or cannot carry memory; null while all is well. */
  readonly problem: Problem | null;
  readonly wireBytesSent: number;
  readonly wireBytesReceived: number;
  /** Chunks sent again on another stream. */
  readonly chunksReinjected: number;
  /** Chunks that arrived damaged; each was sent again. */
  readonly chunksCorrupt: number;
  /** Frames that it did not seal so, or that were here before: somebody is on the wire. */
  readonly framesForged: number;
  readonly framesReplayed: number;
}

export interface MigrationStatus extends MigrationProgress {
  readonly guest: string;
  readonly from: string;
  readonly to: string;
  readonly side: 'source' | 'destination';
  readonly error: MigrationFault | null;
  readonly receipt: MigrationReceipt | null;
}

/** How a link's mode was changed, or why it was not. Times are null where nothing could be measured. */
export interface LinkModeChange {
  /** Of the changes of this link, from 1. */
  readonly number: number;
  readonly from: LinkMode;
  readonly to: LinkMode;
  readonly forced: boolean;
  readonly reason: string;
  /** `inForce` here, not yet confirmed by the peer; then `agreed`, or `rolledBack` on both sides. */
  readonly outcome: 'inForce' | 'agreed' | 'rolledBack';
  /** Why it was rolled back. */
  readonly problem: string | null;
  /** From the first sample that said so to the decision; null where an operator or the peer decided. */
  readonly detectedMs: number | null;
  /** From the decision until all settings were in force here. */
  readonly appliedMs: number;
  /** From then until a chunk named under the new settings was acknowledged on every stream. */
  readonly effectiveMs: number | null;
  /** The longest time without a chunk that landed here meanwhile. */
  readonly stallMs: number | null;
}

/** Why it failed, or why the guest stands still, and what to do about it. */
export type MigrationFault = Problem;

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
}

export type NodeEvent =
  | { readonly type: 'peerUp' | 'peerDown'; readonly peer: string; readonly detail: string }
  | { readonly type: 'migration'; readonly status: MigrationStatus }
  /** Told when it is in force, when the peer agreed, when it took effect, and when it was rolled back. */
  | { readonly type: 'linkMode'; readonly peer: string; readonly change: LinkModeChange }
  | { readonly type: 'fault'; readonly error: DwcpError }
  /** The node stopped by itself and may not go on; the last event. */
  | { readonly type: 'halted'; readonly error: DwcpError };
