/** What checkers of Raft see: what replicas put out and what their disks hold, never what they believe. */
import type { Configuration, Entry } from '../../../src/protocols/raft/types.ts';
import type { World } from '../../world/world.ts';
import { appliedOnce } from './applied-once.ts';
import { commitNeverRegresses } from './commit-never-regresses.ts';
import { committedSurvives } from './committed-survives.ts';
import { electionSafety } from './election-safety.ts';
import { leaderCompleteness } from './leader-completeness.ts';
import { logMatching } from './log-matching.ts';
import { stateMachineSafety } from './state-machine-safety.ts';

export interface Replica {
  readonly id: number;
  readonly firstIndex: number;
  /** Of what it wrote, durable or not; null where there is nothing or it is compacted. */
  termAt(index: number): number | null;
}

/** Answers say what is wrong. */
export interface RaftChecker {
  readonly name: string;
  readonly started?: (replica: Replica) => string | null;
  readonly elected?: (leader: Replica, term: number) => string | null;
  readonly wrote?: (replica: Replica, entry: Entry, previousTerm: number) => string | null;
  readonly saidCommit?: (replica: Replica, commit: number) => string | null;
  readonly applied?: (replica: Replica, entry: Entry) => string | null;
  /** A leader handed the entry to its state machine while `configuration` was committed. */
  readonly counted?: (counted: Counted) => string | null;
  /** A state machine did a command for the first time in its view. */
  readonly did?: (replica: Replica, index: number, command: string) => string | null;
}

export interface Counted {
  readonly leader: Replica;
  readonly entry: Entry;
  readonly configuration: Configuration;
  readonly isDurableOn: (id: number) => boolean;
}

export function raftCheckers(): readonly RaftChecker[] {
  return [
    ...[electionSafety(), logMatching(), leaderCompleteness(), stateMachineSafety()],
    ...[commitNeverRegresses(), committedSurvives(), appliedOnce()],
  ];
}

type Hook = Exclude<keyof RaftChecker, 'name'>;

/** Tells every checker, and the world what they find. */
export class RaftWatch {
  readonly #checkers: readonly RaftChecker[];
  readonly #world: World;

  constructor(world: World, checkers: readonly RaftChecker[]) {
    this.#world = world;
    this.#checkers = checkers;
  }

  tell<H extends Hook>(hook: H, ...args: Parameters<NonNullable<RaftChecker[H]>>): void {
    for (const checker of this.#checkers) {
      const look = checker[hook] as ((...args: unknown[]) => string | null) | undefined;
      const message = look?.(...args) ?? null;
      if (message !== null) this.#world.violate(checker.name, message);
    }
  }
}
