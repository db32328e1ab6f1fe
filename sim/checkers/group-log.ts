/**
 * What replicas may never differ in, as their applications and statuses show it: one command per index for
 * good, each index once per life and in order, one leader per term, a commit that never goes back.
 */
import type { Finding } from '../world/violation.ts';

/** One life of one member. */
interface Life {
  executed: number;
  commit: number;
}

export class GroupLog {
  /** Of the group, by anybody. */
  highestExecuted = 0;
  #finding: Finding | null = null;
  readonly #commands = new Map<number, string>();
  readonly #leaders = new Map<number, string>();
  readonly #lives = new Map<string, Life>();

  look(): Finding | null {
    return this.#finding;
  }

  executed(member: string, life: number, index: number, command: Uint8Array): void {
    const known = this.#commands.get(index);
    const bytes = Buffer.from(command).toString('latin1');
    if (known === undefined) this.#commands.set(index, bytes);
    else if (known !== bytes) this.#found(`${member} executed another command at ${index}`);
    const mine = this.#life(member, life);
    if (index <= mine.executed) this.#found(`${member} executed ${index} after ${mine.executed}`);
    mine.executed = index;
    this.highestExecuted = Math.max(this.highestExecuted, index);
  }

  /** The state at an index came as a snapshot. */
  restored(member: string, life: number): void {
    this.#life(member, life);
  }

  leads(member: string, term: number): void {
    const known = this.#leaders.get(term);
    if (known === undefined) this.#leaders.set(term, member);
    else if (known !== member) this.#found(`${known} and ${member} both lead in term ${term}`);
  }

  committed(member: string, life: number, commitIndex: number): void {
    const mine = this.#life(member, life);
    if (commitIndex < mine.commit) {
      this.#found(`the commit of ${member} went from ${mine.commit} back to ${commitIndex}`);
    }
    mine.commit = commitIndex;
  }

  #life(member: string, life: number): Life {
    const key = `${member}#${life}`;
    let known = this.#lives.get(key);
    if (known === undefined) {
      known = { executed: 0, commit: 0 };
      this.#lives.set(key, known);
    }
    return known;
  }

  #found(message: string): void {
    this.#finding ??= { message };
  }
}
