/** The guests of this host: managed, watched for their end, looked at several times a second. */
import type { Guest, WorkloadReport } from '../ports/hypervisor.ts';
import type { OwnershipCommand } from '../protocols/ownership/types.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { encodeRecordValue } from './migration-records.ts';
import type { GuestNews, GuestNoted, GuestState, NodeContext } from './node-messages.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';

export interface ManagedGuest {
  readonly guest: Guest;
  /** Under which this host owns it in the log. */
  epoch: number;
  /** The migration that this host is the source of. */
  migrationId: string | null;
  isGone: boolean;
  /** That it is this host's was heard while it was in a migration: if it stays, it may stand still. */
  isUnwoken: boolean;
}

const POLL_INTERVAL_US = 200_000;

export type Insist = (command: OwnershipCommand, context: NodeContext) => void;

export class GuestTable {
  readonly #options: NodeActorOptions;
  readonly #insist: Insist;
  readonly #guests = new Map<string, ManagedGuest>();

  constructor(options: NodeActorOptions, insist: Insist) {
    this.#options = options;
    this.#insist = insist;
  }

  get(name: string): ManagedGuest | undefined {
    return this.#guests.get(name);
  }

  receive(news: GuestNews, context: NodeContext): void {
    switch (news.type) {
      case 'guestExited':
        return this.#exited(news.guest, context);
      case 'noted':
        return this.#noted(news, context);
      case 'observed':
        return this.#observed(news.guest, news.state, news.workload);
      case 'poll':
        return this.poll(context);
    }
  }

  /** The log says already that it is this host's, under `epoch`. */
  adopt(guest: Guest, epoch: number, done: Completion<string>, context: NodeContext): void {
    const { reference } = guest;
    const { name } = reference;
    if (this.#guests.has(name)) {
      const error = new DwcpError('ERR_DWCP_GUEST_STATE', `"${name}" is already managed here`);
      return context.effect(() => done(failed(error)));
    }
    this.manage(guest, epoch, context);
    const value = encodeRecordValue({ kind: 'guest', value: { reference, epoch } });
    const noted = context.completion<void>((outcome) => ({ type: 'noted', guest, outcome, done }));
    context.effect(() => this.#options.storage.put(`guest/${name}`, value, noted));
  }

  /** A guest that a restarted agent would not find again is none of ours. */
  #noted({ guest, outcome, done }: GuestNoted, context: NodeContext): void {
    const { name } = guest.reference;
    if (outcome.ok) return context.effect(() => done(succeeded(name)));
    this.forget(name);
    context.effect(() => {
      guest.detach();
      done(failed(outcome.error));
    });
  }

  manage(guest: Guest, epoch: number, context: NodeContext): void {
    const { name } = guest.reference;
    this.#guests.set(name, { guest, epoch, migrationId: null, isGone: false, isUnwoken: false });
    const exited = context.listener<null>(() => ({ type: 'guestExited', guest }));
    context.effect(() => guest.onExit(() => void exited(null)));
    this.#observed(guest, 'running', null);
    this.#look(guest, context);
  }

  /** Moved away: its process is gone, and so is its record. */
  forget(name: string): void {
    this.#guests.delete(name);
    this.#options.view.guests.delete(name);
  }

  /** Its migration ended and it stayed, unless its process died on the way. */
  stayed(name: string, context: NodeContext): void {
    const managed = this.#guests.get(name);
    if (managed === undefined) return;
    managed.migrationId = null;
    if (managed.isGone) this.#exited(managed.guest, context);
  }

  /**
   * This host has applied that it owns the guest. Without a session nothing holds it still any more: it
   * was stopped by a move that died with its agent.
   */
  confirmed(name: string, epoch: number, context: NodeContext): void {
    const managed = this.#guests.get(name);
    if (managed === undefined) return;
    managed.epoch = epoch;
    managed.isUnwoken = managed.migrationId !== null;
    if (managed.isUnwoken) return;
    const { guest } = managed;
    context.effect(() =>
      guest.state((state) => {
        if (!state.ok || state.value === 'running') return;
        guest.unfence((outcome) => {
          if (!outcome.ok) reportFault(this.#options, outcome.error);
        });
      }),
    );
  }

  /** It is another host's: its copy here must not run. */
  disown(name: string, context: NodeContext): void {
    const managed = this.#guests.get(name);
    if (managed === undefined) return;
    const { guest } = managed;
    this.forget(name);
    context.effect(() => {
      guest.kill((outcome) => {
        if (!outcome.ok) return reportFault(this.#options, outcome.error);
        this.#options.storage.remove(`guest/${name}`, () => {});
      });
    });
  }

  poll(context: NodeContext): void {
    for (const { guest } of this.#guests.values()) this.#look(guest, context);
    context.setTimer('poll', context.nowUs() + POLL_INTERVAL_US, { type: 'poll' });
  }

  /** Guests outlive their agent. */
  detach(): void {
    for (const { guest } of this.#guests.values()) guest.detach();
  }

  #exited(guest: Guest, context: NodeContext): void {
    const { name } = guest.reference;
    const managed = this.#guests.get(name);
    if (managed?.guest !== guest) return;
    this.#options.view.guests.delete(name);
    // Its session releases the guest, or finds out by itself that it is gone.
    managed.isGone = true;
    if (managed.migrationId !== null) return;
    this.#guests.delete(name);
    const what = `the process of "${name}" ended`;
    reportFault(this.#options, new DwcpError('ERR_DWCP_GUEST_FAILED', what));
    const { id: host, storage } = this.#options;
    storage.remove(`guest/${name}`, () => {});
    this.#insist({ type: 'unregister', vm: name, host, epoch: managed.epoch }, context);
  }

  #look(guest: Guest, context: NodeContext): void {
    const observed = context.listener<{
      readonly state: GuestState;
      readonly workload: WorkloadReport | null;
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

  #observed(guest: Guest, state: GuestState, workload: WorkloadReport | null): void {
    const { name, kind, pid } = guest.reference;
    const managed = this.#guests.get(name);
    if (managed?.guest !== guest) return;
    const { view } = this.#options;
    const { migrationId, epoch } = managed;
    const migration = migrationId === null ? null : view.migrations.get(migrationId);
    view.guests.set(name, {
      name,
      kind,
      pid,
      state: migration?.phase === 'outcomeUnknown' ? 'outcomeUnknown' : state,
      memoryBytes: guest.description.memoryBytes,
      migrationId,
      epoch,
      workload: workload ?? view.guests.get(name)?.workload ?? null,
    });
  }
}
