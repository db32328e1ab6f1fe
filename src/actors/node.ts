/** The node's actor: its guests, its links, and a session for every migration that touches it. */
import type { dwcp } from '#wire';
import type { MigrateOptions, MigrationReceipt, MigrationStatus } from '../node.ts';
import type { Guest, Hypervisor, WorkloadReport } from '../ports/hypervisor.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type { DestinationResult } from '../protocols/migration/destination.ts';
import type { DecisionRecord, MigrationTerms } from '../protocols/migration/types.ts';
import { unreachable } from '../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import type { LinkReport } from './messages.ts';
import { destinationSession } from './migration-destination.ts';
import { decodeDecision, encodeRecordValue } from './migration-records.ts';
import type { SessionCommand, SessionLink, SessionLog } from './migration-shell.ts';
import { type SourceSessionResult, sourceSession } from './migration-source.ts';
import { decodeMessage, encodeMessage, migrationIdOf } from './migration-wire.ts';
import type { Hypervisors, Recovery } from './node-recovery.ts';
import type { NodeView } from './node-view.ts';
import type { ActorContext, ActorRef, SpawnOptions } from './system.ts';

export interface NodeActorOptions {
  readonly id: string;
  readonly hypervisors: Hypervisors;
  readonly storage: Storage;
  readonly recovery: Recovery;
  readonly maxConcurrentMigrations: number;
  readonly view: NodeView;
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}

export interface MigrateCommand {
  readonly type: 'migrate';
  readonly guestName: string;
  readonly migrationId: string;
  readonly transferId: number;
  readonly options: MigrateOptions;
  readonly done: Completion<MigrationReceipt>;
}

export type NodeMessage =
  | LinkReport
  | MigrateCommand
  | { readonly type: 'adopt'; readonly guest: Guest; readonly done: Completion<string> }
  | { readonly type: 'cancel'; readonly migrationId: string; readonly done: Completion<void> }
  | {
      readonly type: 'claim';
      readonly guestName: string;
      readonly operator: string;
      readonly done: Completion<void>;
    }
  | { readonly type: 'setMaxBandwidth'; readonly peer: string; readonly bytesPerSec: number }
  | {
      readonly type: 'received';
      readonly guest: Guest;
      readonly epoch: number;
      readonly migrationId: string;
    }
  | { readonly type: 'guestExited'; readonly guest: Guest }
  | {
      readonly type: 'observed';
      readonly guest: Guest;
      readonly workload: WorkloadReport | null;
      readonly state: 'running' | 'paused' | 'fenced';
    }
  | { readonly type: 'poll' }
  | {
      readonly type: 'looked';
      readonly migrationId: string;
      readonly peer: string;
      readonly envelope: dwcp.IEnvelope;
      readonly outcome: Outcome<readonly StoredRecord[]>;
    }
  | {
      readonly type: 'sourceFinished';
      readonly migrationId: string;
      readonly outcome: Outcome<SourceSessionResult>;
    }
  | {
      readonly type: 'destinationFinished';
      readonly migrationId: string;
      readonly outcome: Outcome<DestinationResult>;
    }
  | { readonly type: 'sessionEnded'; readonly migrationId: string };

interface ManagedGuest {
  readonly guest: Guest;
  readonly epoch: number;
  migrationId: string | null;
}

interface Session {
  readonly peer: string;
  readonly side: 'source' | 'destination';
  readonly guestName: string;
  readonly ref: ActorRef<SessionCommand>;
  readonly done: Completion<MigrationReceipt> | null;
}

const POLL_INTERVAL_US = 200_000;
/** Messages to the node: link reports, commands, and a few per session. */
const NODE_MAILBOX_LIMIT = 16_384;
const DEFAULT_MAX_DOWNTIME_MS = 300;

export function nodeActor(options: NodeActorOptions): SpawnOptions<NodeState, NodeMessage> {
  return {
    name: 'node',
    mailboxLimit: NODE_MAILBOX_LIMIT,
    initialState: (context) => new NodeState(options, context),
    behavior: (state, message, context) => {
      state.receive(message, context);
      return state;
    },
    onStop: (state) => state.detach(),
  };
}

type Context = ActorContext<NodeMessage>;

export class NodeState {
  readonly #options: NodeActorOptions;
  readonly #guests = new Map<string, ManagedGuest>();
  readonly #links = new Map<string, SessionLink>();
  readonly #sessions = new Map<string, Session>();
  /** Migrations whose record is being read; a repeated question waits for the first. */
  readonly #lookups = new Set<string>();

