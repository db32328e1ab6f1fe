import { calmDisk, calmNetwork, type Fault, type FaultPlan } from './fault-plan.ts';
import type { SimHost } from './host.ts';
import type { Scenario } from './scenario.ts';
import type { World } from './world.ts';

/** Makes a plan happen to a world, and undoes all of it at the end. */
export class Faults {
  readonly counts: Record<string, number> = {};
  readonly #world: World;
  readonly #plan: FaultPlan;
  readonly #boot: (host: SimHost) => void;
  readonly #focus: (world: World) => number | null;
  /** How to end each fault that holds now. */
  readonly #active = new Set<() => void>();
  #healed = false;

  constructor(world: World, plan: FaultPlan, scenario: Pick<Scenario, 'boot' | 'focus'>) {
    this.#world = world;
    this.#plan = plan;
    this.#boot = scenario.boot;
    this.#focus = scenario.focus ?? (() => null);
  }

  start(): void {
    const world = this.#world;
    world.network.plan = this.#plan.network;
    for (const host of world.hosts) host.disk.plan = this.#plan.disk;
    for (const fault of this.#plan.faults) {
      world.schedule(world.nowUs + fault.atUs, 'fault', fault.kind, fault, () =>
        this.#begin(fault),
      );
    }
  }

  /** Everything works from here on: what is down starts, what is cut is joined. */
  heal(): void {
    this.#healed = true;
    this.#world.network.plan = calmNetwork;
    for (const host of this.#world.hosts) host.disk.plan = calmDisk;
    for (const end of [...this.#active]) end();
  }

  #begin(fault: Fault): void {
    const undo = this.#healed ? null : this.#apply(this.#aim(fault));
    if (undo === null) return;
    this.counts[fault.kind] = (this.counts[fault.kind] ?? 0) + 1;
    const world = this.#world;
    const end = (): void => {
      if (this.#active.delete(end)) undo();
    };
    this.#active.add(end);
    world.schedule(world.nowUs + Math.max(1, fault.forUs), 'heal', fault.kind, null, end);
  }

  #aim(fault: Fault): Fault {
    const host = fault.aimed === true ? this.#focus(this.#world) : null;
    if (host === null) return fault;
    if (fault.kind === 'partition') {
      // Whoever asks from the drawn side is cut off along with it, and believes what it says.
      const clients = fault.side.filter((node) => node >= this.#world.hosts.length);
      return { ...fault, side: [host, ...clients] };
    }
    return 'host' in fault ? { ...fault, host } : { ...fault, from: host };
  }

  /** Returns what ends it, or null when it does not apply now. */
  #apply(fault: Fault): (() => void) | null {
    const { network } = this.#world;
    switch (fault.kind) {
      case 'crash':
        return this.#crash(this.#world.hostAt(fault.host));
      case 'pause':
        return pause(this.#world.hostAt(fault.host));
      case 'partition':
        network.cut(fault.side, fault.oneWay, 1);
        return () => network.cut(fault.side, fault.oneWay, -1);
      case 'clog':
        network.clog(fault.from, fault.to, 1);
        return () => network.clog(fault.from, fault.to, -1);
      case 'loss':
        network.addLoss(fault.from, fault.to, fault.permyriad);
        return () => network.removeLoss(fault.from, fault.to, fault.permyriad);
      case 'clock': {
        const host = this.#world.hostAt(fault.host);
        host.clock.jumpWall(fault.jumpUs);
        host.clock.setDrift(fault.driftPpm);
        return () => host.clock.setDrift(0);
      }
      case 'reset':
        return this.#ofScenario(fault);
      case 'guest-kill':
        return this.#ofScenario(fault);
      case 'power-loss':
        return this.#losePower(fault, fault.host % this.#world.hosts.length);
      case 'damage':
        return network.addDamage(fault.from, fault.to, fault.permyriad);
      case 'slow':
        return network.slowDown(fault.from, fault.to, fault.bytesPerSec);
      case 'disk-misdirect':
        return this.#ofScenario(fault);
      case 'disk-bit-rot':
        if (this.#world.faultHandlers.has(fault.kind)) return this.#ofScenario(fault);
        return this.#world.hostAt(fault.host).disk.rot() ? () => {} : null;
      default:
        return breakDisk(this.#world.hostAt(fault.host), fault.kind);
    }
  }

  /** What only the scenario's own models know how to break. */
  #ofScenario(fault: Fault): (() => void) | null {
    return this.#world.faultHandlers.get(fault.kind)?.(fault) === true ? () => {} : null;
  }

  /** Nobody is told: not even what a kernel says for a process that ended gets out. */
  #losePower(fault: Fault, index: number): (() => void) | null {
    const { network } = this.#world;
    network.cut([index], false, 1);
    const restart = this.#crash(this.#world.hostAt(index));
    this.#ofScenario(fault);
    return () => {
      network.cut([index], false, -1);
      restart?.();
    };
  }

  #crash(host: SimHost): (() => void) | null {
    if (!host.up) return null;
    host.crash();
    return () => {
      if (host.up) return;
      host.restart();
      this.#boot(host);
    };
  }
}

function pause(host: SimHost): (() => void) | null {
  if (!host.up || host.paused) return null;
  const { incarnation } = host;
  host.pause();
  return () => {
    if (host.incarnation === incarnation) host.resume();
  };
}

function breakDisk(
  { disk }: SimHost,
  kind: 'disk-stall' | 'disk-full' | 'disk-fsync-error',
): () => void {
  if (kind === 'disk-stall') {
    disk.stall(1);
    return () => disk.stall(-1);
  }
  const which = kind === 'disk-full' ? 'full' : 'fsyncFails';
  disk[which] += 1;
  return () => {
    disk[which] -= 1;
  };
}
