import type { Operation } from '../checkers/operation.ts';
import type { LabelledStream } from './decisions.ts';
import type { Address, Reply, Request, SimHost } from './host.ts';
import type { World } from './world.ts';

/** How much clients ask, as data. */
export interface Workload {
  readonly clients: number;
  /** Of all clients together. */
  readonly operations: number;
  /** Between an answer and the next call of one client: every other time close to the minimum. */
  readonly thinkMinUs: number;
  readonly thinkMaxUs: number;
  /** After which an operation's outcome counts as unknown. */
  readonly timeoutUs: number;
}

export interface ClientRules<I> {
  /** What to ask next; `serial` is different for every operation of the run. */
  readonly next: (random: LabelledStream, serial: number, world: World) => I;
  /** Whom to ask: `host-1/replica`. It gets a {@link Request} and answers with `host.reply`. */
  readonly to?: (random: LabelledStream, world: World, input: I) => Address;
  /**
   * For clients with a protocol of their own, instead of `to`: `done` is called at most once, and not at
   * all when nothing is known. `node` is the client's machine, which never crashes.
   */
  readonly perform?: (node: SimHost, call: ClientCall<I>, done: (output: unknown) => void) => void;
}

export interface ClientCall<I> {
  /** Different for every operation of a run, from 1. */
  readonly id: number;
  readonly input: I;
}

/**
 * One client at a time asks one thing: the history of all is what checkers judge. An operation without an
 * answer stays unknown, and its client goes on under a new name, as nobody can wait for two things at once.
 */
export class Clients<I, O> {
  readonly history: Operation<I, O | undefined>[] = [];
  readonly #workload: Workload;
  readonly #rules: ClientRules<I>;
  readonly #world: World;
  #serial = 0;
  #names = 0;
  #requests = 0;
  #open = 0;
  #limit: number;
  /** Clients that found nothing left to ask. */
  readonly #idle: (() => void)[] = [];
  /** How many were answered since the last look: what progress means to a client. */
  answered = 0;

  constructor(world: World, workload: Workload, rules: ClientRules<I>) {
    this.#world = world;
    this.#workload = workload;
    this.#rules = rules;
    this.#names = workload.clients;
    this.#limit = workload.operations;
  }

  /** More operations for every client, after healing: those that ran out start again. */
  extend(perClient: number): void {
    this.#limit = Math.max(this.#limit, this.#serial) + perClient * this.#workload.clients;
    for (const wake of this.#idle.splice(0)) wake();
  }

  start(): void {
    const clients = this.#world.nodes.slice(this.#world.hosts.length);
    for (const [index, node] of clients.entries()) this.#startOne(node, index);
  }

  /** All asked for was asked and answered or given up. */
  get finished(): boolean {
    return this.#serial >= this.#limit && this.#open === 0;
  }

  #startOne(node: SimHost, name: number): void {
    const random = node.random('client');
    const { thinkMinUs, thinkMaxUs, timeoutUs } = this.#workload;
    let client = name;
    /** Ends the call that waits, by its id. */
    let waiting: { readonly id: number; readonly answer: (output: O) => void } | null = null;
    const think = (): void => {
      // In bursts: bugs live where one operation follows another at once.
      const maxUs = random.below(2) === 0 ? Math.min(thinkMaxUs, 2 * thinkMinUs) : thinkMaxUs;
      node.after(random.between(thinkMinUs, maxUs), 'think', call);
    };
    const call = (): void => {
      if (this.#serial >= this.#limit) {
        this.#idle.push(think);
        return;
      }
      const input = this.#rules.next(random, this.#serial, this.#world);
      this.#serial += 1;
      this.#requests += 1;
      this.#open += 1;
      const id = this.#requests;
      const index = this.history.length;
      const asked = client;
      const callUs = this.#world.nowUs;
      this.history.push({ client, callUs, returnUs: null, input, output: undefined });
      const timer = node.after(timeoutUs, 'client-timeout', () => {
        waiting = null;
        this.#open -= 1;
        this.#world.sometimes('an operation timed out');
        client = this.#names;
        this.#names += 1;
        think();
      });
      const answer = (output: O): void => {
        if (waiting?.id !== id) return;
        waiting = null;
        timer.cancelled = true;
        const returnUs = this.#world.nowUs;
        this.history[index] = { client: asked, callUs, returnUs, input, output };
        this.answered += 1;
        this.#open -= 1;
        think();
      };
      waiting = { id, answer };
      const { perform, to } = this.#rules;
      if (perform !== undefined) {
        perform(node, { id, input }, answer as (output: unknown) => void);
      } else if (to !== undefined) {
        const request: Request<I> = { type: 'request', id, from: `${node.name}/client`, input };
        node.send(to(random, this.#world, input), request);
      }
    };
    node.on<Reply<O>>('client', (reply) => {
      if (waiting?.id === reply.id) waiting.answer(reply.output);
    });
    think();
  }
}
