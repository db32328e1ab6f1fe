/** What a link's actor is told. */
import type { ControlChannel, ControlEvent } from '../ports/transport.ts';
import type { DwcpError, Outcome } from '../util/errors.ts';
import type { BulkInbox } from './bulk-inbox.ts';
import type { LinkCommand } from './messages.ts';
import type { ActorContext, Terminated } from './system.ts';

export type LinkMessage =
  | LinkCommand
  | { readonly type: 'dial' }
  | { readonly type: 'dialled'; readonly outcome: Outcome<ControlChannel> }
  /** On `full` the transport closes the channel; the peer dials again. */
  | { readonly type: 'accepted'; readonly channel: ControlChannel }
  | { readonly type: 'control'; readonly session: number; readonly event: ControlEvent }
  | StreamJoin
  /** A stream of ours carries chunks from now on: `lane` is its number, `stream` the transport's id. */
  | {
      readonly type: 'joined';
      readonly session: number;
      readonly lane: number;
      readonly stream: number;
    }
  /** A stream of ours could not be made to stand. */
  | { readonly type: 'streamTrouble'; readonly session: number; readonly error: DwcpError }
  | { readonly type: 'streamGone'; readonly session: number; readonly gone: Terminated }
  | { readonly type: 'tick' }
  | { readonly type: 'lookForStreams'; readonly session: number }
  | { readonly type: 'climb' }
  | { readonly type: 'mode'; readonly what: 'sample' | 'late' | 'look' }
  | { readonly type: 'flush' };

/** On `full` the transport closes the stream; the peer dials again. */
export interface StreamJoin {
  readonly type: 'join';
  readonly inbox: BulkInbox;
  readonly message: Uint8Array;
  readonly challenge: Uint8Array;
}

export type LinkContext = ActorContext<LinkMessage>;
