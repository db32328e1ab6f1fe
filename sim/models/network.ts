import type { LabelledStream } from '../world/decisions.ts';
import { ANY_INCARNATION, type SimEvent } from '../world/event-queue.ts';
import { calmNetwork, type NetworkPlan } from '../world/fault-plan.ts';
import { deepFreeze } from '../world/freeze.ts';
import type { Address, SimHost } from '../world/host.ts';
import type { World } from '../world/world.ts';

/** One direction between two nodes. */
interface Link {
  readonly name: string;
  readonly stream: LabelledStream;
  /** Faults that silence it now; several may overlap. */
  blocked: number;
  clogged: number;
  /** The worst of the loss faults that hold now, in order of their start. */
  readonly losses: number[];
  /** The same for segments of connections that arrive damaged. */
  readonly damages: number[];
  /** What the link carries while faults make it slow, in bytes per second. */
  readonly rates: number[];
  /** Until when earlier segments occupy it. */
  busyUntilUs: number;
  lastArrivalUs: number;
  readonly held: (() => void)[];
  readonly lanes: Map<string, Lane>;
}

/** A link to one of the target's actors. */
interface Lane {
  readonly link: Link;
  readonly from: SimHost;
  readonly to: SimHost;
  readonly actor: string;
  /** `a>b/actor`, for traces. */
  readonly label: string;
}

/** Of a link that nobody slowed down. */
const RATE_BYTES_PER_SEC = 250_000_000;

/** Addresses kept parsed: those of servers, which recur; a client's may be new for every operation. */
const ADDRESSES_MAX = 1_024;

/**
 * Messages between hosts: late, lost, twice, out of order, cut one way, clogged. Whoever needs more sends
 * again; nothing here is a connection.
 */
export class SimNetwork {
  plan: NetworkPlan = calmNetwork;
  /** Messages that never arrived, for any reason. */
  lost = 0;
  delivered = 0;
  readonly #world: World;
  readonly #links = new Map<number, Link>();
  readonly #addresses = new Map<Address, { readonly target: SimHost; readonly name: string }>();

  constructor(world: World) {
    this.#world = world;
  }

