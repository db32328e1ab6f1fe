/**
 * What the two halves of one migration say to each other, ask of their host and are told.
 *
 *   source       [prepare applied] PrepareRequest -> round* -> Copied -> fence -> [fence durable] -> Fenced
 *   destination  PrepareReply       Loaded    [arrival durable] -> [commit applied] -> resume -> Resumed
 *
 * Ownership in one line: the replicated log says who owns the guest, each host acts only on what it
 * has applied of it, and no clock, error or word of the peer decides in its place.
 */
import type { GuestKind, GuestReference, IncomingEndpoint } from '../../ports/hypervisor.ts';
import type { DwcpError, Outcome } from '../../util/errors.ts';
import type { OwnershipAnswer, OwnershipCommand, VmOwnership } from '../ownership/types.ts';

export type VerifyMode = 'after' | 'strict' | 'off';

/** Pages per DigestBlock: 64 KiB of digests, well under a control frame. */
export const DIGEST_BLOCK_PAGES = 8192;
/** Digest blocks that may be unanswered, so that a slow comparer never fills the control channel. */
export const DIGEST_BLOCKS_IN_FLIGHT_MAX = 4;

/** A guest that is half moved occupies memory twice. */
export const RESUME_GRACE_MS_MAX = 3_600_000;

/** Pages per block of hashes: 64 KiB of them. */
export const HELD_BLOCK_PAGES = 4096;
export const HELD_REQUESTS_MAX = 4;

export interface MigrationTerms {
  readonly migrationId: string;
  readonly guestName: string;
  readonly guestKind: GuestKind;
  readonly transferId: number;
  /** The epoch under which the destination will own the guest. */
  readonly epoch: number;
  readonly memoryBytes: number;
  readonly pageBytes: number;
  readonly machine: Readonly<Record<string, string>>;
  readonly launchJson: string;
  readonly maxDowntimeMs: number;
  /** How long a broken link may stay down while the guest runs; 0 gives up at once. */
  readonly resumeGraceMs: number;
  readonly verify: VerifyMode;
  /** Both QEMUs get ready for post-copy, which the source may take as the last step. */
  readonly allowPostcopy: boolean;
}

export type MigrationMessage =
  | { readonly type: 'prepareRequest'; readonly terms: MigrationTerms }
  | { readonly type: 'prepareReply'; readonly outcome: Outcome<IncomingEndpoint> }
  | {
      readonly type: 'roundDone';
      readonly round: number;
      readonly sentPages: number;
      readonly remainingBytes: number;
    }
  | { readonly type: 'copied' }
  /** The link was down, and what was said last may be lost. */
  | { readonly type: 'reattach' }
  /** One of the agents is another process than before: asks whether what came is still there. */
  | { readonly type: 'regain' }
  /** Hash these pages of what is there. At most {@link HELD_REQUESTS_MAX} unanswered. */
  | {
      readonly type: 'heldRequest';
      readonly firstPage: number;
      readonly pageCount: number;
      readonly key: Uint8Array;
    }
  | { readonly type: 'heldPages'; readonly firstPage: number; readonly hashes: Uint8Array }
  | { readonly type: 'loaded' }
  /** Post-copy: its memory is not here yet, and comes once the guest is the destination's. */
  | { readonly type: 'fenced'; readonly epoch: number; readonly postcopy: boolean }
  /** The guest runs at the destination. The source takes it as news of the guest, never as ownership. */
  | { readonly type: 'resumed' }
  /** Of a source that knows who owns the guest and not whether it came to run there. */
  | { readonly type: 'resumedQuery' }
  | { readonly type: 'abort'; readonly errorCode: string; readonly reason: string }
  | {
      readonly type: 'digestBlock';
      readonly firstPage: number;
      readonly digests: Uint8Array;
      readonly last: boolean;
    }
  /** Cumulative; the one that covers every page is the result. */
  | {
      readonly type: 'verifyResult';
      readonly comparedPages: number;
      readonly differentPages: number;
      readonly firstDifferent: readonly number[];
    }
  | { readonly type: 'migrationFailed'; readonly error: DwcpError };

