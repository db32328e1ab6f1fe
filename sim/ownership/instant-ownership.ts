/**
 * One ownership machine that several hosts share: a log without a log, for tests of what stands on
 * the {@link Ownership} port. A command is applied when `defer` lets it, in the order of proposals.
 */
import type { GroupView, Ownership } from '../../src/ports/ownership.ts';
import { decodeAnswer, encodeCommand } from '../../src/protocols/ownership/codec.ts';
import { OwnershipMachine } from '../../src/protocols/ownership/machine.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../../src/protocols/ownership/types.ts';
import { assert } from '../../src/util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';

export interface InstantOwnershipOptions {
  readonly hosts: readonly string[];
  /** Runs its argument later, never inside the call. */
  readonly defer: (run: () => void) => void;
}

type Listener = (vm: string, now: VmOwnership | null) => void;

interface Waiting {
  readonly command: OwnershipCommand;
  readonly patienceMs: number | null;
  readonly done: Completion<OwnershipAnswer>;
}

export class InstantOwnership {
  readonly #hosts: readonly string[];
  readonly #defer: (run: () => void) => void;
  readonly #machine: OwnershipMachine;
  readonly #listeners: Listener[] = [];
  #waiting: Waiting[] = [];
  #hasQuorum = true;
  #applied = 0;

  constructor({ hosts, defer }: InstantOwnershipOptions) {
    this.#hosts = hosts;
    this.#defer = defer;
    this.#machine = new OwnershipMachine({
      onChange: (vm, now) => {
        for (const listener of this.#listeners) listener(vm, now);
      },
    });
  }

  get hasQuorum(): boolean {
    return this.#hasQuorum;
  }

  /** Without one, patient commands wait and the others are refused; with one again, all are applied. */
  set hasQuorum(hasQuorum: boolean) {
    this.#hasQuorum = hasQuorum;
    if (!hasQuorum) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) this.#defer(() => this.#run(one));
  }

  get(vm: string): VmOwnership | null {
    return this.#machine.get(vm);
  }

  /** A command that no host proposed, such as that of an earlier life. */
  apply(command: OwnershipCommand): OwnershipAnswer {
    this.#applied += 1;
    const answer = decodeAnswer(this.#machine.execute(encodeCommand(command)));
    assert(answer !== null, 'an answer can be read');
    return answer;
  }

  /** What one host sees of it. */
  portOf(host: string): Ownership {
    assert(this.#hosts.includes(host), `${host} is of the group`);
    return {
      propose: (command, patienceMs, done) => {
        this.#defer(() => this.#run({ command, patienceMs, done }));
      },
      get: (vm) => this.#machine.get(vm),
      list: () => this.#machine.list(),
      onChange: (listener) => void this.#listeners.push(listener),
      group: () => this.#group(),
    };
  }

  #run(one: Waiting): void {
    if (this.#hasQuorum) return one.done(succeeded(this.apply(one.command)));
    if (one.patienceMs === null) {
      this.#waiting.push(one);
      return;
    }
    one.done(failed(new DwcpError('ERR_DWCP_NO_QUORUM', 'the group has no majority here')));
  }

  #group(): GroupView {
    return {
      voters: this.#hosts,
      leader: this.#hasQuorum ? (this.#hosts[0] ?? null) : null,
      term: 1,
      commitIndex: this.#applied,
      appliedIndex: this.#applied,
      problem: this.#hasQuorum ? null : 'no majority of the group answers',
    };
  }
}
