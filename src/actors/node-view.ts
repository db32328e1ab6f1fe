/** What the outside may read of a node at any time; written by the node's actors only. */
import { Subject } from 'rxjs';
import type { GuestStatus, MigrationStatus, NodeEvent } from '../node.ts';
import type { BulkLink } from '../ports/transport.ts';
import type { DwcpError } from '../util/errors.ts';
import type { LinkModeStatus } from './messages.ts';

/** Ended migrations that `migrations()` still tells of. */
const MIGRATIONS_KEPT_MAX = 256;

export class NodeView {
  readonly guests: Map<string, GuestStatus> = new Map();
  readonly links: Map<string, BulkLink> = new Map();
  /** Why a link is down or carries no memory. */
  readonly problems: Map<string, DwcpError> = new Map();
  /** Bytes per second that each link lets through; 0 is unlimited. */
  readonly bandwidth: Map<string, number> = new Map();
  /** Of links that said so; the others are in the mode that all begin in. */
  readonly modes: Map<string, LinkModeStatus> = new Map();
  readonly migrations: Map<string, MigrationStatus> = new Map();
  readonly events$: Subject<NodeEvent> = new Subject();
  readonly #progress = new Map<string, Subject<MigrationStatus>>();

  /** The stream of one migration's status; completes with the migration. */
  progressOf(migrationId: string): Subject<MigrationStatus> {
    let subject = this.#progress.get(migrationId);
    if (subject === undefined) {
      subject = new Subject();
      this.#progress.set(migrationId, subject);
    }
    return subject;
  }

  publish(status: MigrationStatus): void {
    this.migrations.delete(status.migrationId);
    this.migrations.set(status.migrationId, status);
    for (const id of this.migrations.keys()) {
      if (this.migrations.size <= MIGRATIONS_KEPT_MAX) break;
      if (!this.#progress.has(id)) this.migrations.delete(id);
    }
    this.#progress.get(status.migrationId)?.next(status);
    this.events$.next({ type: 'migration', status });
  }

  complete(migrationId: string): void {
    this.#progress.get(migrationId)?.complete();
    this.#progress.delete(migrationId);
  }
}
