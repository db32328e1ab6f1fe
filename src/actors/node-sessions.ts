/** The migrations that touch this host: one session actor each, watched until it ended. */
import type { dwcp } from '#wire';
import type { MigrationReceipt } from '../node.ts';
import type { Guest, Hypervisor } from '../ports/hypervisor.ts';
import type { TransferProfile } from '../ports/transfer-profile.ts';
import { type DestinationBeginning, nameOf } from '../protocols/migration/destination.ts';
import type { LadderOptions } from '../protocols/migration/ladder.ts';
import type { MigrationTerms } from '../protocols/migration/types.ts';
import { type Completion, failed, type Outcome, succeeded } from '../util/errors.ts';
import { destinationSession } from './migration-destination.ts';
import type { LinkNews, SessionCommand, SessionParts, SessionStatus } from './migration-shell.ts';
import { type SourceSessionResult, sourceSession } from './migration-source.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { NodeContext } from './node-messages.ts';
import type { NodeActorOptions } from './node-options.ts';
import type { ActorRef, SpawnOptions } from './system.ts';

export interface Session {
  readonly migrationId: string;
  readonly peer: string;
  readonly side: 'source' | 'destination';
  readonly guestName: string;
  readonly ref: ActorRef<SessionCommand>;
  /** A source whose rounds an earlier process began. */
  readonly isResumed: boolean;
  readonly done: Completion<MigrationReceipt> | null;
}

export interface SourceSpec {
  readonly terms: MigrationTerms;
  readonly to: string;
  readonly guest: Guest | null;
  readonly reference: Guest['reference'];
  readonly profile: TransferProfile;
  readonly isRestored: boolean;
  readonly isPostcopy?: boolean;
  readonly isResumed: boolean;
  readonly ladder?: Omit<LadderOptions, 'maxDowntimeMs'>;
  readonly done: Completion<MigrationReceipt> | null;
}

export interface DestinationSpec {
  readonly migrationId: string;
  readonly from: string;
  readonly begin: DestinationBeginning;
  readonly arrived: Guest | null;
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

  /** Its guest is on the way here. */
  isReceiving(guestName: string): boolean {
    return [...this.#sessions.values()].some(
      (session) => session.side === 'destination' && session.guestName === guestName,
    );
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

  /** What was applied concerns every session with that guest. */
  tellAbout(guestName: string, command: SessionCommand & { type: 'applied' }): void {
    for (const session of this.#sessions.values()) {
      if (session.guestName === guestName) session.ref.tell(command);
    }
  }

  tell(migrationId: string, envelope: dwcp.IEnvelope): void {
    const news: LinkNews = { type: 'envelope', envelope };
    this.#sessions.get(migrationId)?.ref.tell({ type: 'news', news });
  }

  spawnSource(spec: SourceSpec, context: NodeContext): void {
    const { migrationId, guestName } = spec.terms;
    const managed = this.#guests.get(guestName);
    if (managed !== undefined && spec.guest !== null) managed.migrationId = migrationId;
    const { id } = this.#options;
    const spawned = sourceSession(`migration-${migrationId}`, {
      ...spec,
      from: id,
      link: this.#links.get(spec.to),
      maxBandwidth: () => this.#limitTo(spec.to),
      ...this.#parts(migrationId, context),
      publish: (status) => this.#publish(status, spec.to),
      finished: context.completion((outcome) => ({ type: 'sourceFinished', migrationId, outcome })),
    });
    this.#sessions.set(migrationId, {
      migrationId,
      peer: spec.to,
      side: 'source',
      guestName,
      ref: this.#watched(migrationId, spawned, context),
      isResumed: spec.isResumed,
      done: spec.done,
    });
  }

  spawnDestination(spec: DestinationSpec, context: NodeContext): void {
    const { migrationId, from, begin } = spec;
    const { id, hypervisors } = this.#options;
    const kind = begin.type === 'asked' ? begin.terms.guestKind : begin.record.reference.kind;
    const { guestName } = nameOf(begin);
    const hypervisor: Hypervisor | null = hypervisors.get(kind) ?? null;
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
      ...this.#parts(migrationId, context),
      publish: (status) => this.#publish(status, null),
      received: (guest, epoch) => received(succeeded({ guest, epoch })),
      finished: context.completion((outcome) => ({
        type: 'destinationFinished',
        migrationId,
        outcome,
      })),
    });
    this.#sessions.set(migrationId, {
      migrationId,
      peer: from,
      side: 'destination',
      guestName,
      ref: this.#watched(migrationId, spawned, context),
      isResumed: false,
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
      if (result.type === 'stayed') this.#guests.stayed(session.guestName, context);
      else this.#guests.forget(session.guestName);
    }
    const { done } = session;
    if (done === null) return;
    context.effect(() => {
      if (receipt !== null) done(succeeded(receipt));
      else if (result.type !== 'moved') done(failed(result.error));
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

  #parts(migrationId: string, { self }: NodeContext): SessionParts {
    const { storage, ownership, log } = this.#options;
    return {
      ...{ storage, ownership },
      insist: (command) => void self.tell({ type: 'insist', command }),
      log: (what, reason) => log({ migrationId, what }, reason),
    };
  }
}
