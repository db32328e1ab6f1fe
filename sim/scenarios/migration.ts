/** Depth `migration`: whole agents, two VMs that are moved around by operators, faults of every model. */

import type { NodeMessage } from '../../src/actors/node.ts';
import type { ActorRef } from '../../src/actors/system.ts';
import type { ClaimReceipt, MigrationReceipt } from '../../src/node.ts';
import type { GuestKind } from '../../src/ports/hypervisor.ts';
import type { Outcome } from '../../src/util/errors.ts';
import { type AgentOptions, SimAgents } from '../agents/agents.ts';
import { checkers } from '../checkers/checkers.ts';
import { GuestWrites } from '../checkers/guest-writes.ts';
import { OneRunner } from '../checkers/one-runner.ts';
import { lostVms, type SettledView, unsettled } from '../checkers/settled.ts';
import type { GuestProcess } from '../hypervisor/guest-process.ts';
import type { ClientCall } from '../world/clients.ts';
import type { LabelledStream } from '../world/decisions.ts';
import type { Fault, FaultKind } from '../world/fault-plan.ts';
import type { SimHost } from '../world/host.ts';
import type { Run, Scenario } from '../world/scenario.ts';
import type { Checker } from '../world/violation.ts';
import type { World } from '../world/world.ts';

const SLOTS: readonly {
  readonly name: string;
  readonly kind: GuestKind;
  readonly pages: number;
}[] = [
  { name: 'vm-m', kind: 'memory', pages: 64 },
  { name: 'vm-q', kind: 'qemu', pages: 64 },
];
const HOSTS = [3, 3, 3, 4, 5];
/** As many for each of 3, 4 and 5 hosts. */
const TARGETS = 60;
const MODELS: readonly (readonly FaultKind[])[] = [
  ['partition', 'clog', 'loss', 'slow'],
  ['reset', 'damage'],
  ['crash', 'pause'],
  ['clock'],
  ['disk-stall', 'disk-full', 'disk-fsync-error'],
  ['guest-kill'],
  ['power-loss'],
];
/** Mostly left alone, so that links follow their ways. */
const POLICIES = ['auto', 'auto', 'internet', 'auto', 'hybrid', 'datacenter', 'auto'] as const;
const LAUNCH_AT_US = 300_000;
const RESTART_AFTER_US = 500_000;
/** A start waits so long for a majority. */
const REPLACE_EVERY_US = 12_000_000;
const CLAIM_EVERY_US = 5_000_000;
const SETTLED_FOR_US = 2_000_000;
/** Bytes per second of every few moves, until that is lifted. */
const SLOW = 60_000;
const SLOW_EVERY = 3;
const SLOW_US = 1_000_000;
const INTERRUPTED_US = 700_000;
/** After healing whoever still moves a VM must have come to an end by then. */
const MOVES_END_US = 8_000_000;

export interface MigrationInput {
  readonly op: 'migrate' | 'cancel' | 'look' | 'limit' | 'stop' | 'mode';
  readonly slot: number;
  readonly to: number;
  readonly verify: 'after' | 'strict' | 'off';
  readonly maxDowntimeMs: number;
}

/** What is left of a scenario between its hooks: one per world. */
class MigrationRun {
  readonly agents: SimAgents;
  readonly oneRunner: OneRunner;
  readonly guestWrites: GuestWrites;
  /** The names of the VMs of now, by slot. */
  readonly vms: string[] = SLOTS.map(({ name }) => name);
  readonly #world: World;
  #generation = 1;
  #settledSinceUs: number | null = null;
  #healedUs: number | null = null;
  #isLaunched = false;
  /** When each slot was last given a new VM. */
  readonly #replacedUs: number[] = SLOTS.map(() => 0);

