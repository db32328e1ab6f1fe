/**
 * The Hypervisor port: guests that run, and the two ends of moving one. The migration session
 * machine drives every kind of guest through these same steps; how a kind finds its dirty pages or
 * carries its stream is its own affair.
 *
 *   source  preflight -> openOutgoing -> round* -> stopAndCopy -> fence -> (fenced is durable, then sent) -> digests -> release
 *                                                                     \-> abort, before `fenced` was sent
 *   target  prepareIncoming -> loaded -> (the commit is applied) -> resume
 *                                    \-> discard
 *
 * An agent that dies in the middle of the rounds leaves both guests, and what the destination's one has in
 * its memory:
 *
 *   source  openOutgoing -> held* -> round* ...      target  [adopt, or suspend] -> resumeIncoming -> held* ...
 */
import type { Completion, DwcpError } from '../util/errors.ts';
import type { TransferProfile } from './transfer-profile.ts';
import type { BulkLink, PageClasses, TransferName } from './transport.ts';

export interface Hypervisor {
  readonly kind: GuestKind;
  /**
   * Takes over a guest, running or frozen, that an earlier agent left. `ERR_DWCP_GUEST_FAILED` says
   * that its process is gone for certain; with any other code it may live.
   */
  adopt(reference: GuestReference, done: Completion<Guest>): void;
  /** Fails with a preflight code when this host cannot take the guest. One per attempt. */
  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void;
  /** Kills incoming guests that earlier attempts of this host left behind, except those in `keep`. */
  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void;
}

export type GuestKind = 'memory' | 'qemu';

/** What finds a guest again after its agent restarted. Plain JSON, kept in the data directory. */
export interface GuestReference {
  readonly kind: GuestKind;
  readonly name: string;
  /** Process identity: a pid alone may have been reused. */
  readonly pid: number;
  /** Field 22 of `/proc/PID/stat`, in clock ticks since boot. */
  readonly startTicks: number;
  /** Control socket: the memory guest's own, or QMP. */
  readonly socketPath: string;
}

export interface GuestDescription {
  readonly kind: GuestKind;
  readonly name: string;
  readonly memoryBytes: number;
  readonly pageBytes: number;
  /** Compared for equality by the preflight; the key names what differs. */
  readonly machine: Readonly<Record<string, string>>;
  /** What the destination needs to make its empty twin; opaque to the session. */
  readonly launch: Readonly<Record<string, unknown>>;
}

export interface Guest {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  /** Called once when the process is gone. */
  onExit(listener: (error: DwcpError | null) => void): void;
  state(done: Completion<GuestState>): void;
  /** The workload's own account of itself, where the guest has one. */
  workload(done: Completion<WorkloadReport | null>): void;
  /** Refuses with a preflight code what cannot be moved, before the destination hears of it. */
  preflight(options: PreflightOptions, done: Completion<void>): void;
  /** Runs the guest again once the log says that it is this host's. Never called on a time-out. */
  unfence(done: Completion<void>): void;
  openOutgoing(options: OutgoingOptions, done: Completion<OutgoingMigration>): void;
  /**
   * Of a guest that is half here: goes on receiving, over a new link. Absent where what came does not
   * outlive its agent.
   */
  resumeIncoming?(options: IncomingOptions, done: Completion<IncomingGuest>): void;
  /** Of a guest that was moved by post-copy: whether the last of its pages is at the destination. */
  hasLeft?(done: Completion<boolean>): void;
  /** Completes when the process has exited. */
  kill(done: Completion<void>): void;
  /** Forgets the guest without touching it: it outlives its agent. */
  detach(): void;
}

/** Made by `memoryGuest(...)` or `qemuGuest(...)`. */
export interface GuestHandle {
  readonly kind: GuestKind;
  readonly name: string;
  readonly open: (host: { readonly dataDir: string }) => Promise<Guest>;
}

/** The QEMU of a host. */
export interface QemuBinary {
  readonly binary: string;
  /** Go before all others, such as `-L` paths. */
  readonly args: readonly string[];
  /** Over the agent's own environment. */
  readonly env: Readonly<Record<string, string>>;
}

export type GuestState = 'running' | 'paused' | 'fenced';

/** Measured by the guest inside its own memory: it survives every move. */
export interface WorkloadReport {
  readonly operations: number;
  /** Longest time between two operations since the last reset, as the guest's clock saw it. */
  readonly longestGapMs: number;
  /** Accounts sum to the constant, and no operation number is missing or doubled. */
  readonly invariantHeld: boolean;
  /** Distinct pages dirtied per second times the page size, achieved. */
  readonly dirtyBytesPerSec: number;
  readonly askedDirtyBytesPerSec: number;
}

export interface PreflightOptions {
  /** How the move will be checked; not every guest can be compared after it runs elsewhere. */
  readonly verify: 'after' | 'strict' | 'off';
}

export interface OutgoingOptions extends TransferName {
  readonly link: BulkLink;
  readonly migrationId: string;
  /** From the destination's prepareIncoming. */
  readonly endpoint: IncomingEndpoint;
  readonly maxDowntimeMs: number;
  readonly profile: TransferProfile;
  /** The guest may be slowed down so that it converges; default false. */
  readonly mayThrottle?: boolean;
  /** Both ends get ready for post-copy; default false. */
  readonly mayPostcopy?: boolean;
  readonly onFailure: (error: DwcpError) => void;
}

