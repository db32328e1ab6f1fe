/** What the source's half of a migration is told, what it asks for, and how it ends. */
import type {
  IncomingEndpoint,
  OutgoingMigration,
  RoundReport,
} from '../../../ports/hypervisor.ts';
import type { DwcpError, Outcome } from '../../../util/errors.ts';
import type { LadderHelp, LadderOptions } from '../ladder.ts';
import type { CommonEffect, CommonInput, FenceRecord, MigrationTerms } from '../types.ts';

export type SourcePhase =
  | 'idle'
  /** The group is asked to note the migration; until it did, nothing moves. */
  | 'proposing'
  | 'preparing'
  | 'opening'
  | 'precopy'
  /** An agent died on the way: what the destination holds is asked for, before rounds go on. */
  | 'regaining'
  | 'stopAndCopy'
  | 'awaitLoaded'
  | 'strictVerify'
  | 'fencing'
  | 'fencePersisting'
  /** `fenced` is with the peer, or was when the link broke: the point of no return is behind us. */
  | 'fenced'
  /** Abort is proposed; which of commit and abort won, this host has not applied yet. */
  | 'outcomeUnknown'
  /** Applied: the destination owns the guest. The frozen copy stays until it is heard to run there. */
  | 'committed'
  /** The same, and the destination is silent, or failed to run it: it may be the last copy. */
  | 'unconfirmed'
  /** Post-copy, committed: until the destination says that it runs, nobody knows that it does. */
  | 'switching'
  /** The guest runs at the destination; what it lacks of its memory is only here. */
  | 'postcopy'
  | 'unfencing'
  | 'verifying'
  | 'releasing'
  | 'settling'
  | 'aborting'
  | 'finished';

export const PAST_NO_RETURN: ReadonlySet<SourcePhase> = new Set([
  'fenced',
  'outcomeUnknown',
  'committed',
  'unconfirmed',
  'switching',
  'postcopy',
  'unfencing',
  'verifying',
  'releasing',
  'settling',
  'finished',
]);

export type SourceOperation =
  | 'openOutgoing'
  | 'held'
  | 'round'
  | 'help'
  | 'stopAndCopy'
  | 'fence'
  | 'digests'
  | 'abortGuest'
  | 'unfence'
  | 'postcopy'
  | 'release';

/** Operations whose answer carries nothing but that they ended. */
export type PlainOperation = 'fence' | 'abortGuest' | 'unfence' | 'postcopy' | 'release';

export type SourceInput =
  | CommonInput
  | { readonly type: 'start' }
  | { readonly type: 'opened'; readonly outcome: Outcome<OutgoingMigration | null> }
  | {
      readonly type: 'roundDone';
      readonly outcome: Outcome<RoundReport>;
      readonly dirtyBytesPerSec: number;
      /** What the link lets through right now; 0 is unlimited. */
      readonly maxBytesPerSec: number;
    }
  /** How many of the compared pages are there already. */
  | { readonly type: 'held'; readonly outcome: Outcome<number> }
  /** What came of a `help`; an error says why nothing could be done. */
  | { readonly type: 'helped'; readonly outcome: Outcome<void> }
  | { readonly type: 'copied'; readonly outcome: Outcome<RoundReport> }
  | {
      readonly type: 'done';
      readonly operation: PlainOperation;
      readonly outcome: Outcome<void>;
    }
  | { readonly type: 'digests'; readonly firstPage: number; readonly outcome: Outcome<Uint8Array> }
  /** The outgoing migration failed outside an operation. */
  | { readonly type: 'outgoingFailed'; readonly error: DwcpError }
  | { readonly type: 'cancel' }
  /** This host applied an operator's claim for it: it owns the guest. */
  | { readonly type: 'claimed'; readonly operator: string };

export type SourceEffect =
  | CommonEffect
  | { readonly type: 'openOutgoing'; readonly endpoint: IncomingEndpoint }
  /** Asks the destination to hash pages that it holds, under the key of the outgoing migration. */
  | { readonly type: 'askHeld'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'held'; readonly firstPage: number; readonly hashes: Uint8Array }
  | { readonly type: 'round' }
  /** Answered with `helped`. */
  | { readonly type: 'help'; readonly help: LadderHelp }
  | { readonly type: 'stopAndCopy' }
  | { readonly type: 'fence' }
  /** Answered as `fence`: the guest stands still by its run state. */
  | { readonly type: 'stopForPostcopy' }
  /** Only behind an applied commit. Done when every page is at the destination. */
  | { readonly type: 'postcopy' }
  | { readonly type: 'digests'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'abortGuest' }
  | { readonly type: 'unfence' }
  | { readonly type: 'release' }
  | { readonly type: 'finished'; readonly result: SourceResult };

export type SourceResult =
  | { readonly type: 'moved'; readonly verification: Verification | null }
  | { readonly type: 'stayed'; readonly error: DwcpError }
  /** It is another host's by something else than this migration, and its frozen copy is gone here. */
  | { readonly type: 'lost'; readonly error: DwcpError };

export interface Verification {
  readonly comparedPages: number;
  readonly differentPages: number;
  readonly complete: boolean;
}

export interface SourceOptions {
  readonly terms: MigrationTerms;
  readonly self: string;
  readonly to: string;
  readonly fence: Pick<FenceRecord, 'reference'>;
  readonly linkIsUp: boolean;
  /** A fence record was found at start: everything before it happened in an earlier process. */
  readonly isRestored: boolean;
  /** And what stopped it for good was its run state. */
  readonly isPostcopy?: boolean;
  /** An earlier process was in its rounds: they go on, with what came of them. */
  readonly isResumed?: boolean;
  /** How far it may go to converge, beyond `terms.maxDowntimeMs`; absent: that limit alone. */
  readonly ladder?: Omit<LadderOptions, 'maxDowntimeMs'>;
}
