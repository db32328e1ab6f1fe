/**
 * Envelopes from peers: to the session they are about, or they begin one. A source may also ask
 * about a migration of an earlier process, or one that never came here: the records answer that.
 */
import type { dwcp } from '#wire';
import type { StoredRecord } from '../ports/storage.ts';
import { DwcpError, failed } from '../util/errors.ts';
import { decodeDecision } from './migration-records.ts';
import { decodeMessage, encodeMessage, migrationIdOf } from './migration-wire.ts';
import type { Admission } from './node-admission.ts';
import type { UnsettledDecisions } from './node-decisions.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { NodeContext, RecordsFound } from './node-messages.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';

export interface InboxParts {
  readonly guests: GuestTable;
  readonly links: LinkTable;
  readonly sessions: SessionTable;
  readonly admission: Admission;
  readonly decisions: UnsettledDecisions;
}

export class NodeInbox {
  readonly #options: NodeActorOptions;
  readonly #parts: InboxParts;
  /** Migrations whose record is being read; a repeated question waits for the first. */
  readonly #lookups = new Set<string>();

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
    if (envelope.decision) return this.#parts.decisions.heard(peer, migrationId, context);
    const isAboutRecord = envelope.decisionQuery ?? envelope.fenced ?? envelope.settled;
    if (isAboutRecord) this.#look(peer, migrationId, envelope, context);
  }

  #look(peer: string, migrationId: string, envelope: dwcp.IEnvelope, context: NodeContext): void {
    if (this.#lookups.has(migrationId)) return;
    this.#lookups.add(migrationId);
    const looked = context.completion<readonly StoredRecord[]>((outcome) => {
      return { type: 'looked', migrationId, peer, envelope, outcome };
    });
    context.effect(() => this.#options.storage.list(`decision/${migrationId}`, looked));
  }

  looked(found: RecordsFound, context: NodeContext): void {
    const { migrationId, peer, envelope, outcome } = found;
    this.#lookups.delete(migrationId);
    if (!outcome.ok) return reportFault(this.#options, outcome.error);
    const stored = outcome.value.find((record) => record.key === `decision/${migrationId}`);
    const restored = stored === undefined ? null : decodeDecision(stored);
    if (restored !== null && restored.from !== peer) return;
    if (restored === null && envelope.settled) return;
    const { guests, sessions } = this.#parts;
    const isRunning =
      restored !== null && (guests.get(restored.guestName)?.epoch ?? -1) >= restored.epoch;
    sessions.spawnDestination(
      { migrationId, from: peer, terms: null, restored, isRunning },
      context,
    );
    sessions.tell(migrationId, envelope);
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
    sessions.spawnDestination(
      { migrationId, from: peer, terms, restored: null, isRunning: false },
      context,
    );
  }

  #refuse(peer: string, migrationId: string, error: DwcpError, context: NodeContext): void {
    const reply = encodeMessage(migrationId, { type: 'prepareReply', outcome: failed(error) });
    context.effect(() => this.#parts.links.send(peer, reply));
  }
}
