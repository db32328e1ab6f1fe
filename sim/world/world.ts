import { AssertionError, assert } from '../../src/util/assert.ts';
import { SimNetwork } from '../models/network.ts';
import { TripwireError, withTripwires } from '../tripwires.ts';
import type { DecisionLog, LabelledStream } from './decisions.ts';
import { Decisions } from './decisions.ts';
import { ANY_INCARNATION, EventQueue, type SimEvent } from './event-queue.ts';
import type { Fault, FaultKind, FaultPlan } from './fault-plan.ts';
import { type Address, SimHost } from './host.ts';
import { Probes } from './probes.ts';
import { TraceHash } from './trace-hash.ts';
import type { Checker, Violation } from './violation.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly plan: FaultPlan;
  /** Names of the machines that faults may hit. */
  readonly hosts: readonly string[];
  /** Names of the machines that only partitions and losses may hit. */
  readonly clients: readonly string[];
  readonly replay?: DecisionLog | null;
  readonly recordDecisions?: boolean;
  /** Sees each event before it runs. */
  readonly onEvent?: ((event: SimEvent, rolling: number) => void) | null;
}

const FREEZING_SEEDS = 4;
/** Events at one instant without time moving: a loop that never ends in a run that would. */
const EVENTS_AT_ONE_INSTANT_MAX = 1_000_000;

/** One simulated universe: a queue, a clock in whole microseconds, and nothing from outside. */
export class World {
  nowUs = 0;
  events = 0;
  violation: Violation | null = null;
  readonly decisions: Decisions;
  readonly probes: Probes;
  readonly hash: TraceHash = new TraceHash();
  readonly network: SimNetwork;
  readonly hosts: readonly SimHost[];
  /** Hosts first, then clients. */
  readonly nodes: readonly SimHost[];
  readonly checkers: Checker<World>[] = [];
  /** By kind, for faults of models that a scenario brings; false when it does not apply now. */
  readonly faultHandlers: Map<FaultKind, (fault: Fault) => boolean> = new Map();
  /** In one of four seeds: it costs time, and shows who writes to a message that others hold too. */
  readonly freezesMessages: boolean;
  readonly #queue = new EventQueue();
  readonly #names = new Map<string, SimHost>();
  readonly #onEvent: ((event: SimEvent, rolling: number) => void) | null;
  #sequence = 0;
  #stepping = false;

