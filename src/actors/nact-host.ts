/**
 * Actors on nact. nact gives each actor its turns and its place in the tree; queue, bounds, timers
 * and supervision are ours, because nact's mailbox is unbounded, its stop drops messages silently
 * and its default crash handler prints to stdout.
 */
import { dispatch, spawn, type spawnStateless, start, stop } from 'nact';
import type { Clock } from '../ports/clock.ts';
import type { AnyCell } from './cell.ts';
import { type ActorCrash, ActorRuntime, type Bell } from './runtime.ts';
import type { ActorHost, DeadLetter } from './system.ts';

export interface NactHostOptions {
  readonly clock: Clock;
  /** An assertion failed in an actor. Default: print it and exit with 70. */
  readonly onFatal?: (error: Error) => void;
  readonly onDeadLetter?: (letter: DeadLetter) => void;
  /** An actor threw something else and is stopped. Default: nothing but its watchers' message. */
  readonly onCrash?: (crash: ActorCrash) => void;
}

/** Messages an actor may handle before the others get their turn. */
const MESSAGES_PER_TURN = 64;
/** `EX_SOFTWARE` of sysexits.h. */
const EXIT_SOFTWARE = 70;

let hosts = 0;

export function createNactHost(options: NactHostOptions): ActorHost {
  hosts += 1;
  const system = start({ name: `dwcp-${hosts}` } as never);
  let stopped = false;
  return new ActorRuntime({
    clock: options.clock,
    makeBell: (cell) => new NactBell(system, cell),
    onFatal: options.onFatal ?? exitOnFatal,
    onDeadLetter: options.onDeadLetter ?? (() => {}),
    onCrash: options.onCrash ?? (() => {}),
    settle: (done) => {
      if (!stopped) stop(system);
      stopped = true;
      // Behind the immediates that nact's actors may have armed before they were stopped.
      setImmediate(done);
    },
  });
}

type SystemRef = ReturnType<typeof start>;
type DoorRef = ReturnType<typeof spawnStateless>;

class NactBell implements Bell {
  readonly #door: DoorRef;
  #rung = false;

  constructor(system: SystemRef, cell: AnyCell) {
    const parent = cell.parent === null ? system : (cell.parent.bell as NactBell).#door;
    // nact resolves by path: the incarnation in the name keeps a late ring away from a namesake.
    const name = `${cell.name}!${cell.self.incarnation}`;
    const turn = (): void => {
      // What comes up meanwhile is taken in this turn or rung for at its end: never a turn for nothing.
      const isMore = cell.turn(MESSAGES_PER_TURN);
      this.#rung = false;
      if (isMore) this.ring();
    };
    const onCrash = (_message: unknown, _error: unknown, context: { stop: symbol }): symbol =>
      context.stop;
    this.#door = spawn(parent as never, turn as never, name, { onCrash } as never) as DoorRef;
  }

  ring(): void {
    if (this.#rung) return;
    this.#rung = true;
    dispatch(this.#door, 'ring' as never);
  }

  remove(): void {
    stop(this.#door as never);
  }
}

function exitOnFatal(error: Error): void {
  process.stderr.write(`dwcp: assertion failed, this is a bug: ${error.stack ?? error.message}\n`);
  process.exit(EXIT_SOFTWARE);
}