  constructor(options: NodeActorOptions, context: Context) {
    this.#options = options;
    const { guests, fences, commits, faults } = options.recovery;
    for (const { guest, epoch } of guests) this.#manage(guest, epoch, context);
    for (const error of faults) this.#fault(error);
    for (const { record, claimedBy, guest } of fences) {
      const { migrationId, guestName, epoch, reference, to } = record;
      const terms = { ...UNKNOWN_TERMS, migrationId, guestName, epoch, guestKind: reference.kind };
      this.#spawnSource(
        terms,
        { to, guest, reference, restored: { claimedBy }, maxBandwidth: null, done: null },
        context,
      );
    }
    for (const record of commits) {
      this.#spawnDestination(record.migrationId, record.from, null, record, false, context);
    }
    context.setTimer('poll', context.nowUs(), { type: 'poll' });
  }

  receive(message: NodeMessage, context: Context): void {
    switch (message.type) {
      case 'linkUp':
        return this.#linkUp(message);
      case 'linkDown':
        return this.#linkDown(message.peer, message.error);
      case 'envelope':
        return this.#route(message.peer, message.envelope, context);
      case 'adopt':
        return this.#adopt(message.guest, message.done, context);
      case 'migrate':
        return this.#migrate(message, context);
      case 'cancel':
        return this.#cancel(message.migrationId, message.done, context);
      case 'claim':
        return this.#claim(message.guestName, message.operator, message.done, context);
      case 'setMaxBandwidth':
        this.#links
          .get(message.peer)
          ?.link.tell({ type: 'setMaxBandwidth', bytesPerSec: message.bytesPerSec });
        return;
      case 'received':
        this.#manage(message.guest, message.epoch, context);
        return;
      case 'guestExited':
        return this.#guestExited(message.guest);
      case 'poll':
        return this.#poll(context);
      case 'observed':
        return this.#observed(message.guest, message.state, message.workload);
      case 'looked':
        return this.#looked(message, context);
      case 'sourceFinished':
        return this.#sourceFinished(message.migrationId, message.outcome, context);
      case 'destinationFinished':
        return;
      case 'sessionEnded':
        return this.#sessionEnded(message.migrationId);
      default:
        return unreachable(message);
    }
  }

  /** Guests outlive their agent. */
  detach(): void {
    for (const { guest } of this.#guests.values()) guest.detach();
  }

  // ---- guests -----------------------------------------------------------------------------------

  #adopt(guest: Guest, done: Completion<string>, context: Context): void {
    const { name } = guest.reference;
    if (this.#guests.has(name)) {
      const error = new DwcpError('ERR_DWCP_GUEST_STATE', `"${name}" is already managed here`);
      return context.effect(() => done(failed(error)));
    }
    this.#manage(guest, 1, context);
    const value = encodeRecordValue({
      kind: 'guest',
      value: { reference: guest.reference, epoch: 1 },
    });
    context.effect(() =>
      this.#options.storage.put(`guest/${name}`, value, (outcome) =>
        done(outcome.ok ? succeeded(name) : failed(outcome.error)),
      ),
    );
  }

  #manage(guest: Guest, epoch: number, context: Context): void {
    const { name } = guest.reference;
    this.#guests.set(name, { guest, epoch, migrationId: null });
    const exited = context.listener<null>(() => ({ type: 'guestExited', guest }));
    context.effect(() => guest.onExit(() => void exited(null)));
    this.#observed(guest, 'running', null);
    this.#look(guest, context);
  }

  #guestExited(guest: Guest): void {
    const { name } = guest.reference;
    const managed = this.#guests.get(name);
    if (managed?.guest !== guest) return;
    this.#options.view.guests.delete(name);
    if (managed.migrationId !== null) return;
    this.#guests.delete(name);
    this.#fault(new DwcpError('ERR_DWCP_GUEST_FAILED', `the process of "${name}" ended`));
    this.#options.storage.remove(`guest/${name}`, () => {});
  }

  #poll(context: Context): void {
    for (const { guest } of this.#guests.values()) this.#look(guest, context);
    context.setTimer('poll', context.nowUs() + POLL_INTERVAL_US, { type: 'poll' });
  }

  #look(guest: Guest, context: Context): void {
    const observed = context.listener<{
      state: 'running' | 'paused' | 'fenced';
      workload: WorkloadReport | null;
    }>((seen) => ({ type: 'observed', guest, ...seen }));
    context.effect(() =>
      guest.state((state) => {
        if (!state.ok) return;
        guest.workload((workload) => {
          observed({ state: state.value, workload: workload.ok ? workload.value : null });
        });
      }),
    );
  }

  #observed(
    guest: Guest,
    state: 'running' | 'paused' | 'fenced',
    workload: WorkloadReport | null,
  ): void {
    const { name, kind, pid } = guest.reference;
    const managed = this.#guests.get(name);
    if (managed?.guest !== guest) return;
    const { view } = this.#options;
    const migration =
      managed.migrationId === null ? null : view.migrations.get(managed.migrationId);
    view.guests.set(name, {
      name,
      kind,
      pid,
      state: migration?.phase === 'outcomeUnknown' ? 'outcomeUnknown' : state,
      memoryBytes: guest.description.memoryBytes,
      migrationId: managed.migrationId,
      epoch: managed.epoch,
      workload: workload ?? view.guests.get(name)?.workload ?? null,
    });
  }

  // ---- links ------------------------------------------------------------------------------------

  #linkUp(report: LinkReport & { type: 'linkUp' }): void {
    const { peer, bulk, link, peerRestarted } = report;
    this.#links.set(peer, { link, bulk });
    this.#options.view.links.set(peer, bulk);
    this.#options.view.events$.next({
      type: 'peerUp',
      peer,
      detail: peerRestarted ? 'restarted' : '',
    });
    this.#tellPeersSessions(peer, {
      type: 'news',
      news: { type: 'linkUp', link: { link, bulk }, peerRestarted },
    });
  }

  #linkDown(peer: string, error: DwcpError): void {
    this.#links.delete(peer);
    this.#options.view.links.delete(peer);
    this.#options.view.events$.next({ type: 'peerDown', peer, detail: error.message });
    this.#tellPeersSessions(peer, { type: 'news', news: { type: 'linkDown', error } });
  }

  #tellPeersSessions(peer: string, command: SessionCommand): void {
    for (const session of this.#sessions.values()) {
      if (session.peer === peer) session.ref.tell(command);
    }
  }

  #route(peer: string, envelope: dwcp.IEnvelope, context: Context): void {
    const migrationId = migrationIdOf(envelope);
    if (migrationId === null) return;
    const session = this.#sessions.get(migrationId);
    if (session !== undefined) {
      // Only the two hosts of a migration have a word in it.
      if (session.peer === peer) {
        session.ref.tell({ type: 'news', news: { type: 'envelope', envelope } });
      }
      return;
    }
    if (envelope.prepareRequest) return this.#prepare(peer, migrationId, envelope, context);
    const isAboutRecord = envelope.decisionQuery ?? envelope.fenced ?? envelope.settled;
    if (!isAboutRecord || this.#lookups.has(migrationId)) return;
    this.#lookups.add(migrationId);
    const looked = context.completion<readonly StoredRecord[]>((outcome) => ({
      type: 'looked',
      migrationId,
      peer,
      envelope,
      outcome,
    }));
    context.effect(() => this.#options.storage.list(`decision/${migrationId}`, looked));
  }

  /** A source asks about a migration of an earlier process, or one that never came here. */
  #looked(message: NodeMessage & { type: 'looked' }, context: Context): void {
    const { migrationId, peer, envelope, outcome } = message;
    this.#lookups.delete(migrationId);
    if (!outcome.ok) return this.#fault(outcome.error);
    const stored = outcome.value.find((record) => record.key === `decision/${migrationId}`);
    const record = stored === undefined ? null : decodeDecision(stored);
    if (record !== null && record.from !== peer) return;
    const isRunning =
      record !== null && (this.#guests.get(record.guestName)?.epoch ?? -1) >= record.epoch;
    this.#spawnDestination(migrationId, peer, null, record, isRunning, context);
    this.#sessions
      .get(migrationId)
      ?.ref.tell({ type: 'news', news: { type: 'envelope', envelope } });
  }

  // ---- migrations -------------------------------------------------------------------------------

  #migrate(command: MigrateCommand, context: Context): void {
    const { guestName, migrationId, transferId, options, done } = command;
    const managed = this.#guests.get(guestName);
    const refusal = this.#refusal(guestName, managed, options.to);
    if (managed === undefined || refusal !== null) {
      const error = refusal ?? unknownGuest(guestName);
      return context.effect(() => done(failed(error)));
    }
    const { guest, epoch } = managed;
    const { kind, memoryBytes, pageBytes, machine, launch } = guest.description;
    const terms: MigrationTerms = {
      migrationId,
      guestName,
      guestKind: kind,
      transferId,
      epoch: epoch + 1,
      memoryBytes,
      pageBytes,
      machine,
      launchJson: JSON.stringify(launch),
      maxDowntimeMs: options.maxDowntimeMs ?? DEFAULT_MAX_DOWNTIME_MS,
      verify: options.verify ?? (kind === 'qemu' ? 'strict' : 'after'),
    };
    const maxBandwidth = options.maxBandwidth ?? null;
    if (maxBandwidth !== null) {
      this.#links
        .get(options.to)
        ?.link.tell({ type: 'setMaxBandwidth', bytesPerSec: maxBandwidth });
    }
    const { reference } = guest;
    this.#spawnSource(
      terms,
      { to: options.to, guest, reference, restored: null, maxBandwidth, done },
      context,
    );
  }

  #refusal(guestName: string, managed: ManagedGuest | undefined, to: string): DwcpError | null {
    if (managed === undefined) return unknownGuest(guestName);
    if (managed.migrationId !== null) {
      return new DwcpError(
        'ERR_DWCP_GUEST_STATE',
        `"${guestName}" is in migration ${managed.migrationId}`,
      );
    }
    if (!this.#links.has(to)) {
      return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `"${to}" is not connected`, {
        hint: `Check that the agent on ${to} runs and that the configuration of this node names it.`,
      });
    }
    return this.#isFull() ? this.#limitReached() : null;
  }

  #isFull(): boolean {
    return this.#sessions.size >= this.#options.maxConcurrentMigrations;
  }

  #limitReached(): DwcpError {
    const { id, maxConcurrentMigrations } = this.#options;
    return new DwcpError(
      'ERR_DWCP_LIMIT',
      `"${id}" is already in ${this.#sessions.size} migrations of at most ${maxConcurrentMigrations}`,
      { hint: 'Wait for one to end, or raise maxConcurrentMigrations.' },
    );
  }

  #spawnSource(
    terms: MigrationTerms,
    source: {
      readonly to: string;
      readonly guest: Guest | null;
      readonly reference: Guest['reference'];
      readonly restored: { readonly claimedBy: string | null } | null;
      readonly maxBandwidth: number | null;
      readonly done: Completion<MigrationReceipt> | null;
    },
    context: Context,
  ): void {
    const { migrationId, guestName } = terms;
    const managed = this.#guests.get(guestName);
    if (managed !== undefined) managed.migrationId = migrationId;
    const { id, storage } = this.#options;
    const spawned = sourceSession(`migration-${migrationId}`, {
      ...source,
      terms,
      from: id,
      link: this.#links.get(source.to) ?? null,
      storage,
      log: this.#sessionLog(migrationId),
      publish: (status: MigrationStatus) => this.#options.view.publish(status),
      finished: context.completion((outcome) => ({ type: 'sourceFinished', migrationId, outcome })),
    });
    this.#sessions.set(migrationId, {
      peer: source.to,
      side: 'source',
      guestName,
      ref: this.#watched(migrationId, spawned, context),
      done: source.done,
    });
  }

  #prepare(peer: string, migrationId: string, envelope: dwcp.IEnvelope, context: Context): void {
    const decoded = decodeMessage(migrationId, envelope);
    const message = decoded.ok ? decoded.value : null;
    if (message?.type !== 'prepareRequest') {
      const error = decoded.ok ? new DwcpError('ERR_DWCP_PROTOCOL', 'no request') : decoded.error;
      return this.#refuse(peer, migrationId, error, context);
    }
    const { terms } = message;
    if (this.#isFull()) return this.#refuse(peer, migrationId, this.#limitReached(), context);
    if (this.#guests.has(terms.guestName)) {
      const error = new DwcpError(
        'ERR_DWCP_GUEST_STATE',
        `"${this.#options.id}" already has a guest "${terms.guestName}"`,
      );
      return this.#refuse(peer, migrationId, error, context);
    }
    this.#spawnDestination(migrationId, peer, terms, null, false, context);
  }

  #refuse(peer: string, migrationId: string, error: DwcpError, context: Context): void {
    const link = this.#links.get(peer)?.link;
    const reply = encodeMessage(migrationId, { type: 'prepareReply', outcome: failed(error) });
    context.effect(() => void link?.tell({ type: 'send', envelope: reply }));
  }

  #spawnDestination(
    migrationId: string,
    from: string,
    terms: MigrationTerms | null,
    restored: DecisionRecord | null,
    isRunning: boolean,
    context: Context,
  ): void {
    const { id, storage, hypervisors, view } = this.#options;
    const kind = terms?.guestKind ?? restored?.reference?.kind;
    const hypervisor: Hypervisor | null =
      kind === undefined ? null : (hypervisors.get(kind) ?? null);
    const received = context.completion<{ guest: Guest; epoch: number }>((outcome) =>
      outcome.ok
        ? { type: 'received', ...outcome.value, migrationId }
        : { type: 'sessionEnded', migrationId: '' },
    );
    const spawned = destinationSession(`migration-${migrationId}`, {
      migrationId,
      from,
      to: id,
      terms,
      restored,
      isRunning,
      hypervisor,
      link: this.#links.get(from) ?? null,
      storage,
      log: this.#sessionLog(migrationId),
      publish: (status: MigrationStatus) => view.publish(status),
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

  #watched<S, M>(migrationId: string, options: SpawnOptions<S, M>, context: Context): ActorRef<M> {
    const ref = context.spawn(options);
    context.watch(ref, () => ({ type: 'sessionEnded', migrationId }));
    return ref;
  }

  #sourceFinished(
    migrationId: string,
    outcome: Outcome<SourceSessionResult>,
    context: Context,
  ): void {
    const session = this.#sessions.get(migrationId);
    const managed = session === undefined ? undefined : this.#guests.get(session.guestName);
    if (!outcome.ok || session === undefined) return;
    const { result, receipt } = outcome.value;
    if (managed?.migrationId === migrationId) {
      managed.migrationId = null;
      if (result.type === 'moved') {
        this.#guests.delete(session.guestName);
        this.#options.view.guests.delete(session.guestName);
      }
    }
    const { done } = session;
    if (done === null) return;
    context.effect(() => {
      if (receipt !== null) done(succeeded(receipt));
      else if (result.type === 'stayed') done(failed(result.error));
    });
  }

  #sessionEnded(migrationId: string): void {
    this.#sessions.delete(migrationId);
    this.#options.view.complete(migrationId);
  }

  #cancel(migrationId: string, done: Completion<void>, context: Context): void {
    const session = this.#sessions.get(migrationId);
    if (session === undefined) {
      const error = new DwcpError(
        'ERR_DWCP_MIGRATION_UNKNOWN',
        `no migration ${migrationId} runs here`,
      );
      return context.effect(() => done(failed(error)));
    }
    session.ref.tell({ type: 'cancel' });
    context.effect(() => done(succeeded(undefined)));
  }

  #claim(guestName: string, operator: string, done: Completion<void>, context: Context): void {
    const session = [...this.#sessions.values()].find(
      (candidate) => candidate.side === 'source' && candidate.guestName === guestName,
    );
    if (session === undefined) {
      const error = new DwcpError(
        'ERR_DWCP_GUEST_STATE',
        `"${guestName}" waits for no decision here`,
      );
      return context.effect(() => done(failed(error)));
    }
    session.ref.tell({ type: 'claim', operator });
    context.effect(() => done(succeeded(undefined)));
  }

  #sessionLog(migrationId: string): SessionLog {
    return (what, reason) => this.#options.log({ migrationId, what }, reason);
  }

  #fault(error: DwcpError): void {
    this.#options.log({ code: error.code, hint: error.hint }, error.message);
    this.#options.view.events$.next({ type: 'fault', error });
  }
}

/** A restored session settles ownership only: it sends no memory. */
const UNKNOWN_TERMS = {
  transferId: 0,
  memoryBytes: 4096,
  pageBytes: 4096,
  machine: {},
  launchJson: '{}',
  maxDowntimeMs: DEFAULT_MAX_DOWNTIME_MS,
  verify: 'off',
} as const;

function unknownGuest(name: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_UNKNOWN', `no guest "${name}" on this host`, {
    hint: 'See what runs here with: dwcp vm list',
  });
}
