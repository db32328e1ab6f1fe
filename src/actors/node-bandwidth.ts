/**
 * How much each link may carry. A link has one token bucket for all migrations on it, so the lowest
 * of what was asked of it counts: the link's own limit, those of the migrations that run over it,
 * and what the CPU limit leaves. 0 is unlimited.
 */
import type { LinkTable } from './node-links.ts';
import type { NodeView } from './node-view.ts';

interface MigrationLimit {
  readonly peer: string;
  readonly bytesPerSec: number;
}

export class BandwidthTable {
  readonly #view: NodeView;
  readonly #links: LinkTable;
  /** Of links that nobody set one for. */
  readonly #default: number;
  readonly #ofPeer = new Map<string, number>();
  readonly #ofMigration = new Map<string, MigrationLimit>();
  readonly #cpuCaps = new Map<string, number>();

  constructor(view: NodeView, links: LinkTable, defaultBytesPerSec: number) {
    this.#view = view;
    this.#links = links;
    this.#default = defaultBytesPerSec;
  }

  /** Outlives the link: a peer that comes back finds it again. */
  setPeer(peer: string, bytesPerSec: number): void {
    this.#ofPeer.set(peer, bytesPerSec);
    this.apply(peer);
  }

  setMigration(migrationId: string, peer: string, bytesPerSec: number): void {
    this.#ofMigration.set(migrationId, { peer, bytesPerSec });
    this.apply(peer);
  }

  /** Its limit ends with the migration. */
  forget(migrationId: string): void {
    const limit = this.#ofMigration.get(migrationId);
    if (limit === undefined) return;
    this.#ofMigration.delete(migrationId);
    this.apply(limit.peer);
  }

  setCpuCap(peer: string, bytesPerSec: number): void {
    if ((this.#cpuCaps.get(peer) ?? 0) === bytesPerSec) return;
    this.#cpuCaps.set(peer, bytesPerSec);
    this.apply(peer);
  }

  apply(peer: string): void {
    const bytesPerSec = this.#effective(peer);
    this.#view.bandwidth.set(peer, bytesPerSec);
    this.#links.setMaxBandwidth(peer, bytesPerSec);
  }

  #effective(peer: string): number {
    const limits = [this.#ofPeer.get(peer) ?? this.#default, this.#cpuCaps.get(peer) ?? 0];
    for (const limit of this.#ofMigration.values()) {
      if (limit.peer === peer) limits.push(limit.bytesPerSec);
    }
    const set = limits.filter((limit) => limit > 0);
    return set.length === 0 ? 0 : Math.min(...set);
  }
}
