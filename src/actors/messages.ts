/**
 * What the actors of one host tell each other. Links report to the node; the node routes envelopes
 * to migration sessions and gives them the link's bulk half.
 */
import type { dwcp } from '#wire';
import type { LinkMode, LinkModeChange } from '../node.ts';
import type { BulkLink } from '../ports/transport.ts';
import type { Completion, DwcpError } from '../util/errors.ts';
import type { ActorRef } from './system.ts';

/** Link to node. On `full` the link stops reading from its peer until the node drained. */
export type LinkReport =
  | {
      readonly type: 'linkUp';
      readonly peer: string;
      readonly bulk: BulkLink;
      readonly link: ActorRef<LinkCommand>;
      /** True when the peer's process is not the one of the last link: its volatile state is gone. */
      readonly peerRestarted: boolean;
    }
  | { readonly type: 'linkDown'; readonly peer: string; readonly error: DwcpError }
  /** The peer answers, but no bulk stream stands: told once per reason. Null when one does again. */
  | { readonly type: 'linkTrouble'; readonly peer: string; readonly error: DwcpError | null }
  | { readonly type: 'linkMode'; readonly peer: string; readonly status: LinkModeStatus }
  | { readonly type: 'envelope'; readonly peer: string; readonly envelope: dwcp.IEnvelope };

/** Anybody to a link. On `full` or while the link is down the sender treats the message as lost. */
export type LinkCommand =
  | { readonly type: 'send'; readonly envelope: dwcp.IEnvelope }
  | { readonly type: 'setMaxBandwidth'; readonly bytesPerSec: number }
  /** A transfer of so many bytes begins. */
  | { readonly type: 'willSend'; readonly bytes: number }
  | { readonly type: 'setMode'; readonly policy: LinkMode | 'auto' }
  /** A migration does not converge. Answered with an error where the link does all it can already. */
  | {
      readonly type: 'press';
      readonly migrationId: string;
      readonly what: 'compress' | 'streams';
      readonly done: Completion<void>;
    }
  /** It ended, and needs no more than others do. */
  | { readonly type: 'release'; readonly migrationId: string };

export interface LinkModeStatus {
  readonly mode: LinkMode;
  readonly policy: LinkMode | 'auto';
  readonly change: LinkModeChange | null;
}
