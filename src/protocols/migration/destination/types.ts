/** What the destination's half of a migration is told, what it asks for, and how it ends. */
import type { GuestReference, IncomingEndpoint } from '../../../ports/hypervisor.ts';
import type { DwcpError, Outcome } from '../../../util/errors.ts';
import type { CommonEffect, CommonInput, DecisionRecord, MigrationTerms } from '../types.ts';

export type DestinationPhase =
  | 'idle'
  | 'preparing'
  | 'receiving'
  | 'loading'
  | 'loaded'
  | 'committing'
  | 'resuming'
  | 'committed'
  | 'decidingAbort'
  | 'discarding'
  | 'aborted'
  | 'finished';

export interface PreparedGuest {
  readonly endpoint: IncomingEndpoint;
  readonly reference: GuestReference;
}

export type DestinationInput =
  | CommonInput
  | { readonly type: 'start' }
  | { readonly type: 'prepared'; readonly outcome: Outcome<PreparedGuest> }
  | { readonly type: 'loaded'; readonly outcome: Outcome<void> }
  | { readonly type: 'resumed'; readonly outcome: Outcome<GuestReference> }
  | { readonly type: 'discarded'; readonly outcome: Outcome<void> }
  | { readonly type: 'digests'; readonly firstPage: number; readonly outcome: Outcome<Uint8Array> }
  | { readonly type: 'incomingFailed'; readonly error: DwcpError }
  | { readonly type: 'cancel' };

export type DestinationEffect =
  | CommonEffect
  | { readonly type: 'prepareIncoming'; readonly terms: MigrationTerms }
  | { readonly type: 'load' }
  /** Only behind a durable commit. `reference` when the guest is one that an earlier process left. */
  | { readonly type: 'resume'; readonly reference: GuestReference | null }
  | { readonly type: 'discard' }
  | { readonly type: 'digests'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'finished'; readonly result: DestinationResult };

export type DestinationResult =
  | { readonly type: 'received'; readonly differentPages: number; readonly comparedPages: number }
  | { readonly type: 'refused'; readonly error: DwcpError };

export interface DestinationOptions {
  readonly migrationId: string;
  readonly from: string;
  /** Null when the source asks about a migration of which this process knows nothing. */
  readonly terms: MigrationTerms | null;
  readonly restored: DecisionRecord | null;
  /** The record's guest was already taken over by this process. */
  readonly isRunning: boolean;
}

export interface DigestBlock {
  readonly firstPage: number;
  readonly digests: Uint8Array;
  readonly last: boolean;
}
