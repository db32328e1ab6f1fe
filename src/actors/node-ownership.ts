/**
 * What the node itself says to the log, and makes of what was applied: it tells its sessions, aborts
 * migrations that nobody here moves any more, and runs no guest that is another host's.
 *
 * News may be old: a restarted node hears the whole log anew. So news alone never touches a guest; it
 * makes the node ask, and what was applied for the question decides.
 */
import type { Guest } from '../ports/hypervisor.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../protocols/ownership/types.ts';
import { DwcpError } from '../util/errors.ts';
import type { GuestTable } from './node-guests.ts';
import type { Confirmed, Insisted, NodeContext, OwnershipNews } from './node-messages.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';
import { unloggedKey } from './node-upgrade.ts';

/** The log refused to take it, which only a full one does. */
const AGAIN_US = 1_000_000;
/** Above it no move begins: each one that is given up without a majority leaves an abort behind. */
const INSISTED_MAX = 256;

export class NodeOwnership {
  readonly #options: NodeActorOptions;
  readonly #guests: GuestTable;
  readonly #sessions: SessionTable;
  /** Commands that must come to be applied, however long it takes; one of a kind for each VM. */
  readonly #insisted = new Map<string, OwnershipCommand>();
  /** Those of them that the log has not answered yet. */
  readonly #proposed = new Set<string>();
  /** Guests whose owner was asked for and not yet answered. */
  readonly #asked = new Set<Guest>();
  /** Guests that are older than the log and not in it yet. */
  readonly #unlogged: Set<string>;

  constructor(
    options: NodeActorOptions,
    guests: GuestTable,
    sessions: SessionTable,
    context: NodeContext,
  ) {
    this.#options = options;
    this.#guests = guests;
    this.#sessions = sessions;
    this.#unlogged = new Set(options.recovery.unlogged);
    const { ownership } = options;
    const heard = context.listener<Omit<OwnershipNews, 'type'>>((news) => {
      return { type: 'ownershipNews', ...news };
    });
    context.effect(() => {
      ownership.onChange((vm, now) => void heard({ vm, now }));
      for (const now of ownership.list()) heard({ vm: now.vm, now });
    });
  }

  /** Null when a move may leave an abort behind. */
  refusalToMove(): DwcpError | null {
    if (this.#insisted.size < INSISTED_MAX) return null;
    const what = `${this.#insisted.size} aborts wait for a majority of the group`;
    return new DwcpError('ERR_DWCP_NO_QUORUM', what, {
      hint: 'Bring back enough of the hosts in group.voters; what runs here goes on meanwhile.',
    });
  }

  insist(command: OwnershipCommand, context: NodeContext): void {
    if (command.type === 'begin') return;
    const subject = command.type === 'abort' ? command.migrationId : command.vm;
    const key = `${command.type} ${subject}`;
    if (this.#insisted.has(key)) return;
    this.#insisted.set(key, command);
    this.#propose(key, command, context);
  }

  insisted({ key, outcome }: Insisted, context: NodeContext): void {
    this.#proposed.delete(key);
    // A guest that ended in a migration is unregistered behind the abort.
    const isEarly = outcome.ok && !outcome.value.ok && outcome.value.code === 'migrationPrepared';
    if (outcome.ok && !isEarly) return void this.#insisted.delete(key);
    context.setTimer('insist', context.nowUs() + AGAIN_US, { type: 'insistAgain' });
  }

  /** Proposed twice, a command changes nothing more. */
  insistAgain(context: NodeContext): void {
    for (const [key, command] of this.#insisted) {
      if (!this.#proposed.has(key)) this.#propose(key, command, context);
    }
  }

  heard({ vm, now }: OwnershipNews, context: NodeContext): void {
    this.#sessions.tellAbout(vm, { type: 'applied', vm: now });
    if (now === null) return;
    const managed = this.#guests.get(vm);
    if (now.owner === this.#options.id) {
      // By a claim, say. Epochs only grow, so old news changes nothing.
      if (managed !== undefined) managed.epoch = Math.max(managed.epoch, now.epoch);
      return this.#abortForgotten(now, context);
    }
    if (managed?.migrationId === null) this.confirm(managed.guest, context);
  }

  /** Its session ended and it stayed: the log may have given it to another host meanwhile. */
  stayed(name: string, context: NodeContext): void {
    const vm = this.#options.ownership.get(name);
    if (vm !== null) this.heard({ type: 'ownershipNews', vm: name, now: vm }, context);
  }

  /** Whose is it? It goes on running as it is until this host has applied the answer. */
  confirm(guest: Guest, context: NodeContext): void {
    if (this.#asked.has(guest)) return;
    this.#asked.add(guest);
    const { id, ownership } = this.#options;
    const command = { type: 'register', vm: guest.reference.name, host: id } as const;
    const done = context.completion<OwnershipAnswer>((outcome) => {
      return { type: 'confirmed', guest, outcome };
    });
    context.effect(() => ownership.propose(command, null, done));
  }

  confirmed({ guest, outcome }: Confirmed, context: NodeContext): void {
    this.#asked.delete(guest);
    const { name } = guest.reference;
    if (this.#guests.get(name)?.guest !== guest) return;
    if (!outcome.ok) {
      const again = { type: 'confirmAgain', guest } as const;
      return context.setTimer(`confirm ${name}`, context.nowUs() + AGAIN_US, again);
    }
    const { vm } = outcome.value;
    if (vm?.owner === this.#options.id) {
      this.#guests.confirmed(name, vm.epoch, context);
      this.#logged(name, context);
      return this.#abortForgotten(vm, context);
    }
    // The log is full: nobody owns it, and it runs on.
    if (vm === null) return;
    if (this.#unlogged.has(name)) {
      return reportFault(this.#options, namesake(name, vm.owner));
    }
    const what = `"${name}" is owned by "${vm.owner}" under epoch ${vm.epoch}: its copy here is killed`;
    const hint = 'An operator gave it to that host. See who owns it with: dwcp status';
    reportFault(this.#options, new DwcpError('ERR_DWCP_NOT_OWNER', what, { hint }));
    this.#guests.disown(name, context);
  }

  #logged(name: string, context: NodeContext): void {
    if (!this.#unlogged.delete(name)) return;
    const { log, storage } = this.#options;
    log({ guest: name }, 'a guest of an earlier version is in the log of the group now');
    context.effect(() => storage.remove(unloggedKey(name), () => {}));
  }

  /** A prepared migration from here that no session moves: of an earlier process, or given up. */
  #abortForgotten({ vm, epoch, migration }: VmOwnership, context: NodeContext): void {
    if (migration === null) return;
    const { migrationId } = migration;
    if (this.#sessions.get(migrationId) !== undefined) return;
    const { id: host } = this.#options;
    const reason = 'no session of its source moves it';
    this.insist({ type: 'abort', vm, epoch, migrationId, host, reason }, context);
  }

  #propose(key: string, command: OwnershipCommand, context: NodeContext): void {
    this.#proposed.add(key);
    const done = context.completion<OwnershipAnswer>((outcome) => ({
      type: 'insisted',
      key,
      outcome,
    }));
    context.effect(() => this.#options.ownership.propose(command, null, done));
  }
}

/** It was never in the log, so it is no copy of what the other host has: both run. */
function namesake(name: string, owner: string): DwcpError {
  const what = `"${name}" runs here since before the group had a log, and "${owner}" has registered another VM of that name`;
  return new DwcpError('ERR_DWCP_NOT_OWNER', what, {
    hint: `It runs on, and cannot be moved. End it, or the one on "${owner}", and restart this agent.`,
  });
}
