/** Envelopes from peers: to the session they are about, or they begin one, or are answered without. */
import type { dwcp } from '#wire';
import type { MigrationMessage } from '../protocols/migration/types.ts';
import { DwcpError, failed } from '../util/errors.ts';
import { decodeMessage, encodeMessage, migrationIdOf } from './migration-wire.ts';
import type { Admission } from './node-admission.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { NodeContext } from './node-messages.ts';
import type { NodeActorOptions } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';

export interface InboxParts {
  readonly guests: GuestTable;
  readonly links: LinkTable;
  readonly sessions: SessionTable;
  readonly admission: Admission;
}

export class NodeInbox {
  readonly #options: NodeActorOptions;
  readonly #parts: InboxParts;

  constructor(options: NodeActorOptions, parts: InboxParts) {
    this.#options = options;
    this.#parts = parts;
  }

  route(peer: string, envelope: dwcp.IEnvelope, context: NodeContext): void {
    const migrationId = migrationIdOf(envelope);
    if (migrationId === null) return;
    const { sessions } = this.#parts;
    const session = sessions.get(migrationId);
    if (session !== undefined) {
      // Only the two hosts of a migration have a word in it.
      if (session.peer === peer) sessions.tell(migrationId, envelope);
      return;
    }
    if (envelope.prepareRequest) return this.#prepare(peer, migrationId, envelope, context);
    if (envelope.resumedQuery) return this.#answerQuery(peer, migrationId, context);
    const { fenced, digestBlock, reattach, regain } = envelope;
    if (fenced || digestBlock || reattach || regain) {
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', `no migration ${migrationId} here`);
      this.#send(peer, migrationId, { type: 'migrationFailed', error }, context);
    }
  }

  /** Nothing is said of what this host has not applied, or of what moved on: its source applies that. */
  #answerQuery(peer: string, migrationId: string, context: NodeContext): void {
    const { id, ownership } = this.#options;
    const vm = ownership.list().find(({ owner, by }) => {
      return owner === id && by.type === 'migrated' && by.migrationId === migrationId;
    });
    if (vm === undefined) return;
    if (this.#parts.guests.get(vm.vm) !== undefined) {
      return this.#send(peer, migrationId, { type: 'resumed' }, context);
    }
    const what = `"${vm.vm}" is ${id}'s in the log and does not run there`;
    const error = new DwcpError('ERR_DWCP_GUEST_FAILED', what);
    this.#send(peer, migrationId, { type: 'migrationFailed', error }, context);
  }

  #prepare(
    peer: string,
    migrationId: string,
    envelope: dwcp.IEnvelope,
    context: NodeContext,
  ): void {
    const decoded = decodeMessage(migrationId, envelope);
    const message = decoded.ok ? decoded.value : null;
    if (message?.type !== 'prepareRequest') {
      const error = decoded.ok ? new DwcpError('ERR_DWCP_PROTOCOL', 'no request') : decoded.error;
      return this.#refuse(peer, migrationId, error, context);
    }
    const { terms } = message;
    const { admission, sessions } = this.#parts;
    const refusal = admission.refusalToReceive(terms.guestName);
    if (refusal !== null) return this.#refuse(peer, migrationId, refusal, context);
    const begin = { type: 'asked', terms } as const;
    sessions.spawnDestination({ migrationId, from: peer, begin, arrived: null }, context);
  }

  #refuse(peer: string, migrationId: string, error: DwcpError, context: NodeContext): void {
    this.#send(peer, migrationId, { type: 'prepareReply', outcome: failed(error) }, context);
  }

  #send(peer: string, migrationId: string, message: MigrationMessage, context: NodeContext): void {
    const envelope = encodeMessage(migrationId, message);
    context.effect(() => this.#parts.links.send(peer, envelope));
  }
}
