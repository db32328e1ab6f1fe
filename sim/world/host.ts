import type { ActorHost, ActorRef, SpawnOptions } from '../../src/actors/system.ts';
import { assert } from '../../src/util/assert.ts';
import { createSimActorHost } from '../models/actor-host.ts';
import { HostClock } from '../models/clock.ts';
import { SimDisk } from '../models/disk.ts';
import type { LabelledStream } from './decisions.ts';
import type { EventOwner, SimEvent } from './event-queue.ts';
import type { World } from './world.ts';

/** Where a message goes: `host-1/replica`. */
export type Address = string;

/** What a client asks; a server answers with {@link SimHost.reply}. */
export interface Request<I = unknown> {
  readonly type: 'request';
  readonly id: number;
  readonly from: Address;
  readonly input: I;
}

export interface Reply<O = unknown> {
  readonly type: 'reply';
  readonly id: number;
  readonly output: O;
}

/** The same message object goes to every receiver, so nobody may write to it. */
export type Handler = (message: never, from: Address) => void;

/**
 * One simulated machine. A crash ends its incarnation: no event, timer or completion of that one happens
 * any more, and only what its disk holds comes back.
 */
export class SimHost implements EventOwner {
  readonly index: number;
  readonly name: string;
  readonly world: World;
  readonly disk: SimDisk;
  clock: HostClock;
  incarnation = 1;
  up = true;
  paused = false;
  /** Anything a scenario wants to find again, such as the core it made. Gone after a crash. */
  state: unknown = null;
  readonly #held: SimEvent[] = [];
  readonly #streams = new Map<string, LabelledStream>();
  /** The kernel and what else outlives the processes of this machine. */
  readonly #whenCrashed: (() => void)[] = [];
  readonly #handlers = new Map<string, Handler>();
  readonly #actors = new Map<string, ActorRef<never>>();
  #actorHost: ActorHost | null = null;

  constructor(world: World, index: number, name: string) {
    this.world = world;
    this.index = index;
    this.name = name;
    this.clock = new HostClock(this);
    this.disk = new SimDisk(this);
  }

  /** A stream of this host alone. It goes on after a restart: chance has no memory to lose. */
  random(label: string): LabelledStream {
    let stream = this.#streams.get(label);
    if (stream === undefined) {
      stream = this.world.random(`${this.name}/${label}`);
      this.#streams.set(label, stream);
    }
    return stream;
  }

  /** Runs once, unless this incarnation is over by then. */
  after(
    delayUs: number,
    kind: string,
    run: (event: SimEvent) => void,
    data: unknown = null,
    context: unknown = null,
  ): SimEvent {
    const { world, name, incarnation } = this;
    const atUs = world.nowUs + delayUs;
    return world.schedule(atUs, kind, name, data, run, this, incarnation, context);
  }

  /** Receives what is sent to `NAME-OF-HOST/name`, without an actor around it. */
  on<M>(name: string, handler: (message: M, from: Address) => void): void {
    this.#handlers.set(name, handler as Handler);
  }

  /** An actor of dwcp's own kind, on the simulator's scheduler. */
  spawn<S, M>(options: SpawnOptions<S, M>): ActorRef<M> {
    const ref = this.actorHost().spawn(options);
    this.#actors.set(options.name, ref as ActorRef<never>);
    return ref;
  }

  actorHost(): ActorHost {
    this.#actorHost ??= createSimActorHost(this);
    return this.#actorHost;
  }

  send(to: Address, message: unknown): void {
    this.world.network.send(this, to, message);
  }

  reply<O>(request: Request, output: O): void {
    this.send(request.from, { type: 'reply', id: request.id, output } satisfies Reply<O>);
  }

  /** For the network: a message nobody takes is lost, and counted. */
  receive(name: string, message: unknown, from: Address): void {
    const handler = this.#handlers.get(name);
    if (handler !== undefined) return handler(message as never, from);
    const taken = this.#actors.get(name)?.tell(message as never) ?? 'dead';
    if (taken !== 'accepted') this.world.network.lost += 1;
  }

  crash(): void {
    assert(this.up, `${this.name} runs`);
    this.up = false;
    this.paused = false;
    this.incarnation += 1;
    this.#held.length = 0;
    this.#handlers.clear();
    this.#actors.clear();
    this.#actorHost = null;
    this.state = null;
    this.disk.crash();
    for (const tell of this.#whenCrashed) tell();
  }

  /** For models of what outlives a process, such as its sockets' peers: told at every crash. */
  whenCrashed(tell: () => void): void {
    this.#whenCrashed.push(tell);
  }

  restart(): void {
    assert(!this.up, `${this.name} is down`);
    this.up = true;
    this.clock = this.clock.restarted(this);
  }

  /** Nothing happens here until {@link resume}; time goes on. */
  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    for (const event of this.#held.splice(0)) this.world.reschedule(event);
  }

  hold(event: SimEvent): void {
    this.#held.push(event);
  }
}
