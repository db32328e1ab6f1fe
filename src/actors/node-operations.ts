/** What an operator asks of the migrations of a node: begin, cancel, claim. */
import type { MigrationTerms } from '../protocols/migration/types.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { nothingToClaim } from './migration-shell.ts';
import { type Admission, unknownGuest } from './node-admission.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { MigrateCommand, NodeContext } from './node-messages.ts';
import type { SessionTable } from './node-sessions.ts';

export const DEFAULT_MAX_DOWNTIME_MS = 300;

export class Operations {
  readonly #guests: GuestTable;
  readonly #links: LinkTable;
  readonly #sessions: SessionTable;
  readonly #admission: Admission;

  constructor(guests: GuestTable, links: LinkTable, sessions: SessionTable, admission: Admission) {
    this.#guests = guests;
    this.#links = links;
    this.#sessions = sessions;
    this.#admission = admission;
  }

  migrate(command: MigrateCommand, context: NodeContext): void {
    const { guestName, options, done } = command;
    const { to } = options;
    const refusal = this.#admission.refusalToSend(guestName, to);
    const managed = this.#guests.get(guestName);
    if (managed === undefined || refusal !== null) {
      const error = refusal ?? unknownGuest(guestName);
      return context.effect(() => done(failed(error)));
    }
    const { guest, epoch } = managed;
    const { kind, memoryBytes, pageBytes, machine, launch } = guest.description;
    const terms: MigrationTerms = {
      migrationId: command.migrationId,
      guestName,
      guestKind: kind,
      transferId: command.transferId,
      epoch: epoch + 1,
      memoryBytes,
      pageBytes,
      machine,
      launchJson: JSON.stringify(launch),
      maxDowntimeMs: options.maxDowntimeMs ?? DEFAULT_MAX_DOWNTIME_MS,
      verify: options.verify ?? (kind === 'qemu' ? 'strict' : 'after'),
    };
    const maxBandwidth = options.maxBandwidth ?? null;
    if (maxBandwidth !== null) this.#links.setMaxBandwidth(to, maxBandwidth);
    const { reference } = guest;
    this.#sessions.spawnSource(
      { terms, to, guest, reference, restored: null, maxBandwidth, done },
      context,
    );
  }

  cancel(migrationId: string, done: Completion<void>, context: NodeContext): void {
    const session = this.#sessions.get(migrationId);
    if (session === undefined) {
      const what = `no migration ${migrationId} runs here`;
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', what);
      return context.effect(() => done(failed(error)));
    }
    session.ref.tell({ type: 'cancel' });
    context.effect(() => done(succeeded(undefined)));
  }

  claim(guestName: string, operator: string, done: Completion<void>, context: NodeContext): void {
    const session = this.#sessions.sourceOf(guestName);
    if (session === undefined) {
      return context.effect(() => done(failed(nothingToClaim(guestName))));
    }
    session.ref.tell({ type: 'claim', operator, done });
  }
}