  send(from: SimHost, to: Address, message: unknown): void {
    const { target, name } = this.#parse(to);
    if (this.#world.freezesMessages) deepFreeze(message);
    this.transmit(from, target, name, message, null);
  }

  #parse(to: Address): { readonly target: SimHost; readonly name: string } {
    const known = this.#addresses.get(to);
    if (known !== undefined) return known;
    const slash = to.indexOf('/');
    const target = this.#world.hostNamed(slash < 0 ? to : to.slice(0, slash));
    const parsed = { target, name: slash < 0 ? '' : to.slice(slash + 1) };
    if (this.#addresses.size < ADDRESSES_MAX) this.#addresses.set(to, parsed);
    return parsed;
  }

  /**
   * `actor` and `message` are what the trace shows; `arrive` is for drivers that deliver by themselves.
   */
  transmit(
    from: SimHost,
    to: SimHost,
    actor: string,
    message: unknown,
    arrive: (() => void) | null,
  ): void {
    const link = this.#link(from.index, to.index);
    const { plan } = this;
    const { stream } = link;
    if (link.blocked > 0 || stream.chance(plan.lossPermyriad) || this.#lostByFault(link)) {
      this.lost += 1;
      return;
    }
    const lane = laneOf(link, from, to, actor);
    this.#deliver(lane, message, arrive);
    if (stream.chance(plan.duplicatePermyriad)) this.#deliver(lane, message, arrive);
  }

  /** Every link out of `side`, and unless one-way into it too. */
  cut(side: readonly number[], oneWay: boolean, by: 1 | -1): void {
    const inside = new Set(side.map((node) => node % this.#world.nodes.length));
    for (const from of this.#world.nodes) {
      for (const to of this.#world.nodes) {
        const leaves = inside.has(from.index) && !inside.has(to.index);
        const enters = !inside.has(from.index) && inside.has(to.index);
        if (leaves || (enters && !oneWay)) this.#link(from.index, to.index).blocked += by;
      }
    }
  }

  clog(from: number, to: number, by: 1 | -1): void {
    const link = this.#link(from, to);
    link.clogged += by;
    if (link.clogged > 0) return;
    for (const arrive of link.held.splice(0)) arrive();
  }

  addLoss(from: number, to: number, permyriad: number): void {
    this.#link(from, to).losses.push(permyriad);
  }

  removeLoss(from: number, to: number, permyriad: number): void {
    const { losses } = this.#link(from, to);
    losses.splice(losses.indexOf(permyriad), 1);
  }

  // ---- for connections (`sim/transport/tcp.ts`), which keep order and send again by themselves ----

  /** When a segment that leaves now arrives; null when the wire loses it. */
  carry(from: SimHost, to: SimHost, bytes: number): number | null {
    const link = this.#link(from.index, to.index);
    const { stream } = link;
    const { latencyMinUs, latencyMaxUs, lossPermyriad, reorderPermyriad, reorderMaxUs } = this.plan;
    if (link.blocked > 0 || stream.chance(lossPermyriad) || this.#lostByFault(link)) {
      this.lost += 1;
      return null;
    }
    const rate = link.rates.length > 0 ? Math.min(...link.rates) : RATE_BYTES_PER_SEC;
    const beginUs = Math.max(this.#world.nowUs, link.busyUntilUs);
    link.busyUntilUs = beginUs + Math.ceil((bytes * 1e6) / rate);
    const late = stream.chance(reorderPermyriad) ? stream.between(0, reorderMaxUs) : 0;
    return link.busyUntilUs + stream.between(latencyMinUs, latencyMaxUs) + late;
  }

  isCut(from: SimHost, to: SimHost): boolean {
    return this.#link(from.index, to.index).blocked > 0;
  }

  /** True when the link is clogged now: then `go` runs once it no longer is. */
  waitsForClog(from: SimHost, to: SimHost, go: () => void): boolean {
    const link = this.#link(from.index, to.index);
    if (link.clogged === 0) return false;
    link.held.push(go);
    return true;
  }

  /** Whether the segment that arrives now was damaged on its way, past what TCP's checksum sees. */
  damages(from: SimHost, to: SimHost): boolean {
    const { damages, stream } = this.#link(from.index, to.index);
    return damages.length > 0 && stream.chance(Math.max(...damages));
  }

  addDamage(from: number, to: number, permyriad: number): () => void {
    return added(this.#link(from, to).damages, permyriad);
  }

  slowDown(from: number, to: number, bytesPerSec: number): () => void {
    return added(this.#link(from, to).rates, bytesPerSec);
  }

  #lostByFault(link: Link): boolean {
    return link.losses.length > 0 && link.stream.chance(Math.max(...link.losses));
  }

  #deliver(lane: Lane, message: unknown, arrive: (() => void) | null): void {
    const { plan } = this;
    const { link } = lane;
    const { stream } = link;
    const world = this.#world;
    let atUs = world.nowUs + stream.between(plan.latencyMinUs, plan.latencyMaxUs);
    if (stream.chance(plan.reorderPermyriad)) {
      atUs += stream.between(0, plan.reorderMaxUs);
    } else {
      atUs = Math.max(atUs, link.lastArrivalUs);
      link.lastArrivalUs = atUs;
    }
    if (arrive === null) return this.#schedule(atUs, lane, message, this.#arrived);
    const happen = (): void => {
      if (this.#passes(lane, message, happen)) arrive();
    };
    this.#schedule(atUs, lane, message, happen);
  }

  #schedule(atUs: number, lane: Lane, message: unknown, happen: SimEvent['run']): void {
    const { label, to } = lane;
    // A late packet reaches whoever runs there by then: a restarted process has to cope.
    this.#world.schedule(atUs, 'deliver', label, message, happen, to, ANY_INCARNATION, lane);
  }

  readonly #arrived = ({ data, context }: SimEvent): void => {
    const lane = context as Lane;
    if (!this.#passes(lane, data, this.#arrived)) return;
    lane.to.receive(lane.actor, data, lane.from.name);
  };

  /** False where it is lost, or waits for the link to be free. */
  #passes(lane: Lane, message: unknown, happen: SimEvent['run']): boolean {
    const { link, to } = lane;
    if (link.blocked > 0 || !to.up) {
      this.lost += 1;
      return false;
    }
    if (link.clogged > 0) {
      link.held.push(() => this.#schedule(this.#world.nowUs, lane, message, happen));
      return false;
    }
    this.delivered += 1;
    return true;
  }

  #link(fromIndex: number, toIndex: number): Link {
    const { nodes } = this.#world;
    const key = (fromIndex % nodes.length) * nodes.length + (toIndex % nodes.length);
    let link = this.#links.get(key);
    if (link === undefined) {
      const from = this.#world.nodeAt(fromIndex);
      const to = this.#world.nodeAt(toIndex);
      const name = `${from.name}>${to.name}`;
      const stream = this.#world.random(`net/${name}`);
      const counts = { blocked: 0, clogged: 0, lastArrivalUs: 0, busyUntilUs: 0 };
      const worst = { losses: [], damages: [], rates: [] };
      link = { name, stream, ...counts, ...worst, held: [], lanes: new Map() };
      this.#links.set(key, link);
    }
    return link;
  }
}

function laneOf(link: Link, from: SimHost, to: SimHost, actor: string): Lane {
  let lane = link.lanes.get(actor);
  if (lane === undefined) {
    const label = actor === '' ? link.name : `${link.name}/${actor}`;
    lane = { link, from, to, actor, label };
    if (link.lanes.size < ADDRESSES_MAX) link.lanes.set(actor, lane);
  }
  return lane;
}

/** Puts a value into a list of overlapping faults; the answer takes it out again. */
function added(values: number[], value: number): () => void {
  values.push(value);
  return () => {
    values.splice(values.indexOf(value), 1);
  };
}
