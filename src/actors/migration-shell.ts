/** What both halves of a migration do alike: storage, timers and the peer, for a pure machine. */
import type { dwcp } from '#wire';
import type { MigrationStatus } from '../node.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkLink } from '../ports/transport.ts';
import type { CommonEffect, CommonInput } from '../protocols/migration/types.ts';
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
  | { readonly type: 'claim'; readonly operator: string; readonly done: Completion<void> };

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

export class MigrationShell<M> {
  readonly migrationId: string;
  readonly #storage: Storage;
  readonly #log: SessionLog;
  readonly #durable = new Set<string>();
  link: SessionLink | null;

  constructor(migrationId: string, storage: Storage, link: SessionLink | null, log: SessionLog) {
    this.migrationId = migrationId;
    this.#storage = storage;
    this.link = link;
    this.#log = log;
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
        return context.effect(() => this.#storage.put(effect.key, value, done));
      }
      case 'forget': {
        const done = context.completion<void>((outcome) =>
          toMessage({ type: 'stored', token: effect.token, outcome }),
        );
        return context.effect(() => this.#storage.remove(effect.key, done));
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
      case 'setTimer':
        return context.setTimer(
          effect.id,
          effect.atUs,
          toMessage({ type: 'timer', id: effect.id }),
        );
      case 'cancelTimer':
        return context.cancelTimer(effect.id);
      case 'decided':
        return context.effect(() => this.#log(effect.what, effect.reason));
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
  return new DwcpError('ERR_DWCP_GUEST_STATE', `"${guestName}" waits for no decision here`, {
    hint: 'Only a guest in state outcomeUnknown is claimed; "dwcp vm list" shows the states.',
  });
}

export function tooLate(migrationId: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_STATE', `${migrationId} is past the point of no return`, {
    hint: 'The destination decides now; "dwcp migrations" shows what became of it.',
  });
}
