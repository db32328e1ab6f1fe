/** The migrations that touch this host: one session actor each, watched until it ended. */
import type { dwcp } from '#wire';
import type { MigrationReceipt } from '../node.ts';
import type { Guest, Hypervisor } from '../ports/hypervisor.ts';
import type { DecisionRecord, MigrationTerms } from '../protocols/migration/types.ts';
import { type Completion, failed, type Outcome, succeeded } from '../util/errors.ts';
import { destinationSession } from './migration-destination.ts';
import type { LinkNews, SessionCommand, SessionLog, SessionStatus } from './migration-shell.ts';
import { type SourceSessionResult, sourceSession } from './migration-source.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { NodeContext } from './node-messages.ts';
import type { NodeActorOptions } from './node-options.ts';
import type { ActorRef, SpawnOptions } from './system.ts';

export interface Session {
  readonly peer: string;
  readonly side: 'source' | 'destination';
  readonly guestName: string;
  readonly ref: ActorRef<SessionCommand>;
  readonly done: Completion<MigrationReceipt> | null;
}

export interface SourceSpec {
  readonly terms: MigrationTerms;
  readonly to: string;
  readonly guest: Guest | null;
  readonly reference: Guest['reference'];
  readonly restored: { readonly claimedBy: string | null } | null;
  readonly done: Completion<MigrationReceipt> | null;
}

export interface DestinationSpec {
  readonly migrationId: string;
  readonly from: string;
  readonly terms: MigrationTerms | null;
  readonly restored: DecisionRecord | null;
  readonly isRunning: boolean;
}

export class SessionTable {
  readonly #options: NodeActorOptions;
  readonly #guests: GuestTable;
  readonly #links: LinkTable;
  readonly #sessions = new Map<string, Session>();

  constructor(options: NodeActorOptions, guests: GuestTable, links: LinkTable) {
    this.#options = options;
    this.#guests = guests;
    this.#links = links;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(migrationId: string): Session | undefined {
    return this.#sessions.get(migrationId);
  }

  sourceOf(guestName: string): Session | undefined {
    return [...this.#sessions.values()].find(
      (session) => session.side === 'source' && session.guestName === guestName,
    );
  }

  /** What a link has to say concerns every session with that peer. */
  tellPeers(peer: string, news: LinkNews): void {
    for (const session of this.#sessions.values()) {
      if (session.peer === peer) session.ref.tell({ type: 'news', news });
    }
  }

  tell(migrationId: string, envelope: dwcp.IEnvelope): void {
    const news: LinkNews = { type: 'envelope', envelope };
    this.#sessions.get(migrationId)?.ref.tell({ type: 'news', news });
  }

  spawnSource(spec: SourceSpec, context: NodeContext): void {
    const { migrationId, guestName } = spec.terms;
    const managed = this.#guests.get(guestName);
    if (managed !== undefined) managed.migrationId = migrationId;
    const { id, storage } = this.#options;
    const spawned = sourceSession(`migration-${migrationId}`, {
      ...spec,
      from: id,
      link: this.#links.get(spec.to),
      maxBandwidth: () => this.#limitTo(spec.to),
      storage,
      log: this.#log(migrationId),
      publish: (status) => this.#publish(status, spec.to),
      finished: context.completion((outcome) => ({ type: 'sourceFinished', migrationId, outcome })),
    });
    this.#sessions.set(migrationId, {
      peer: spec.to,
      side: 'source',
      guestName,
      ref: this.#watched(migrationId, spawned, context),
      done: spec.done,
    });
  }

  spawnDestination(spec: DestinationSpec, context: NodeContext): void {
    const { migrationId, from, terms, restored } = spec;
    const { id, storage, hypervisors } = this.#options;
    const kind = terms?.guestKind ?? restored?.reference?.kind;
    const hypervisor: Hypervisor | null =
      kind === undefined ? null : (hypervisors.get(kind) ?? null);
    const received = context.completion<{ guest: Guest; epoch: number }>((outcome) =>
      outcome.ok
        ? { type: 'received', ...outcome.value, migrationId }
        : { type: 'sessionEnded', migrationId: '' },
    );
    const spawned = destinationSession(`migration-${migrationId}`, {
      ...spec,
      to: id,
      hypervisor,
      link: this.#links.get(from),
      storage,
      log: this.#log(migrationId),
      publish: (status) => this.#publish(status, null),
      received: (guest, epoch) => received(succeeded({ guest, epoch })),
      finished: context.completion((outcome) => ({
        type: 'destinationFinished',
        migrationId,
        outcome,
      })),
    });
    this.#sessions.set(migrationId, {
      peer: from,
      side: 'destination',
      guestName: terms?.guestName ?? restored?.guestName ?? '',
      ref: this.#watched(migrationId, spawned, context),
      done: null,
    });
  }

  /** The source's word on how it went; the session itself ends by itself. */
  sourceFinished(
    migrationId: string,
    outcome: Outcome<SourceSessionResult>,
    context: NodeContext,
  ): void {
    const session = this.#sessions.get(migrationId);
    if (!outcome.ok || session === undefined) return;
    const { result, receipt } = outcome.value;
    const managed = this.#guests.get(session.guestName);
    if (managed?.migrationId === migrationId) {
      if (result.type === 'moved') this.#guests.forget(session.guestName);
      else this.#guests.stayed(session.guestName);
    }
    const { done } = session;
    if (done === null) return;
    context.effect(() => {
      if (receipt !== null) done(succeeded(receipt));
      else if (result.type === 'stayed') done(failed(result.error));
    });
  }

  ended(migrationId: string): void {
    this.#sessions.delete(migrationId);
    this.#options.view.complete(migrationId);
  }

  #watched<S, M>(
    migrationId: string,
    options: SpawnOptions<S, M>,
    context: NodeContext,
  ): ActorRef<M> {
    const ref = context.spawn(options);
    context.watch(ref, () => ({ type: 'sessionEnded', migrationId }));
    return ref;
  }

  /** The side that sends is the one that is limited. */
  #publish(status: SessionStatus, to: string | null): void {
    const { view } = this.#options;
    const maxBandwidth = to === null ? 0 : this.#limitTo(to);
    view.publish({ ...status, maxBandwidth });
  }

  #limitTo(peer: string): number {
    return this.#options.view.bandwidth.get(peer) ?? 0;
  }

  #log(migrationId: string): SessionLog {
    return (what, reason) => this.#options.log({ migrationId, what }, reason);
  }
}
