/** The public face of one running node; `startNode` in `src/index.ts` makes it. */
import type { Logger } from 'pino';
import type { Observable } from 'rxjs';
import type {
  GuestHandle,
  GuestKind,
  QemuBinary,
  TransferProgress,
  WorkloadReport,
} from './ports/hypervisor.ts';
import type { CongestionControl, HostPort } from './ports/transport.ts';
import type { DwcpError } from './util/errors.ts';

export type { GuestHandle, QemuBinary } from './ports/hypervisor.ts';

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
  /** Bulk streams per link, 1 to 512; default 8. */
  readonly streams?: number;
  readonly congestionControl?: CongestionControl;
  /** Page bytes per chunk, 64 KiB to 16 MiB; default 1 MiB. */
  readonly chunkBytes?: number;
  /** Unacknowledged bytes per link; default 32 MiB. */
  readonly windowBytes?: number;
  /** Both directions together; default 4. One more is refused with `ERR_DWCP_LIMIT`. */
  readonly maxConcurrentMigrations?: number;
  /** Runs incoming QEMU guests; default `qemu-system-x86_64` on the PATH. */
  readonly qemu?: QemuBinary;
  readonly logger?: Logger;
  /** A bug of ours was found by an assertion; default logs it and exits with 70. */
  readonly onFatal?: (error: unknown) => void;
}

export interface PeerAddress extends HostPort {
  readonly id: string;
}

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

export interface DwcpNode extends AsyncDisposable {
  readonly id: string;
  readonly address: { readonly controlPort: number; readonly bulkPort: number };
  /** Starts managing a guest of this host; resolves with its name. */
  adopt(guest: GuestHandle): Promise<string>;
  guests(): readonly GuestStatus[];
  peers(): readonly PeerStatus[];
  migrate(guestName: string, options: MigrateOptions): MigrationSession;
  migrations(): readonly MigrationStatus[];
  cancel(migrationId: string): Promise<void>;
  /** Operator's word that the other host is dead or fenced: settles an unknown outcome here. */
  claim(guestName: string, operator: string): Promise<void>;
  /** One bucket per link, for every migration on it; 0 is unlimited. */
  setMaxBandwidth(peer: string, bytesPerSec: number): void;
  readonly events$: Observable<NodeEvent>;
  stop(): Promise<void>;
}

export interface MigrateOptions {
  readonly to: string;
  /** Default 300. */
  readonly maxDowntimeMs?: number;
  /** Bytes per second on the link; default unlimited. */
  readonly maxBandwidth?: number;
  /** Default `after` (memory) or `strict` (QEMU). */
  readonly verify?: 'after' | 'strict' | 'off';
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
  /** Null when it cannot converge as things are. */
  readonly etaMs: { readonly low: number; readonly high: number } | null;
  readonly reason: string;
}

export type MigrationPhase =
  | 'preflight'
  | 'precopy'
  | 'stopAndCopy'
  | 'committing'
  | 'verifying'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'outcomeUnknown';

export interface MigrationReceipt {
  readonly migrationId: string;
  readonly guest: string;
  readonly from: string;
  readonly to: string;
  readonly rounds: number;
  readonly totalMs: number;
  readonly stoppedMs: number;
  readonly wireBytes: number;
  readonly rawBytes: number;
  readonly zeroPages: number;
  readonly rawPages: number;
  readonly comparedPages: number;
  readonly differentPages: number;
  /** Null when verification was off. */
  readonly verified: boolean | null;
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
  readonly mode: 'datacenter';
  readonly wireBytesSent: number;
  readonly wireBytesReceived: number;
}

export interface MigrationStatus extends MigrationProgress {
  readonly guest: string;
  readonly from: string;
  readonly to: string;
  readonly side: 'source' | 'destination';
  readonly error: MigrationFault | null;
  readonly receipt: MigrationReceipt | null;
}

/** Why it failed, or why the guest stands still, and what to do about it. */
export interface MigrationFault {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
}

export type NodeEvent =
  | { readonly type: 'peerUp' | 'peerDown'; readonly peer: string; readonly detail: string }
  | { readonly type: 'migration'; readonly status: MigrationStatus }
  | { readonly type: 'fault'; readonly error: DwcpError };