  constructor(options: WorldOptions) {
    const { seed, plan, replay, recordDecisions, hosts, clients } = options;
    this.freezesMessages = seed % FREEZING_SEEDS === 0;
    this.decisions = new Decisions({
      seed,
      replay: replay ?? null,
      record: recordDecisions ?? false,
    });
    this.probes = new Probes(this.decisions, plan.buggify);
    this.network = new SimNetwork(this);
    this.#onEvent = options.onEvent ?? null;
    this.nodes = [...hosts, ...clients].map((name, index) => new SimHost(this, index, name));
    this.hosts = this.nodes.slice(0, hosts.length);
    for (const node of this.nodes) {
      assert(!this.#names.has(node.name), `host names are unique, got ${node.name} twice`);
      this.#names.set(node.name, node);
    }
  }

  random(label: string): LabelledStream {
    return this.decisions.stream(label);
  }

  /** A campaign that never came by here fails. */
  sometimes(label: string, hit: boolean = true): void {
    this.probes.sometimes(label, hit);
  }

  /** True now and then, in some runs: make a rare thing happen here. */
  buggify(label: string): boolean {
    return this.probes.buggify(label);
  }

  /** The first one counts; the world stops at it. */
  violate(checker: string, message: string, details: unknown = null): void {
    this.violation ??= { checker, message, atUs: this.nowUs, details };
  }

  hostNamed(name: Address): SimHost {
    const host = this.#names.get(name);
    assert(host !== undefined, `a host of this world, got "${name}"`);
    return host;
  }

  /** Any number names a node, so that a plan still fits a smaller world. */
  nodeAt(index: number): SimHost {
    return this.nodes[index % this.nodes.length] as SimHost;
  }

  hostAt(index: number): SimHost {
    return this.hosts[index % this.hosts.length] as SimHost;
  }

  schedule(
    atUs: number,
    kind: string,
    actor: string,
    data: unknown,
    run: (event: SimEvent) => void,
    owner: SimHost | null = null,
    incarnation: number = owner === null ? ANY_INCARNATION : owner.incarnation,
    context: unknown = null,
  ): SimEvent {
    assert(Number.isSafeInteger(atUs) && atUs >= this.nowUs, 'whole microseconds from now on');
    const sequence = this.#sequence;
    this.#sequence += 1;
    const event: SimEvent = {
      atUs,
      sequence,
      kind,
      actor,
      data,
      run,
      context,
      owner,
      incarnation,
      cancelled: false,
    };
    this.#queue.push(event);
    return event;
  }

  /** What a paused host missed happens now, in the order it would have. */
  reschedule(event: SimEvent): void {
    const { kind, actor, data, owner, incarnation } = event;
    const run = (): void => {
      if (!event.cancelled) event.run(event);
    };
    this.schedule(this.nowUs, kind, actor, data, run, owner as SimHost | null, incarnation);
  }

  /** Until the time is reached, `done` holds after an event, nothing is left, or something is wrong. */
  run(untilUs: number, done: (() => boolean) | null = null): void {
    assert(!this.#stepping, 'a world steps once at a time');
    this.#stepping = true;
    try {
      withTripwires(() => this.#loop(untilUs, done));
    } finally {
      this.#stepping = false;
    }
    if (this.violation === null && done === null) this.nowUs = Math.max(this.nowUs, untilUs);
  }

  /** Asks every checker; also what user code throws outside events is kept. */
  audit(): void {
    for (const { name, audit } of this.checkers) {
      if (this.violation !== null) return;
      const finding = audit?.(this) ?? null;
      if (finding !== null) this.violate(name, finding.message, finding.details ?? null);
    }
  }

  #loop(untilUs: number, done: (() => boolean) | null): void {
    const watchers = this.checkers.filter((checker) => checker.onEvent !== undefined);
    let atOnce = 0;
    while (this.violation === null) {
      const next = this.#queue.peek();
      if (next === null || next.atUs > untilUs) return;
      const event = this.#queue.pop();
      if (event.cancelled) continue;
      const { owner } = event;
      if (owner !== null) {
        const { incarnation } = event;
        if (incarnation !== ANY_INCARNATION && incarnation !== owner.incarnation) continue;
        if (owner.paused) {
          owner.hold(event);
          continue;
        }
      }
      atOnce = event.atUs === this.nowUs ? atOnce + 1 : 0;
      if (atOnce >= EVENTS_AT_ONE_INSTANT_MAX) this.#standsStill();
      this.nowUs = event.atUs;
      this.#happen(event);
      for (const { name, onEvent } of watchers) {
        const finding = onEvent?.(this) ?? null;
        if (finding !== null) this.violate(name, finding.message, finding.details ?? null);
      }
      if (done?.() === true) return;
    }
  }

  #standsStill(): never {
    throw new AssertionError(`time moves on after ${this.nowUs} us`);
  }

  #happen(event: SimEvent): void {
    this.events += 1;
    this.hash.event(event.atUs, event.kind, event.actor);
    if (event.data !== null) this.hash.value(event.data);
    this.#onEvent?.(event, this.hash.rolling);
    try {
      const returned: unknown = event.run(event);
      // Looked at only where there is something: nearly every event returns nothing.
      if (returned !== undefined) assertNoPromise(returned, event);
    } catch (error) {
      const tripped = error instanceof TripwireError;
      const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      this.violate(tripped ? 'tripwire' : 'uncaught', `${event.actor}: ${text}`);
    }
  }
}

function assertNoPromise(returned: unknown, { actor }: SimEvent): void {
  const isPromise = typeof (returned as { then?: unknown } | null)?.then === 'function';
  assert(!isPromise, `${actor} returned a promise; it must be synchronous`);
}