export interface OutgoingMigration {
  /** The first sends everything, each later one what was dirtied meanwhile; done when all was acknowledged. */
  round(done: Completion<RoundReport>): void;
  /** Drawn for this outgoing migration: under it the peer hashes the pages it holds. */
  readonly holdKey?: Uint8Array;
  /**
   * Before the first round: these pages are at the destination, as `PAGE_HASH_BYTES` each. Those that are
   * equal here and now are not sent by it. Answers how many. Absent as `resumeIncoming` is.
   */
  held?(firstPage: number, hashes: Uint8Array, done: Completion<number>): void;
  /**
   * Takes this share of its processor time from the guest, 1 to 99, until it is stopped or the migration
   * ends. `ERR_DWCP_UNSUPPORTED` where a guest of this kind cannot be slowed down, or must not be.
   */
  throttle(percent: number, done: Completion<void>): void;
  /** A cheap sample; safe at any time. */
  progress(): TransferProgress;
  /**
   * Stops the guest, confirms that every writer stopped, then scans and sends the rest. Done when
   * all was acknowledged (memory) or handed to the peer's side (QEMU: its `loaded` says the rest).
   */
  stopAndCopy(done: Completion<RoundReport>): void;
  /** After it nothing but unfence or abort can make the guest run: every thread is seen stopped. */
  fence(done: Completion<void>): void;
  /**
   * In the place of `stopAndCopy` and `fence`: the guest stands still by its run state, and nothing but abort
   * makes it run. Its process is not frozen, since it has pages to give. Absent where there is no post-copy.
   */
  stopForPostcopy?(done: Completion<void>): void;
  /**
   * Only after the commit is applied, and never undone: the guest's devices go to the destination, which runs
   * it, and then its pages. Done when the last one is there.
   */
  postcopy?(done: Completion<void>): void;
  /** Of the frozen memory itself, never of send buffers. `PAGE_DIGEST_BYTES` per page. */
  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void;
  /**
   * Before `fenced` was sent, or when the abort is decided: the guest runs here again. Idempotent. Ends
   * what is under way: a `stopAndCopy` that has not stopped the guest yet fails, and stops it no more.
   */
  abort(done: Completion<void>): void;
  /** After the commit: the source guest is killed for good. Idempotent. */
  release(done: Completion<void>): void;
  /** Bytes of the destination's `onReturn`, in order. Ignored by guests that have no such stream. */
  writeReturn(bytes: Uint8Array): void;
}

export interface RoundReport {
  readonly sentPages: number;
  /** Dirty right now, in bytes, or the hypervisor's own estimate. */
  readonly remainingBytes: number;
  readonly elapsedUs: number;
  /** The guest stopped by itself at the end of this round (QEMU's own switch-over). */
  readonly stopped: boolean;
}

export interface TransferProgress extends PageClasses {
  readonly rawBytes: number;
  readonly wireBytes: number;
  readonly ackedBytes: number;
  readonly remainingBytes: number;
  readonly dirtyBytesPerSec: number;
}

export interface IncomingOptions extends TransferName {
  readonly link: BulkLink;
  readonly migrationId: string;
  readonly description: GuestDescription;
  /** As the source was asked; without it nothing is compared once the guest runs. */
  readonly verify?: 'after' | 'strict' | 'off';
  readonly onFailure: (error: DwcpError) => void;
  /**
   * What the incoming guest says back to its source, at most 64 KiB at a time; the session carries
   * it over the control channel, in order, to {@link OutgoingMigration.writeReturn}. QEMU only.
   */
  readonly onReturn: (bytes: Uint8Array) => void;
  /** As {@link OutgoingOptions.mayPostcopy}. */
  readonly mayPostcopy?: boolean;
}

/** What the source's side of the guest must know; plain JSON. */
export type IncomingEndpoint = Readonly<Record<string, unknown>>;

export interface IncomingGuest {
  readonly endpoint: IncomingEndpoint;
  readonly reference: GuestReference;
  /**
   * Called by the session once the source said that all is sent; done when the guest could run. After a resume
   * that went before it (post-copy): when all of its memory is here.
   */
  loaded(done: Completion<void>): void;
  /** As landed; of a QEMU that does not run yet, of its loaded memory. Once it runs only where its pages were staged. */
  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void;
  /**
   * Of the memory itself, never of notes of what landed, as `PAGE_HASH_BYTES` each under `key`. Nothing may be
   * landing. Absent as `resumeIncoming` is.
   */
  held?(firstPage: number, pageCount: number, key: Uint8Array, done: Completion<Uint8Array>): void;
  /** Takes nothing more; what is there stays, for {@link Guest.resumeIncoming}. */
  suspend?(done: Completion<Guest>): void;
  /** Only after the commit is applied. */
  resume(done: Completion<Guest>): void;
  /** Kills the incoming guest. Idempotent. */
  discard(done: Completion<void>): void;
}