  constructor(world: World, options: Partial<AgentOptions>) {
    this.#world = world;
    this.agents = new SimAgents(world, options);
    this.oneRunner = new OneRunner(this.agents.log);
    this.guestWrites = new GuestWrites(this.agents.log);
    world.faultHandlers.set('reset', (fault) => this.#reset(fault));
    world.faultHandlers.set('guest-kill', (fault) => this.#killGuest(fault));
    world.faultHandlers.set('power-loss', (fault) => this.#losePower(fault));
  }

  boot(host: SimHost): void {
    this.agents.boot(host);
    if (this.#isLaunched) return;
    this.#isLaunched = true;
    const { world } = host;
    world.schedule(world.nowUs + LAUNCH_AT_US, 'launch', 'operator', null, () => {
      for (const slot of SLOTS.keys()) this.#launch(slot, world.hostAt(slot));
    });
  }

  view(): SettledView {
    return {
      log: this.agents.log,
      copies: (vm) => this.agents.processesOf(vm),
      isManaged: (host, vm) => {
        const node = this.agents.node(this.#world.hostNamed(host));
        const status = node?.view.guests.get(vm);
        return status?.state === 'running' && status.migrationId === null;
      },
    };
  }

  /** Every VM in its one place, for a while. */
  progressed(): boolean {
    const { nowUs } = this.#world;
    if (this.#healedUs === null) this.#healed();
    if (unsettled(this.view()) !== null) {
      this.#settledSinceUs = null;
      return false;
    }
    this.#settledSinceUs ??= nowUs;
    return nowUs - this.#settledSinceUs >= SETTLED_FOR_US;
  }

  /** An agent whose disk failed is started again, as its errors ask for. */
  #healed(): void {
    const { nowUs } = this.#world;
    this.#healedUs = nowUs;
    this.#world.schedule(nowUs + RESTART_AFTER_US, 'restart', 'operator', null, () => {
      for (const host of this.#world.hosts) {
        if (this.agents.hurt.has(host)) this.agents.restart(host);
      }
    });
    this.#claimLater();
  }

  /** What only an operator can decide: the owner's copy was killed, the one it came from is still there. */
  #claimLater(): void {
    const world = this.#world;
    world.schedule(world.nowUs + CLAIM_EVERY_US, 'claim', 'operator', null, () => {
      for (const [vm, { lostBecause, last }] of this.agents.log.vms) {
        const [copy, ...others] = this.agents.processesOf(vm);
        if (lostBecause === null || copy === undefined || others.length > 0) continue;
        // Whoever claims an older copy throws away what the newer one did.
        if (copy !== last) continue;
        const node = this.agents.node(world.hostNamed(copy.host));
        if (node?.view.guests.get(vm)?.state !== 'outcomeUnknown') continue;
        world.sometimes('an operator claimed a VM');
        node.actor.tell({ type: 'claim', guestName: vm, operator: 'ada', done: () => {} });
      }
      this.#claimLater();
    });
  }

  get mayBegin(): boolean {
    return this.#healedUs === null || this.#world.nowUs - this.#healedUs < MOVES_END_US;
  }

  // ---- what operators ask -------------------------------------------------------------------------

  perform(input: MigrationInput, id: number, done: (output: unknown) => void): void {
    const vm = this.vms[input.slot] as string;
    const host = this.#hostOf(vm);
    const node = host === null ? null : this.agents.node(host);
    if (host === null || node === null) {
      if (this.#isGone(vm) && this.mayBegin) this.#replace(input.slot, input.to);
      return done('nobody has it');
    }
    const answer = (outcome: Outcome<unknown>): void =>
      done(outcome.ok ? 'ok' : outcome.error.code);
    const { migrationId } = node.view.guests.get(vm) ?? { migrationId: null };
    switch (input.op) {
      case 'migrate': {
        const to = this.#world.hostAt(input.to).name;
        if (to === host.name || !this.mayBegin) return done('skipped');
        const transferId = id;
        const { maxDowntimeMs } = input;
        const verify = input.verify === 'after' && vm.startsWith('vm-q') ? 'strict' : input.verify;
        const isSlow = id % SLOW_EVERY === 0;
        if (isSlow) {
          this.#liftLater(vm, `m${id}`, SLOW_US + (id % 7) * 500_000);
          this.#interruptLater(host, this.#world.hostAt(input.to), id);
        }
        node.actor.tell({
          ...{ type: 'migrate', guestName: vm, migrationId: `m${id}`, transferId },
          options: { to, verify, maxDowntimeMs, ...(isSlow ? { maxBandwidth: SLOW } : {}) },
          done: (outcome: Outcome<MigrationReceipt>) => {
            this.#moved(outcome);
            answer(outcome);
          },
        });
        return;
      }
      case 'cancel':
        if (migrationId === null) return done('nothing to cancel');
        node.actor.tell({ type: 'cancel', migrationId, done: answer });
        return;
      case 'limit':
        if (migrationId === null) return done('nothing to limit');
        node.actor.tell({
          ...{ type: 'setMigrationBandwidth', migrationId },
          ...{ bytesPerSec: 1_000_000 * (1 + (input.to % 3)), done: answer },
        });
        return;
      case 'mode':
        return this.#setMode(node, host, input, answer);
      case 'stop':
        this.#end(vm, 'its guest ended');
        return done('ended');
      case 'look':
        return done(node.view.guests.get(vm)?.state ?? 'unknown');
    }
  }

  /** Some moves take seconds, so that faults meet them in their rounds. */
  #liftLater(vm: string, migrationId: string, afterUs: number): void {
    const world = this.#world;
    world.schedule(world.nowUs + afterUs, 'lift', 'operator', null, () => {
      const host = this.#hostOf(vm);
      const node = host === null ? null : this.agents.node(host);
      node?.actor.tell({
        ...{ type: 'setMigrationBandwidth', migrationId, bytesPerSec: 0, done: () => {} },
      });
    });
  }

  /** Faults of the plan seldom meet a move in its rounds: these do, while there are faults at all. */
  #interruptLater(from: SimHost, to: SimHost, id: number): void {
    const world = this.#world;
    world.schedule(world.nowUs + INTERRUPTED_US, 'interrupt', 'operator', null, () => {
      if (this.#healedUs !== null) return;
      const kind = (id / SLOW_EVERY) % 4;
      if (kind === 0) this.agents.tcp.reset(from, to, [from, to]);
      if (kind === 1 && from.up) this.agents.restart(from);
      if (kind === 2 && to.up) this.agents.restart(to);
    });
  }

  /** An operator's word on the link from where the VM is. */
  #setMode(
    { actor }: { readonly actor: ActorRef<NodeMessage> },
    host: SimHost,
    input: MigrationInput,
    done: (outcome: Outcome<void>) => void,
  ): void {
    const others = this.#world.hosts.filter((other) => other !== host);
    const peer = others[input.to % others.length]?.name ?? '';
    const policy = POLICIES[Math.floor(input.to / 8) % POLICIES.length] ?? 'auto';
    actor.tell({ type: 'setLinkMode', peer, policy, done });
  }

  #moved(outcome: Outcome<MigrationReceipt>): void {
    this.#world.sometimes('a migration committed', outcome.ok);
    this.#world.sometimes('a move went on after a cut', outcome.ok && outcome.value.cuts > 0);
    const regained = outcome.ok && outcome.value.restarts > 0;
    this.#world.sometimes('a move went on after an agent died', regained);
    this.#world.sometimes('memory was compared', outcome.ok && outcome.value.verified === true);
    if (outcome.ok && outcome.value.differentPages > 0) {
      this.#world.violate('verification', `${outcome.value.guest} was moved and differs`);
    }
    const code = outcome.ok ? null : outcome.error.code;
    this.#world.sometimes('a migration was cancelled', code === 'ERR_DWCP_CANCELLED');
    this.#world.sometimes('a migration lost its peer', code === 'ERR_DWCP_PEER_UNREACHABLE');
  }

