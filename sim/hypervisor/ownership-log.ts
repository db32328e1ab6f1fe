/**
 * The replicated log as two hosts of a group see it: each has its own machine, applies the same
 * commands in the same order at its own pace, and starts over from the first after a restart. What
 * happens next, and when, is the world's choice.
 */
import { OwnershipMachine } from '../../src/protocols/ownership/machine.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../../src/protocols/ownership/types.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../../src/util/errors.ts';
import type { HostName } from './guest-model.ts';

export type Answered = (outcome: Outcome<OwnershipAnswer>) => void;

interface Entry {
  readonly command: OwnershipCommand;
  readonly proposal: Proposal | null;
}

interface Proposal {
  readonly command: OwnershipCommand;
  readonly isPatient: boolean;
  readonly host: HostName;
  answered: Answered | null;
}

interface Replica {
  machine: OwnershipMachine;
  applied: number;
}

/** Puts what may happen next where the world draws from. */
export type Later = (lane: string, what: string, run: () => void) => void;

export class OwnershipLog {
  readonly entries: Entry[] = [];
  readonly #later: Later;
  readonly #news: (host: HostName, vm: VmOwnership | null) => void;
  readonly #replicas: Record<HostName, Replica>;
  #proposals: Proposal[] = [];
  #count = 0;

  constructor(later: Later, news: (host: HostName, vm: VmOwnership | null) => void) {
    this.#later = later;
    this.#news = news;
    this.#replicas = {
      source: this.#newReplica('source'),
      destination: this.#newReplica('destination'),
    };
  }

  get(host: HostName): VmOwnership | null {
    return this.#replicas[host].machine.get('vm');
  }

  /** What everybody will have applied in the end. */
  get settled(): VmOwnership | null {
    const machine = new OwnershipMachine();
    for (const { command } of this.entries) machine.apply(command);
    return machine.get('vm');
  }

  propose(
    host: HostName,
    command: OwnershipCommand,
    patienceMs: number | null,
    answered: Answered,
  ): void {
    const proposal = { command, isPatient: patienceMs === null, host, answered };
    this.#proposals.push(proposal);
    this.#count += 1;
    // A lane of its own: proposals overtake each other.
    this.#later(`log ${host} ${this.#count}`, `${host} logs ${command.type}`, () => {
      this.#proposals = this.#proposals.filter((other) => other !== proposal);
      this.append(command, proposal);
    });
  }

  append(command: OwnershipCommand, proposal: Proposal | null = null): void {
    this.entries.push({ command, proposal });
    for (const host of ['source', 'destination'] as const) this.#applyLater(host);
  }

  /** Without a majority for so long: told so, and perhaps applied all the same later on. */
  runOutOfPatience(): void {
    for (const proposal of this.#proposals) {
      if (proposal.isPatient) continue;
      const { answered } = proposal;
      proposal.answered = null;
      answered?.(failed(new DwcpError('ERR_DWCP_NO_QUORUM', 'no majority')));
    }
  }

  /** The next process of this host hears everything anew; nobody waits for the old answers. */
  restart(host: HostName): void {
    for (const { proposal } of this.entries) {
      if (proposal?.host === host) proposal.answered = null;
    }
    for (const proposal of this.#proposals) if (proposal.host === host) proposal.answered = null;
    this.#replicas[host] = this.#newReplica(host);
    for (const _ of this.entries) this.#applyLater(host);
  }

  #applyLater(host: HostName): void {
    const replica = this.#replicas[host];
    this.#later(`apply ${host}`, `${host} applies`, () => {
      const entry = this.entries[replica.applied];
      if (entry === undefined || this.#replicas[host] !== replica) return;
      replica.applied += 1;
      const answer = replica.machine.apply(entry.command);
      const { proposal } = entry;
      const answered = proposal?.host === host ? proposal.answered : null;
      if (answered === null || answered === undefined) return;
      if (proposal !== null) proposal.answered = null;
      this.#later(`answer ${host}`, `${host} hears of ${entry.command.type}`, () =>
        answered(succeeded(answer)),
      );
    });
  }

  #newReplica(host: HostName): Replica {
    const machine = new OwnershipMachine({
      // Later, by a way of its own: an answer may come before older news.
      onChange: (_vm, now) =>
        this.#later(`news ${host}`, `${host} hears ${describe(now)}`, () => this.#news(host, now)),
    });
    return { machine, applied: 0 };
  }
}

function describe(vm: VmOwnership | null): string {
  if (vm === null) return 'that it is gone';
  const { owner, epoch, migration } = vm;
  return `${owner} owns it under ${epoch}${migration === null ? '' : ', prepared'}`;
}
