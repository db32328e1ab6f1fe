/** Raft's named invariants, each judged from what replicas put out, never from what they believe. */
import type { Configuration, Entry, Message } from '../../../src/protocols/raft/types.ts';

export class Violation extends Error {
  readonly checker: string;

  constructor(checker: string, what: string) {
    super(`${checker}: ${what}`);
    this.checker = checker;
  }
}

export interface Observed {
  readonly id: number;
  /** What the replica wrote down, durable or not; null where it is compacted. */
  termAt(index: number): number | null;
  readonly firstIndex: number;
}

export class Checkers {
  readonly #leaders: Map<number, number> = new Map();
  readonly #entries: Map<string, { print: string; previousTerm: number }> = new Map();
  /** index -> what is committed there. */
  readonly #committed: Map<number, number> = new Map();
  readonly #applied: Map<number, string> = new Map();
  readonly #lastCommit: Map<number, number> = new Map();
  highestCommitted = 0;

  elected(leader: Observed, term: number): void {
    const other = this.#leaders.get(term);
    if (other !== undefined && other !== leader.id) {
      throw new Violation('election safety', `${other} and ${leader.id} lead in term ${term}`);
    }
    this.#leaders.set(term, leader.id);
    for (const [index, committedTerm] of this.#committed) {
      if (committedTerm >= term || index < leader.firstIndex) continue;
      if (leader.termAt(index) !== committedTerm) {
        throw new Violation(
          'leader completeness',
          `${leader.id} leads term ${term} without ${index}:${committedTerm}`,
        );
      }
    }
  }

  wrote(id: number, entry: Entry, previousTerm: number): void {
    const key = `${entry.index}:${entry.term}`;
    const print = printOf(entry);
    const known = this.#entries.get(key);
    if (known === undefined) this.#entries.set(key, { print, previousTerm });
    else if (known.print !== print || known.previousTerm !== previousTerm) {
      throw new Violation('log matching', `${id} has another ${key} or another one before it`);
    }
  }

  newLife(id: number): void {
    this.#lastCommit.delete(id);
  }

  /** True when this is an advance. */
  committed(replica: Observed, index: number): boolean {
    const last = this.#lastCommit.get(replica.id) ?? 0;
    if (index < last) {
      throw new Violation('commit never regresses', `${replica.id} from ${last} to ${index}`);
    }
    if (index === last) return false;
    this.#lastCommit.set(replica.id, index);
    for (let at = Math.max(last + 1, replica.firstIndex); at <= index; at += 1) {
      const term = replica.termAt(at);
      const known = this.#committed.get(at);
      if (term === null) throw new Violation('state-machine safety', `${at} committed, not there`);
      if (known !== undefined && known !== term) {
        throw new Violation(
          'state-machine safety',
          `${at} committed in terms ${known} and ${term}`,
        );
      }
      this.#committed.set(at, term);
    }
    this.highestCommitted = Math.max(this.highestCommitted, index);
    return true;
  }

  /** A leader counts an entry only when a majority could lose power and still have it. */
  survives(
    id: number,
    configuration: Configuration,
    index: number,
    holds: (id: number) => boolean,
  ): void {
    for (const half of [configuration.voters, configuration.votersOutgoing]) {
      const count = [...half].filter(holds).length;
      if (half.size > 0 && count * 2 <= half.size) {
        throw new Violation(
          'committed entries survive',
          `${id} counted ${index}, durable on ${count} of ${half.size}`,
        );
      }
    }
  }

  applied(id: number, entry: Entry): void {
    const print = `${entry.term} ${printOf(entry)}`;
    const known = this.#applied.get(entry.index);
    if (known !== undefined && known !== print) {
      throw new Violation('state-machine safety', `${id} applied another ${entry.index}`);
    }
    this.#applied.set(entry.index, print);
  }

  /** A replica never speaks in a term that it could forget. */
  spoke(message: Message, durableTerm: number): void {
    if (message.term > durableTerm) {
      throw new Violation('durable before said', `${message.from} said ${message.type}`);
    }
  }

  readAnswered(id: number, floor: number, index: number): void {
    if (index < floor) {
      throw new Violation('linearizable reads', `${id} answered at ${index}, ${floor} was known`);
    }
  }
}

function printOf(entry: Entry): string {
  switch (entry.kind) {
    case 'noop':
      return 'noop';
    case 'command':
      return `command ${entry.data.join(',')}`;
    case 'configuration': {
      const { voters, votersOutgoing, learners, learnersNext } = entry.configuration;
      return JSON.stringify(
        [voters, votersOutgoing, learners, learnersNext].map((ids) => [...ids]),
      );
    }
  }
}