  #hostOf(vm: string): SimHost | null {
    const { hosts } = this.#world;
    return hosts.find((host) => this.agents.node(host)?.view.guests.has(vm) === true) ?? null;
  }

  /** No process of it is left, and nobody thinks there is. */
  #isGone(vm: string): boolean {
    return this.agents.processesOf(vm).length === 0 && this.agents.log.vms.has(vm);
  }

  #launch(slot: number, host: SimHost, epoch: number = 1): void {
    const { kind, pages: pageCount } = SLOTS[slot] as (typeof SLOTS)[number];
    if (this.agents.node(host) === null) return;
    this.agents.launch(host, { kind, vm: this.vms[slot] as string, pageCount, epoch });
  }

  #replace(slot: number, to: number): void {
    const { name } = SLOTS[slot] as (typeof SLOTS)[number];
    const host = this.#world.hostAt(to);
    const { nowUs } = this.#world;
    const isTooSoon = nowUs - (this.#replacedUs[slot] ?? 0) < REPLACE_EVERY_US;
    if (isTooSoon || this.agents.node(host) === null) return;
    this.#replacedUs[slot] = nowUs;
    if (this.#claimAndStart(slot, host)) return;
    this.vms[slot] = `${name}.${this.#generation}`;
    this.#generation += 1;
    this.#launch(slot, host);
  }

  /** Its machine lost it: an operator takes the VM for another one and starts it there from nothing. */
  #claimAndStart(slot: number, host: SimHost): boolean {
    const vm = this.vms[slot] as string;
    const node = this.agents.node(host);
    const owner = node?.ownership.get(vm)?.owner ?? null;
    if (node === null || owner === null || owner === host.name) return false;
    const done = (outcome: Outcome<ClaimReceipt>): void => {
      if (!outcome.ok || outcome.value.resumed || !this.#isGone(vm)) return;
      this.#world.sometimes('a VM was started again by another owner');
      this.agents.log.beginsAnew(vm);
      this.#launch(slot, host, outcome.value.epoch);
    };
    node.actor.tell({ type: 'claim', guestName: vm, operator: 'ada', done });
    return true;
  }

  #end(vm: string, why: string): void {
    for (const process of this.agents.processesOf(vm)) {
      if (!process.isExecuting) continue;
      this.agents.log.vm(vm).lostBecause = why;
      process.kill();
    }
  }

  // ---- faults -------------------------------------------------------------------------------------

  #reset(fault: Fault): boolean {
    if (fault.kind !== 'reset') return false;
    const from = this.#world.hostAt(fault.from);
    const to = this.#world.hostAt(fault.to);
    if (from === to) return false;
    const told = { both: [from, to], from: [from], to: [to] }[fault.told];
    this.agents.tcp.reset(from, to, told);
    return true;
  }

  #killGuest(fault: Fault): boolean {
    if (fault.kind !== 'guest-kill') return false;
    const host = this.#world.hostAt(fault.host);
    const alive = [...this.agents.guests(host).processes.values()].filter(({ isAlive }) => isAlive);
    if (alive.length === 0) return false;
    const process = alive[host.random('guest-kill').below(alive.length)];
    if (process === undefined) return false;
    this.#kill(process);
    return true;
  }

  #losePower(fault: Fault): boolean {
    if (fault.kind !== 'power-loss') return false;
    for (const process of this.agents.guests(this.#world.hostAt(fault.host)).processes.values()) {
      if (process.isAlive) this.#kill(process);
    }
    return true;
  }

  #kill(process: GuestProcess): void {
    const history = this.agents.log.vm(process.vm);
    if (process.instance >= (history.last?.instance ?? 0)) {
      history.lostBecause = `a fault killed its process on ${process.host}`;
    }
    process.kill();
  }
}

