/**
 * What an actor is here, apart from who schedules it. Two hosts implement it: nact in production
 * (`nact-host.ts`) and the simulator's scheduler; one contract suite proves both.
 */
import type { Completion, Outcome } from '../util/errors.ts';

/**
 * Synchronous: a returned promise is an assertion failure. Runs to completion, never inside the
 * `tell` that caused it. State is stored first, then the effects asked for by `context.effect` run.
 */
export type Behavior<S, M> = (state: S, message: M, context: ActorContext<M>) => S;

/** `full` and `dead` are answers: the sender of each message type states what it does with them. */
export type TellResult = 'accepted' | 'full' | 'dead';

export interface ActorRef<M> {
  /** `/node/link-b/stream-3` */
  readonly path: string;
  /** Tells namesakes apart: a message to an earlier incarnation is a dead letter. */
  readonly incarnation: number;
  tell(message: M): TellResult;
}

export interface SpawnOptions<S, M> {
  readonly name: string;
  readonly behavior: Behavior<S, M>;
  readonly initialState: (context: ActorContext<M>) => S;
  /** Ordinary messages that may wait; reserved ones (completions, timers, terminated) come on top. */
  readonly mailboxLimit: number;
  /** Runs once when the actor stops, whatever the reason, after its children stopped. */
  readonly onStop?: (state: S) => void;
}

export interface ActorContext<M> {
  readonly self: ActorRef<M>;
  nowUs(): number;
  spawn<S2, M2>(options: SpawnOptions<S2, M2>): ActorRef<M2>;
  /** A child or oneself: children first, then the queue goes to counted dead letters. */
  stop(ref: ActorRef<never> | ActorRef<M>): void;
  /** `toMessage` is delivered once, never refused, behind no more than what was queued before. */
  watch<M2>(ref: ActorRef<M2>, toMessage: (terminated: Terminated) => M): void;
  /** Reserves a slot now, so that the answer of a port is never refused. */
  completion<T>(toMessage: (outcome: Outcome<T>) => M): Completion<T>;
  /** For ports that report many times; each report is an ordinary message and may find it full. */
  listener<T>(toMessage: (event: T) => M): (event: T) => TellResult;
  /** Replaces a timer of the same id. A cancelled or replaced timer never fires, even if queued. */
  setTimer(id: string, atUs: number, message: M): void;
  cancelTimer(id: string): void;
  /** Runs after this behaviour returned and its state was stored. */
  effect(run: () => void): void;
}

export interface Terminated {
  readonly path: string;
  readonly incarnation: number;
  readonly reason: 'stopped' | 'crashed';
}

export interface DeadLetter {
  readonly path: string;
  readonly incarnation: number;
  readonly message: unknown;
  readonly reason: 'full' | 'dead' | 'stopped';
}

export interface ActorHost {
  /** Spawns at the root. */
  spawn<S, M>(options: SpawnOptions<S, M>): ActorRef<M>;
  stop<M>(ref: ActorRef<M>): void;
  counters(): ActorHostCounters;
  /** Stops every actor; calls `done` when nothing runs and no timer is armed. Idempotent. */
  shutdown(done: () => void): void;
}

export interface ActorHostCounters {
  readonly actors: number;
  readonly messages: number;
  readonly deadLetters: number;
  readonly queued: number;
}
