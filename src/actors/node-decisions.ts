/**
 * Decisions that nobody came to settle: the source acted on them and was killed before it said so.
 * Whenever the two hosts meet again the destination repeats its decision, and a source that holds no
 * fence for it any more answers that it is settled. Without this every such crash left a record.
 */
import type { StoredRecord } from '../ports/storage.ts';
import { decodeDecision } from './migration-records.ts';
import { encodeMessage } from './migration-wire.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { DecisionsFound, FencesFound, NodeContext } from './node-messages.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';

export class UnsettledDecisions {
  readonly #options: NodeActorOptions;
  readonly #guests: GuestTable;
  readonly #links: LinkTable;
  readonly #sessions: SessionTable;

  constructor(
    options: NodeActorOptions,
    guests: GuestTable,
    links: LinkTable,
    sessions: SessionTable,
  ) {
    this.#options = options;
    this.#guests = guests;
    this.#links = links;
    this.#sessions = sessions;
  }

  linkUp(peer: string, context: NodeContext): void {
    const found = context.completion<readonly StoredRecord[]>((outcome) => {
      return { type: 'decisionsFound', peer, outcome };
    });
    context.effect(() => this.#options.storage.list('decision/', found));
  }

  /** The sessions repeat their own; here are those of earlier processes. */
  repeat({ peer, outcome }: DecisionsFound, context: NodeContext): void {
    if (!outcome.ok) return reportFault(this.#options, outcome.error);
    for (const record of outcome.value) {
      const { migrationId, from, verdict, guestName, epoch, reference } = decodeDecision(record);
      if (from !== peer || this.#sessions.get(migrationId) !== undefined) continue;
      const isRunning = (this.#guests.get(guestName)?.epoch ?? -1) >= epoch;
      // A commit whose guest never came to run here is for an operator, or for the next restart.
      if (verdict === 'commit' && reference !== null && !isRunning) continue;
      const message = { type: 'decision', verdict, reason: 'decided earlier' } as const;
      context.effect(() => this.#links.send(peer, encodeMessage(migrationId, message)));
    }
  }

  /** A decision for a migration that has no session here. */
  heard(peer: string, migrationId: string, context: NodeContext): void {
    const found = context.completion<readonly StoredRecord[]>((outcome) => {
      return { type: 'fencesFound', peer, migrationId, outcome };
    });
    context.effect(() => this.#options.storage.list(`fence/${migrationId}`, found));
  }

  answer({ peer, migrationId, outcome }: FencesFound, context: NodeContext): void {
    if (!outcome.ok) return reportFault(this.#options, outcome.error);
    if (outcome.value.some(({ key }) => key === `fence/${migrationId}`)) return;
    context.effect(() => this.#links.send(peer, encodeMessage(migrationId, { type: 'settled' })));
  }
}