/** `fence/<migrationId>` at the source. While it exists the guest stays as it is. */
export interface FenceRecord {
  readonly migrationId: string;
  readonly guestName: string;
  readonly to: string;
  readonly epoch: number;
  readonly reference: GuestReference;
  /** It stands still by its run state alone, since its process has memory to give. */
  readonly postcopy: boolean;
}

/** `arrival/<migrationId>` at the destination: what finds the incoming guest until it has its own record. */
export interface ArrivalRecord {
  readonly migrationId: string;
  readonly guestName: string;
  readonly from: string;
  /** The epoch under which this host will own the guest. */
  readonly epoch: number;
  readonly reference: GuestReference;
  /** What is here is not all of it: without the stream that its agent carries it cannot run. */
  readonly postcopy: boolean;
}

/**
 * `incoming/<migrationId>` at the destination, from before it said that it is ready: finds a guest that is half
 * here. What it holds is no record of ours but its memory, which its own process keeps: a page is there once it
 * landed, and never before. A machine that was started anew has no such process.
 */
export interface IncomingRecord {
  readonly from: string;
  readonly terms: MigrationTerms;
  readonly reference: GuestReference;
}

/** `outgoing/<migrationId>` at the source, while rounds are sent: what a restarted agent goes on with. */
export interface OutgoingRecord {
  readonly to: string;
  readonly terms: MigrationTerms;
  readonly reference: GuestReference;
}

/** `guest/<name>`: what a restarted agent re-adopts. */
export interface GuestRecord {
  readonly reference: GuestReference;
  readonly epoch: number;
}

export type MigrationRecord =
  | { readonly kind: 'fence'; readonly value: FenceRecord }
  | { readonly kind: 'arrival'; readonly value: ArrivalRecord }
  | { readonly kind: 'incoming'; readonly value: IncomingRecord }
  | { readonly kind: 'outgoing'; readonly value: OutgoingRecord }
  | { readonly kind: 'guest'; readonly value: GuestRecord };

/**
 * Effects that both sides share. The driver performs them in array order; a `send` whose `after`
 * names a token happens only once that token's `persist` completed, and the driver asserts it.
 */
export type StorageEffect =
  | {
      readonly type: 'persist';
      readonly token: string;
      readonly key: string;
      readonly record: MigrationRecord;
    }
  | { readonly type: 'forget'; readonly token: string; readonly key: string };

export type CommonEffect =
  | StorageEffect
  | { readonly type: 'send'; readonly after: string | null; readonly message: MigrationMessage }
  /** Answered with `proposed`; with a null patience it waits for a majority, however long. */
  | {
      readonly type: 'propose';
      readonly token: string;
      readonly command: OwnershipCommand;
      readonly patienceMs: number | null;
    }
  /** Proposed until it is applied, also when this session is long over; nobody waits for it. */
  | { readonly type: 'insist'; readonly command: OwnershipCommand }
  | { readonly type: 'setTimer'; readonly id: string; readonly atUs: number }
  | { readonly type: 'cancelTimer'; readonly id: string }
  /** A decision with its reason, for the log and the progress line. */
  | { readonly type: 'decided'; readonly what: string; readonly reason: string };

export type CommonInput =
  | { readonly type: 'message'; readonly message: MigrationMessage }
  | { readonly type: 'linkUp'; readonly peerRestarted: boolean }
  | { readonly type: 'linkDown'; readonly error: DwcpError }
  | { readonly type: 'timer'; readonly id: string }
  | { readonly type: 'stored'; readonly token: string; readonly outcome: Outcome<void> }
  /** This host applied the command, or could not propose it. */
  | {
      readonly type: 'proposed';
      readonly token: string;
      readonly outcome: Outcome<OwnershipAnswer>;
    }
  /** This host applied something about the guest. It may be old news: a replay, or overtaken. */
  | { readonly type: 'applied'; readonly vm: VmOwnership | null };

export type Timed<I> = I & { readonly nowUs: number };

/** Whether what came of it outlives the agents: a QEMU ends with the stream that it loads. */
export function isRegainable({ guestKind, resumeGraceMs }: MigrationTerms): boolean {
  return guestKind === 'memory' && resumeGraceMs > 0;
}

export function recordKey(kind: MigrationRecord['kind'], id: string): string {
  return `${kind}/${id}`;
}
