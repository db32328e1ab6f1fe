/** What checkers of Raft see: what replicas put out and what their disks hold, never what they believe. */
import type { Configuration, Entry, HardState } from '../../../src/protocols/raft/types.ts';
import type { World } from '../../world/world.ts';
import { appliedOnce } from './applied-once.ts';
import { commitNeverRegresses } from './commit-never-regresses.ts';
import { commitment } from './commitment.ts';
import { committedSurvives } from './committed-survives.ts';
import { electionSafety } from './election-safety.ts';
import { leaderCompleteness } from './leader-completeness.ts';
import { logMatching } from './log-matching.ts';
import { stateMachineSafety } from './state-machine-safety.ts';
import { votes } from './votes.ts';

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
  /** A leader handed entries to its state machine, of which this is the last. */
  readonly committed?: (committed: Committed) => string | null;
  /** What it writes of term and vote, and what it wrote before, or found when it started. */
  readonly vowed?: (replica: Replica, before: HardState, after: HardState) => string | null;
  /** A vote leaves while the disk has `durable`. */
  readonly promised?: (replica: Replica, durable: HardState, vote: Vote) => string | null;
  /** A vote leaves a voter for whoever it is for. */
  readonly granted?: (voter: Candidate, candidate: Replica) => string | null;
  /** A state machine did a command for the first time in its view. */
  readonly did?: (replica: Replica, index: number, command: string) => string | null;
}

export interface Counted {
  readonly leader: Replica;
  readonly entry: Entry;
  readonly configuration: Configuration;
  readonly isDurableOn: (id: number) => boolean;
}

export interface Committed {
  readonly id: number;
  readonly entry: Entry;
  readonly candidates: readonly Candidate[];
}

/** A replica as it stands, or stood when it was ended: its promises hold until it starts again. */
export interface Candidate {
  readonly replica: Replica;
  readonly configuration: Configuration;
  readonly last: { readonly index: number; readonly term: number };
}

export interface Vote {
  readonly term: number;
  readonly vote: number;
}

export function raftCheckers(): readonly RaftChecker[] {
  return [
    ...[electionSafety(), logMatching(), leaderCompleteness(), stateMachineSafety()],
    ...[commitNeverRegresses(), committedSurvives(), appliedOnce(), votes(), commitment()],
  ];
}

type Hook = Exclude<keyof RaftChecker, 'name'>;
type Args<H extends Hook> = Parameters<NonNullable<RaftChecker[H]>>;

interface Look<H extends Hook> {
  readonly name: string;
  readonly look: NonNullable<RaftChecker[H]>;
}

/** Tells every checker, and the world what they find. */
export class RaftWatch {
  readonly #world: World;
  readonly #looks: { readonly [H in Hook]: readonly Look<H>[] };

  constructor(world: World, checkers: readonly RaftChecker[]) {
    this.#world = world;
    this.#looks = {
      started: looksOf(checkers, 'started'),
      elected: looksOf(checkers, 'elected'),
      wrote: looksOf(checkers, 'wrote'),
      saidCommit: looksOf(checkers, 'saidCommit'),
      applied: looksOf(checkers, 'applied'),
      counted: looksOf(checkers, 'counted'),
      committed: looksOf(checkers, 'committed'),
      vowed: looksOf(checkers, 'vowed'),
      promised: looksOf(checkers, 'promised'),
      granted: looksOf(checkers, 'granted'),
      did: looksOf(checkers, 'did'),
    };
  }

  /** Whether anybody looks at it: what nobody looks at need not be put together. */
  cares(hook: Hook): boolean {
    return this.#looks[hook].length > 0;
  }

  tell<H extends Hook>(hook: H, a: Args<H>[0], b?: Args<H>[1], c?: Args<H>[2]): void {
    for (const { name, look } of this.#looks[hook]) {
      const message = (look as (a: unknown, b: unknown, c: unknown) => string | null)(a, b, c);
      if (message !== null) this.#world.violate(name, message);
    }
  }
}

function looksOf<H extends Hook>(checkers: readonly RaftChecker[], hook: H): readonly Look<H>[] {
  return checkers.flatMap((checker) => {
    const look = checker[hook];
    return look === undefined ? [] : [{ name: checker.name, look }];
  });
}