export function migrationScenario(
  change: Partial<AgentOptions> & { readonly name?: string } = {},
): Scenario<MigrationInput> {
  const runs = new WeakMap<World, MigrationRun>();
  const runOf = (world: World): MigrationRun => {
    const known = runs.get(world);
    if (known !== undefined) return known;
    const run = new MigrationRun(world, change);
    runs.set(world, run);
    return run;
  };
  const rule = (
    name: string,
    look: (run: MigrationRun) => string | null,
  ): Checker<Run<MigrationInput>> => checkers.invariant(name, ({ world }) => look(runOf(world)));
  return {
    name: change.name ?? 'migration',
    depth: 'whole agents',
    describe:
      'whole agents: links, streams, guests of both kinds moved around, and who may run them',
    hosts: 3,
    boot: (host) => runOf(host.world).boot(host),
    clients: {
      next: nextInput,
      perform: (node: SimHost, { id, input }: ClientCall<MigrationInput>, done) => {
        runOf(node.world).perform(input, id, done);
      },
    },
    workload: { clients: 3, timeoutUs: 4_000_000 },
    vary: (random) => ({
      hosts: HOSTS[random.below(HOSTS.length)] as number,
      workload: { clients: random.between(3, 5), operations: random.between(1_000, 1_300) },
    }),
    faults: MODELS.flat(),
    models: MODELS,
    faultyHostsMax: 3,
    checkers: [
      rule('one-runner', (run) => run.oneRunner.look()?.message ?? null),
      rule('guest-writes', (run) => run.guestWrites.look()?.message ?? null),
      rule('ledger', (run) => run.agents.ledger.finding),
      rule('landings', (run) => run.agents.landings.look()?.message ?? null),
      rule('nonces', (run) => run.agents.nonces.look()?.message ?? null),
      rule('mode-changes', (run) => run.agents.modeChanges.look()?.message ?? null),
      checkers.ownership(({ world }) => runOf(world).agents.log.intervals),
    ],
    progressed: ({ world }) => runOf(world).progressed(),
    unrecoverable: ({ world }) => {
      const view = runOf(world).view();
      const stuck = unsettled(view);
      if (stuck !== null) world.violate('progress', `stuck: ${stuck}`);
      return stuck === null ? lostVms(view).join('; ') : null;
    },
    finalState: ({ world }) => runOf(world).agents.log.intervals,
    probes: [
      ...['a migration committed', 'a migration was cancelled', 'memory was compared'],
      ...['the log aborted a migration', 'an agent restarted with a fence'],
      ...['an agent restarted with an arrival', 'a QEMU resumed its guest by itself'],
      ...['a VM was started again by another owner', 'a page was held after a crash'],
      ...['a move went on after a cut', 'a move went on after an agent died'],
      ...['a link switched its mode while pages moved', 'a page was missing after a crash'],
      ...['a page went as a delta', 'a delta lacked its base', 'a page went by its content'],
      ...['the cache had lost a content', 'the cache found a content rotten'],
      ...['a refused page was sent whole', 'a link got the keys of a later session'],
      ...['a chunk went out again as it was', 'a chunk was sealed anew', 'a key followed another'],
      'a replayed frame ended its stream',
    ],
  };
}

function nextInput(random: LabelledStream): MigrationInput {
  const draw = random.below(100);
  const op =
    draw < 30
      ? 'migrate'
      : draw < 36
        ? 'cancel'
        : draw < 40
          ? 'limit'
          : draw < 42
            ? 'mode'
            : draw < 43
              ? 'stop'
              : 'look';
  return {
    op,
    slot: random.below(SLOTS.length),
    to: random.below(TARGETS),
    verify: (['after', 'strict', 'off'] as const)[random.below(3)] ?? 'off',
    maxDowntimeMs: [20, 100, 300][random.below(3)] ?? 300,
  };
}
