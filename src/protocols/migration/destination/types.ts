/** What the destination's half of a migration is told, what it asks for, and how it ends. */
import type { GuestReference, IncomingEndpoint } from '../../../ports/hypervisor.ts';
import type { DwcpError, Outcome } from '../../../util/errors.ts';
import type {
  ArrivalRecord,
  CommonEffect,
  CommonInput,
  IncomingRecord,
  MigrationTerms,
} from '../types.ts';

export type DestinationPhase =
  | 'idle'
  | 'preparing'
  | 'receiving'
  | 'loading'
  | 'loaded'
  /** `fenced` is here: from now on only what is applied decides. */
  | 'arriving'
  | 'committing'
  | 'resuming'
  | 'committed'
  | 'discarding'
  | 'finished';

export interface PreparedGuest {
  readonly endpoint: IncomingEndpoint;
  readonly reference: GuestReference;
}

export type DestinationInput =
  | CommonInput
  | { readonly type: 'start' }
  | { readonly type: 'prepared'; readonly outcome: Outcome<PreparedGuest> }
  | {
      readonly type: 'held';
      readonly firstPage: number;
      readonly outcome: Outcome<Uint8Array>;
    }
  | { readonly type: 'loaded'; readonly outcome: Outcome<void> }
  | { readonly type: 'resumed'; readonly outcome: Outcome<GuestReference> }
  | { readonly type: 'discarded'; readonly outcome: Outcome<void> }
  | { readonly type: 'digests'; readonly firstPage: number; readonly outcome: Outcome<Uint8Array> }
  | { readonly type: 'incomingFailed'; readonly error: DwcpError }
  | { readonly type: 'cancel' };

export type DestinationEffect =
  | CommonEffect
  | { readonly type: 'prepareIncoming'; readonly terms: MigrationTerms }
  /** What was received so far is received on, over the link of now; answered with `prepared`. */
  | { readonly type: 'resumeIncoming'; readonly terms: MigrationTerms }
  | {
      readonly type: 'held';
      readonly firstPage: number;
      readonly pageCount: number;
      readonly key: Uint8Array;
    }
  | { readonly type: 'load' }
  /** Only behind an applied commit. */
  | { readonly type: 'resume' }
  | { readonly type: 'discard' }
  | { readonly type: 'digests'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'finished'; readonly result: DestinationResult };

export type DestinationResult =
  | { readonly type: 'received'; readonly differentPages: number; readonly comparedPages: number }
  | { readonly type: 'refused'; readonly error: DwcpError };

export interface DestinationOptions {
  readonly migrationId: string;
  readonly self: string;
  readonly from: string;
  readonly begin: DestinationBeginning;
}

export type DestinationBeginning =
  | { readonly type: 'asked'; readonly terms: MigrationTerms }
  /** An earlier process held `fenced` and died; the guest that arrived may live, or not. */
  | { readonly type: 'arrived'; readonly record: ArrivalRecord; readonly isAlive: boolean }
  /** An earlier process died while memory came, and what came is here. */
  | { readonly type: 'held'; readonly record: IncomingRecord };

export interface DigestBlock {
  readonly firstPage: number;
  readonly digests: Uint8Array;
  readonly last: boolean;
}
