/**
 * What the two halves of one migration say to each other, ask of their host and are told.
 *
 *   source       PrepareRequest -> round* -> stopAndCopy -> Copied -> fence -> [fence durable] -> Fenced
 *   destination  PrepareReply                            Loaded               [decision durable] -> resume -> Decision
 *
 * Ownership in one line: the source gives the guest up with its own durable `fence` record, the
 * destination takes it with its own durable `decision` record, and no clock has a word in either.
 */
import type { GuestKind, GuestReference, IncomingEndpoint } from '../../ports/hypervisor.ts';
import type { DwcpError, Outcome } from '../../util/errors.ts';

export type VerifyMode = 'after' | 'strict' | 'off';
export type Verdict = 'commit' | 'abort' | 'unknown';

/** Pages per DigestBlock: 64 KiB of digests, well under a control frame. */
export const DIGEST_BLOCK_PAGES = 8192;
/** Digest blocks that may be unanswered, so that a slow comparer never fills the control channel. */
export const DIGEST_BLOCKS_IN_FLIGHT_MAX = 4;

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
  readonly verify: VerifyMode;
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
  | { readonly type: 'loaded' }
  | { readonly type: 'fenced'; readonly epoch: number }
  | { readonly type: 'decision'; readonly verdict: Verdict; readonly reason: string }
  | { readonly type: 'decisionQuery' }
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
  | { readonly type: 'migrationFailed'; readonly error: DwcpError }
  | { readonly type: 'settled' };

/** `fence/<migrationId>` at the source. While it exists the guest stays as it is. */
export interface FenceRecord {
  readonly migrationId: string;
  readonly guestName: string;
  readonly to: string;
  readonly epoch: number;
  readonly reference: GuestReference;
}

/** `decision/<migrationId>` at the destination. */
export interface DecisionRecord {
  readonly migrationId: string;
  readonly verdict: 'commit' | 'abort';
  readonly guestName: string;
  readonly from: string;
  readonly epoch: number;
  /** The incoming guest that a commit made the owner; null for an abort, and once the guest has its own record. */
  readonly reference: GuestReference | null;
}

/** Operator's word, kept for good: `claim/<migrationId>`. */
export interface ClaimRecord {
  readonly migrationId: string;
  readonly guestName: string;
  readonly operator: string;
}

/** `guest/<name>`: what a restarted agent re-adopts. */
export interface GuestRecord {
  readonly reference: GuestReference;
  readonly epoch: number;
}

export type MigrationRecord =
  | { readonly kind: 'fence'; readonly value: FenceRecord }
  | { readonly kind: 'decision'; readonly value: DecisionRecord }
  | { readonly kind: 'claim'; readonly value: ClaimRecord }
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
  | { readonly type: 'setTimer'; readonly id: string; readonly atUs: number }
  | { readonly type: 'cancelTimer'; readonly id: string }
  /** A decision with its reason, for the log and the progress line. */
  | { readonly type: 'decided'; readonly what: string; readonly reason: string };

export type CommonInput =
  | { readonly type: 'message'; readonly message: MigrationMessage }
  | { readonly type: 'linkUp'; readonly peerRestarted: boolean }
  | { readonly type: 'linkDown'; readonly error: DwcpError }
  | { readonly type: 'timer'; readonly id: string }
  | { readonly type: 'stored'; readonly token: string; readonly outcome: Outcome<void> };

export type Timed<I> = I & { readonly nowUs: number };

export function recordKey(kind: MigrationRecord['kind'], id: string): string {
  return `${kind}/${id}`;
}
