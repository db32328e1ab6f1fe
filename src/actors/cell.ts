import type { Timer } from '../ports/clock.ts';
import { AssertionError, assert } from '../util/assert.ts';
import type { Completion, Outcome } from '../util/errors.ts';
import { type Letter, Mailbox } from './mailbox.ts';
import type { ActorRuntime, Bell } from './runtime.ts';
import type {
  ActorContext,
  ActorRef,
  DeadLetter,
  SpawnOptions,
  TellResult,
  Terminated,
} from './system.ts';

interface ArmedTimer<M> {
  readonly timer: Timer;
  letter: Letter<M> | null;
}

/** Any cell, where its state and message types do not matter. */
// biome-ignore lint/suspicious/noExplicitAny: cells of all types share one tree.
export type AnyCell = Cell<any, any>;

const cells = new WeakMap<object, AnyCell>();

/** The cell behind a reference of ours. */
export function cellOf(ref: object): AnyCell {
  const cell = cells.get(ref);
  assert(cell !== undefined, 'a reference made by this kind of host');
  return cell;
}

/** One actor: its queue, state, children, timers and watchers. The runtime decides when it turns. */
export class Cell<S, M> implements ActorContext<M> {
  readonly self: ActorRef<M>;
  readonly parent: AnyCell | null;
  readonly name: string;
  readonly children: Map<string, AnyCell> = new Map();
  readonly bell: Bell;
  readonly mailbox: Mailbox<M>;
  /** From here on a `tell` answers `dead`; the actor itself may still be finishing its turn. */
  stopping = false;
  crashed = false;
  terminated: Terminated | null = null;

  readonly #runtime: ActorRuntime;
  readonly #options: SpawnOptions<S, M>;
  readonly #timers = new Map<string, ArmedTimer<M>>();
  #watchers: { readonly cell: AnyCell; readonly toMessage: (terminated: Terminated) => unknown }[] =
    [];
  #effects: (() => void)[] = [];
  #state: { readonly value: S } | null = null;

  constructor(runtime: ActorRuntime, parent: AnyCell | null, options: SpawnOptions<S, M>) {
    assert(/^[A-Za-z0-9._-]+$/.test(options.name), `an actor name, got "${options.name}"`);
    assert(options.mailboxLimit > 0, 'a mailbox limit above zero');
    this.#runtime = runtime;
    this.#options = options;
    this.parent = parent;
    this.name = options.name;
    this.mailbox = new Mailbox(options.mailboxLimit);
    this.self = {
      path: `${parent === null ? '' : parent.self.path}/${options.name}`,
      incarnation: runtime.nextIncarnation(),
      tell: (message) => this.tell(message),
    };
    cells.set(this.self, this);
    this.bell = runtime.makeBell(this);
  }

  tell(message: M): TellResult {
    if (this.stopping) {
      this.#deadLetter(message, 'dead');
      return 'dead';
    }
    if (!this.mailbox.offer(message)) {
      this.#deadLetter(message, 'full');
      return 'full';
    }
    this.bell.ring();
    return 'accepted';
  }

  putReserved(message: M, timerId: string | null = null): Letter<M> | null {
    if (this.stopping) {
      this.#deadLetter(message, 'dead');
      return null;
    }
    const letter = this.mailbox.putReserved(message, timerId);
    this.bell.ring();
    return letter;
  }

