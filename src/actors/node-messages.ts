/** What the node's actor is told: by its links, by the public face, by its guests and sessions. */
import type { ClaimReceipt, LinkMode, MigrateOptions, MigrationReceipt } from '../node.ts';
import type { Guest, WorkloadReport } from '../ports/hypervisor.ts';
import type { StoredRecord } from '../ports/storage.ts';
import type { DestinationResult } from '../protocols/migration/destination.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../protocols/ownership/types.ts';
import type { Completion, Outcome } from '../util/errors.ts';
import type { LinkReport } from './messages.ts';
import type { SourceSessionResult } from './migration-source.ts';
import type { ActorContext } from './system.ts';

export interface MigrateCommand {
  readonly type: 'migrate';
  readonly guestName: string;
  readonly migrationId: string;
  readonly transferId: number;
  readonly options: MigrateOptions;
  readonly done: Completion<MigrationReceipt>;
}

/** What an operator asks of a node; on `full` the caller hears `ERR_DWCP_CLOSED`. */
export type NodeCommand =
  | MigrateCommand
  /** The log says already that it is this host's, under `epoch`. */
  | {
      readonly type: 'adopt';
      readonly guest: Guest;
      readonly epoch: number;
      readonly done: Completion<string>;
    }
  | { readonly type: 'cancel'; readonly migrationId: string; readonly done: Completion<void> }
  | {
      readonly type: 'claim';
      readonly guestName: string;
      readonly operator: string;
      readonly done: Completion<ClaimReceipt>;
    }
  | {
      readonly type: 'setLinkMode';
      readonly peer: string;
      readonly policy: LinkMode | 'auto';
      readonly done: Completion<void>;
    }
  | { readonly type: 'setMaxBandwidth'; readonly peer: string; readonly bytesPerSec: number }
  | {
      readonly type: 'setMigrationBandwidth';
      readonly migrationId: string;
      readonly bytesPerSec: number;
      readonly done: Completion<void>;
    };

/** What is durable of the operators' words about the modes of links. */
export type ModeNews =
  | { readonly type: 'modesRead'; readonly outcome: Outcome<readonly StoredRecord[]> }
  | {
      readonly type: 'modeStored';
      readonly peer: string;
      readonly policy: LinkMode | 'auto';
      readonly outcome: Outcome<void>;
      readonly done: Completion<void>;
    };

export type GuestState = 'running' | 'paused' | 'fenced';

/** The answer to an adoption, once it is durable that the guest is ours. */
export interface GuestNoted {
  readonly type: 'noted';
  readonly guest: Guest;
  readonly outcome: Outcome<void>;
  readonly done: Completion<string>;
}

/** Of the guest table; a lost observation is followed by the next poll. */
export type GuestNews =
  | GuestNoted
  | { readonly type: 'guestExited'; readonly guest: Guest }
  | {
      readonly type: 'observed';
      readonly guest: Guest;
      readonly workload: WorkloadReport | null;
      readonly state: GuestState;
    }
  | { readonly type: 'poll' };

/** This host applied something about a VM; the news may be old. A lost one is followed by a question. */
export interface OwnershipNews {
  readonly type: 'ownershipNews';
  readonly vm: string;
  readonly now: VmOwnership | null;
}

export interface Insisted {
  readonly type: 'insisted';
  readonly key: string;
  readonly outcome: Outcome<OwnershipAnswer>;
}

/** Whose a guest of this host is. */
export interface Confirmed {
  readonly type: 'confirmed';
  readonly guest: Guest;
  readonly outcome: Outcome<OwnershipAnswer>;
}

export interface ClaimAnswered {
  readonly type: 'claimAnswered';
  readonly guestName: string;
  readonly operator: string;
  readonly done: Completion<ClaimReceipt>;
  readonly outcome: Outcome<OwnershipAnswer>;
}

export type LogReport =
  | OwnershipNews
  | Insisted
  | Confirmed
  | ClaimAnswered
  /** Of a session: it is over, and the log must still hear this. */
  | { readonly type: 'insist'; readonly command: OwnershipCommand }
  | { readonly type: 'insistAgain' }
  | { readonly type: 'confirmAgain'; readonly guest: Guest };

export type SessionReport =
  | {
      readonly type: 'received';
      readonly guest: Guest;
      readonly epoch: number;
      readonly migrationId: string;
    }
  | {
      readonly type: 'sourceFinished';
      readonly migrationId: string;
      readonly outcome: Outcome<SourceSessionResult>;
    }
  | {
      readonly type: 'destinationFinished';
      readonly migrationId: string;
      readonly outcome: Outcome<DestinationResult>;
    }
  | { readonly type: 'sessionEnded'; readonly migrationId: string };

export type NodeMessage =
  | LinkReport
  | NodeCommand
  | GuestNews
  | LogReport
  | SessionReport
  | ModeNews
  | { readonly type: 'govern' };

export type NodeContext = ActorContext<NodeMessage>;
