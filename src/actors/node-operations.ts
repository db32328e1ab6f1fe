/** What an operator asks of the migrations of a node: begin, limit, cancel, claim. */
import type { MigrationTerms } from '../protocols/migration/types.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { nothingToClaim, tooLate } from './migration-shell.ts';
import { type Admission, unknownGuest } from './node-admission.ts';
import type { BandwidthTable } from './node-bandwidth.ts';
import type { GuestTable } from './node-guests.ts';
import type { MigrateCommand, NodeContext } from './node-messages.ts';
import type { SessionTable } from './node-sessions.ts';

export const DEFAULT_MAX_DOWNTIME_MS = 300;

export interface OperationParts {
  readonly guests: GuestTable;
  readonly sessions: SessionTable;
  readonly admission: Admission;
  readonly bandwidth: BandwidthTable;
  /** Bytes per second of a migration that names no limit; 0 is unlimited. */
  readonly migrationBandwidth: number;
}

export class Operations {
  readonly #parts: OperationParts;

  constructor(parts: OperationParts) {
    this.#parts = parts;
  }

  migrate(command: MigrateCommand, context: NodeContext): void {
    const { guestName, options, done } = command;
    const { to } = options;
    const { guests, sessions, admission, bandwidth, migrationBandwidth } = this.#parts;
    const refusal = admission.refusalToSend(guestName, to);
    const managed = guests.get(guestName);
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
    bandwidth.setMigration(terms.migrationId, to, options.maxBandwidth ?? migrationBandwidth);
    const { reference } = guest;
    sessions.spawnSource({ terms, to, guest, reference, restored: null, done }, context);
  }

  cancel(migrationId: string, done: Completion<void>, context: NodeContext): void {
    const session = this.#parts.sessions.get(migrationId);
    if (session === undefined) {
      const what = `no migration ${migrationId} runs here`;
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', what);
      return context.effect(() => done(failed(error)));
    }
    if (session.ref.tell({ type: 'cancel', done }) === 'accepted') return;
    context.effect(() => done(failed(tooLate(migrationId))));
  }

  /** Only the source sends, so only the source limits. */
  limit(
    migrationId: string,
    bytesPerSec: number,
    done: Completion<void>,
    context: NodeContext,
  ): void {
    const session = this.#parts.sessions.get(migrationId);
    if (session?.side !== 'source') {
      const elsewhere = session === undefined ? '' : `, its source is ${session.peer}`;
      const what = `no migration ${migrationId} runs from here${elsewhere}`;
      const hint = 'See what runs with: dwcp migrations';
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', what, { hint });
      return context.effect(() => done(failed(error)));
    }
    this.#parts.bandwidth.setMigration(migrationId, session.peer, bytesPerSec);
    context.effect(() => done(succeeded(undefined)));
  }

  claim(guestName: string, operator: string, done: Completion<void>, context: NodeContext): void {
    const session = this.#parts.sessions.sourceOf(guestName);
    if (session === undefined) {
      return context.effect(() => done(failed(nothingToClaim(guestName))));
    }
    if (session.ref.tell({ type: 'claim', operator, done }) === 'accepted') return;
    context.effect(() => done(failed(nothingToClaim(guestName))));
  }
}