  /** Delivers at most `limit` messages; true when more wait. */
  turn(limit: number): boolean {
    for (let count = 0; count < limit && !this.stopping; count += 1) {
      if (this.#state === null) {
        this.#runtime.run(this, () => this.#store(this.#options.initialState(this)));
        continue;
      }
      const { value } = this.#state;
      const letter = this.mailbox.take();
      if (letter === null) return false;
      if (letter.timerId !== null) this.#timers.delete(letter.timerId);
      this.#runtime.delivered();
      this.#runtime.run(this, () =>
        this.#store(this.#options.behavior(value, letter.message, this)),
      );
    }
    return !this.stopping && this.mailbox.size > 0;
  }

  /** Everything but the children, who are gone by now. */
  end(): void {
    for (const armed of this.#timers.values()) armed.timer.cancel();
    this.#timers.clear();
    try {
      if (this.#state !== null) this.#options.onStop?.(this.#state.value);
    } catch (error) {
      this.#runtime.report(this, error);
    }
    for (let letter = this.mailbox.take(); letter !== null; letter = this.mailbox.take()) {
      this.#deadLetter(letter.message, 'stopped');
    }
    this.bell.remove();
    const terminated: Terminated = {
      path: this.self.path,
      incarnation: this.self.incarnation,
      reason: this.crashed ? 'crashed' : 'stopped',
    };
    this.terminated = terminated;
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const { cell, toMessage } of watchers) {
      if (!cell.stopping) cell.putReserved(toMessage(terminated));
    }
  }

  // ---- what a behaviour may ask for ---------------------------------------------------------------

  nowUs(): number {
    return this.#runtime.clock.nowUs();
  }

  spawn<S2, M2>(options: SpawnOptions<S2, M2>): ActorRef<M2> {
    this.#assertInTurn('spawn');
    return this.#runtime.spawnCell(this, options);
  }

  stop(ref: ActorRef<never> | ActorRef<M>): void {
    this.#assertInTurn('stop');
    const cell = cellOf(ref);
    assert(cell === this || cell.parent === this, 'an actor stops itself or a child of its own');
    this.#runtime.stopCell(cell);
  }

  watch<M2>(ref: ActorRef<M2>, toMessage: (terminated: Terminated) => M): void {
    this.#assertInTurn('watch');
    const cell = cellOf(ref);
    if (cell.terminated !== null) this.putReserved(toMessage(cell.terminated));
    else cell.#watchers.push({ cell: this, toMessage });
  }

  completion<T>(toMessage: (outcome: Outcome<T>) => M): Completion<T> {
    let called = false;
    return (outcome) => {
      if (called) {
        const error = new AssertionError(`a completion of ${this.self.path} was called twice`);
        this.#runtime.report(this, error);
        return;
      }
      called = true;
      this.putReserved(toMessage(outcome));
    };
  }

  listener<T>(toMessage: (event: T) => M): (event: T) => TellResult {
    return (event) => this.tell(toMessage(event));
  }

  setTimer(id: string, atUs: number, message: M): void {
    this.#assertInTurn('setTimer');
    this.cancelTimer(id);
    const armed: ArmedTimer<M> = {
      letter: null,
      timer: this.#runtime.clock.setTimer(atUs, () => {
        if (this.#timers.get(id) !== armed) return;
        armed.letter = this.putReserved(message, id);
      }),
    };
    this.#timers.set(id, armed);
  }

  cancelTimer(id: string): void {
    const armed = this.#timers.get(id);
    if (armed === undefined) return;
    this.#timers.delete(id);
    armed.timer.cancel();
    if (armed.letter !== null) this.mailbox.cancel(armed.letter);
  }

  effect(run: () => void): void {
    this.#assertInTurn('effect');
    this.#effects.push(run);
  }

  // -------------------------------------------------------------------------------------------------

  #store(state: S): void {
    const returned = state as { then?: unknown } | null | undefined;
    const isPromise = typeof returned === 'object' && typeof returned?.then === 'function';
    assert(
      !isPromise,
      `the behaviour of ${this.self.path} returned a promise; it must be synchronous`,
    );
    this.#state = { value: state };
    // An effect may ask for further ones, so the list is walked, not copied.
    for (let run = this.#effects.shift(); run !== undefined; run = this.#effects.shift()) run();
  }

  #assertInTurn(what: string): void {
    assert(
      this.#runtime.isRunning(this),
      `${what} is asked for inside a turn of ${this.self.path}`,
    );
  }

  #deadLetter(message: M, reason: DeadLetter['reason']): void {
    const { path, incarnation } = this.self;
    this.#runtime.deadLetter({ path, incarnation, message, reason });
  }
}
