/** What both halves of a migration do alike: storage, the log, timers and the peer, for a pure machine. */
import type { dwcp } from '#wire';
import type { MigrationStatus } from '../node.ts';
import type { Ownership } from '../ports/ownership.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkLink } from '../ports/transport.ts';
import type { CommonEffect, CommonInput } from '../protocols/migration/types.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../protocols/ownership/types.ts';
import { assert, unreachable } from '../util/assert.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
import type { LinkCommand } from './messages.ts';
import { encodeRecordValue } from './migration-records.ts';
import { decodeMessage, encodeMessage } from './migration-wire.ts';
import type { ActorContext, ActorRef } from './system.ts';

/** Node to session. Never lost: the session's mailbox is far larger than what may be under way. */
export type SessionCommand =
  | { readonly type: 'news'; readonly news: LinkNews }
  | { readonly type: 'cancel'; readonly done: Completion<void> }
  /** This host applied something about the guest. */
  | { readonly type: 'applied'; readonly vm: VmOwnership | null }
  /** This host owns the guest by an operator's claim. */
  | { readonly type: 'claimed'; readonly operator: string };

export type LinkNews =
  | { readonly type: 'linkUp'; readonly link: SessionLink; readonly peerRestarted: boolean }
  | { readonly type: 'linkDown'; readonly error: DwcpError }
  | { readonly type: 'envelope'; readonly envelope: dwcp.IEnvelope };

export interface SessionLink {
  readonly link: ActorRef<LinkCommand>;
  readonly bulk: BulkLink;
}

/** What a session knows of itself; the limit of its link is the node's. */
export type SessionStatus = Omit<MigrationStatus, 'maxBandwidth'>;

export type SessionLog = (what: string, reason: string) => void;

export const SESSION_MAILBOX_LIMIT = 4096;

/** What a session stands on, besides its own guest. */
export interface SessionParts {
  readonly storage: Storage;
  readonly ownership: Ownership;
  /** Proposes it until it is applied, also when the session is over. */
  readonly insist: (command: OwnershipCommand) => void;
  readonly log: SessionLog;
}

export class MigrationShell<M> {
  readonly migrationId: string;
  readonly #parts: SessionParts;
  readonly #durable = new Set<string>();
  link: SessionLink | null;

  constructor(migrationId: string, link: SessionLink | null, parts: SessionParts) {
    this.migrationId = migrationId;
    this.link = link;
    this.#parts = parts;
  }

  /** What the link or the peer did, for the machine; null when it is no concern of it. */
  translate(command: LinkNews): CommonInput | null {
    switch (command.type) {
      case 'linkUp':
        this.link = command.link;
        return { type: 'linkUp', peerRestarted: command.peerRestarted };
      case 'linkDown':
        this.link = null;
        return { type: 'linkDown', error: command.error };
      case 'envelope': {
        const decoded = decodeMessage(this.migrationId, command.envelope);
        if (!decoded.ok) {
          return { type: 'message', message: { type: 'migrationFailed', error: decoded.error } };
        }
        return decoded.value === null ? null : { type: 'message', message: decoded.value };
      }
    }
  }

  noteStored(input: CommonInput): void {
    if (input.type === 'stored' && input.outcome.ok) this.#durable.add(input.token);
  }

  perform(
    effect: CommonEffect,
    context: ActorContext<M>,
    toMessage: (input: CommonInput) => M,
  ): void {
    switch (effect.type) {
      case 'persist': {
        const value = encodeRecordValue(effect.record);
        const done = context.completion<void>((outcome) =>
          toMessage({ type: 'stored', token: effect.token, outcome }),
        );
        return context.effect(() => this.#parts.storage.put(effect.key, value, done));
      }
      case 'forget': {
        const done = context.completion<void>((outcome) =>
          toMessage({ type: 'stored', token: effect.token, outcome }),
        );
        return context.effect(() => this.#parts.storage.remove(effect.key, done));
      }
      case 'send': {
        const isDurable = effect.after === null || this.#durable.has(effect.after);
        assert(
          isDurable,
          `"${effect.message.type}" must not overtake the record "${effect.after}"`,
        );
        const envelope = encodeMessage(this.migrationId, effect.message);
        return context.effect(() => this.sendEnvelope(envelope));
      }
      case 'propose': {
        const { command, patienceMs, token } = effect;
        const done = context.completion<OwnershipAnswer>((outcome) =>
          toMessage({ type: 'proposed', token, outcome }),
        );
        return context.effect(() => this.#parts.ownership.propose(command, patienceMs, done));
      }
      case 'insist':
        return context.effect(() => this.#parts.insist(effect.command));
      case 'setTimer':
        return context.setTimer(
          effect.id,
          effect.atUs,
          toMessage({ type: 'timer', id: effect.id }),
        );
      case 'cancelTimer':
        return context.cancelTimer(effect.id);
      case 'decided':
        return context.effect(() => this.#parts.log(effect.what, effect.reason));
      default:
        return unreachable(effect);
    }
  }

  /** A link that is full or gone loses the message: the machines ask again or give up. */
  sendEnvelope(envelope: dwcp.IEnvelope): void {
    this.link?.link.tell({ type: 'send', envelope });
  }
}

export function nothingToClaim(guestName: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_STATE', `"${guestName}" is this host's already`, {
    hint: 'Nothing is to be claimed. A guest that stands still goes on by itself once the group has a majority; "dwcp vm list" says what it waits for.',
  });
}

export function tooLate(migrationId: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_STATE', `${migrationId} is past the point of no return`, {
    hint: 'The log of the group decides now; "dwcp migrations" shows what became of it.',
  });
}
