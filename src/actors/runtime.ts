import type { Clock } from '../ports/clock.ts';
import { AssertionError, assert } from '../util/assert.ts';
import { type AnyCell, Cell, cellOf } from './cell.ts';
import type { ActorHost, ActorHostCounters, ActorRef, DeadLetter, SpawnOptions } from './system.ts';

/** How an actor gets its turns: the only thing in which two hosts differ. */
export interface Bell {
  /** There is something to do: call `turn` of the cell soon, never inside this call. */
  ring(): void;
  /** The actor is gone. */
  remove(): void;
}

export interface RuntimeOptions {
  readonly clock: Clock;
  readonly makeBell: (cell: AnyCell) => Bell;
  /** An assertion failed: a bug of ours, after which nothing can be trusted. */
  readonly onFatal: (error: Error) => void;
  readonly onDeadLetter: (letter: DeadLetter) => void;
  /** Any other throw; the actor is being stopped. */
  readonly onCrash: (crash: ActorCrash) => void;
  /** Calls back when nothing runs any more. */
  readonly settle: (done: () => void) => void;
}

export interface ActorCrash {
  readonly path: string;
  readonly error: unknown;
}

/** The tree of actors and the rules of `system.ts`, for any scheduler. */
export class ActorRuntime implements ActorHost {
  readonly clock: Clock;
  readonly #options: RuntimeOptions;
  readonly #roots = new Map<string, AnyCell>();
  readonly #cells = new Set<AnyCell>();
  readonly #pendingStops: AnyCell[] = [];
  #running: AnyCell | null = null;
  #ending = false;
  #shutDown = false;
  #incarnations = 0;
  #messages = 0;
  #deadLetters = 0;

  constructor(options: RuntimeOptions) {
    this.#options = options;
    this.clock = options.clock;
  }

  spawn<S, M>(options: SpawnOptions<S, M>): ActorRef<M> {
    assert(!this.#shutDown, 'the host still runs');
    return this.spawnCell(null, options);
  }

  stop<M>(ref: ActorRef<M>): void {
    this.stopCell(cellOf(ref));
  }

  counters(): ActorHostCounters {
    let queued = 0;
    for (const cell of this.#cells) queued += cell.mailbox.size;
    return {
      actors: this.#cells.size,
      messages: this.#messages,
      deadLetters: this.#deadLetters,
      queued,
    };
  }

  shutdown(done: () => void): void {
    this.#shutDown = true;
    for (const cell of [...this.#roots.values()].reverse()) this.stopCell(cell);
    this.#options.settle(done);
  }

  // ---- for cells ----------------------------------------------------------------------------------

  makeBell(cell: AnyCell): Bell {
    return this.#options.makeBell(cell);
  }

  nextIncarnation(): number {
    this.#incarnations += 1;
    return this.#incarnations;
  }

  isRunning(cell: AnyCell): boolean {
    return this.#running === cell;
  }

  delivered(): void {
    this.#messages += 1;
  }

  deadLetter(letter: DeadLetter): void {
    this.#deadLetters += 1;
    this.#options.onDeadLetter(letter);
  }

  spawnCell<S, M>(parent: AnyCell | null, options: SpawnOptions<S, M>): ActorRef<M> {
    const siblings = parent === null ? this.#roots : parent.children;
    assert(!siblings.has(options.name), `no living actor of the name ${options.name}`);
    const cell = new Cell(this, parent, options);
    siblings.set(options.name, cell);
    this.#cells.add(cell);
    // The first turn makes the initial state, so that a throw there stops the child, not the parent.
    cell.bell.ring();
    return cell.self;
  }

  /** One delivery: the behaviour, its effects, then the stops that were asked for meanwhile. */
  run(cell: AnyCell, deliver: () => void): void {
    assert(this.#running === null, 'no behaviour runs inside another');
    this.#running = cell;
    try {
      deliver();
    } catch (error) {
      cell.crashed = true;
      this.stopCell(cell);
      this.report(cell, error);
    } finally {
      this.#running = null;
    }
    this.#endPending();
  }

  report(cell: AnyCell, error: unknown): void {
    if (error instanceof AssertionError) this.#options.onFatal(error);
    else this.#options.onCrash({ path: cell.self.path, error });
  }

  stopCell(cell: AnyCell): void {
    if (cell.terminated !== null || cell.stopping) return;
    markStopping(cell);
    this.#pendingStops.push(cell);
    this.#endPending();
  }

  #endPending(): void {
    if (this.#running !== null || this.#ending) return;
    this.#ending = true;
    try {
      for (let next = this.#pendingStops.shift(); next; next = this.#pendingStops.shift()) {
        this.#end(next);
      }
    } finally {
      this.#ending = false;
    }
  }

  #end(cell: AnyCell): void {
    if (cell.terminated !== null) return;
    cell.stopping = true;
    for (const child of [...cell.children.values()].reverse()) this.#end(child);
    cell.end();
    this.#cells.delete(cell);
    (cell.parent === null ? this.#roots : cell.parent.children).delete(cell.name);
  }
}

function markStopping(cell: AnyCell): void {
  cell.stopping = true;
  for (const child of cell.children.values()) markStopping(child);
}
