/** The ownership log of one host: its machine, the replica that feeds it, and the owner before both. */
import type { GroupView, Ownership } from '../ports/ownership.ts';
import type { Storage } from '../ports/storage.ts';
import { OwnershipMachine } from '../protocols/ownership/machine.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../protocols/ownership/types.ts';
import type { Application } from '../protocols/raft/sessions/machine.ts';
import { type Completion, DwcpError, failed } from '../util/errors.ts';
import { type OwnerMessage, ownerActor } from './owner.ts';
import type { OwnerLife } from './owner-records.ts';
import type { ReplicaMessage, ReplicaStatus } from './replica-messages.ts';
import type { ActorRef } from './system.ts';
import type { Spawner } from './telemetry.ts';

export interface SpawnOwnerOptions {
  readonly host: string;
  readonly voters: readonly string[];
  readonly dataDir: string;
  readonly life: OwnerLife;
  readonly storage: Storage;
  readonly spawnReplica: (hooks: ReplicaHooks) => ActorRef<ReplicaMessage>;
  /** This host must not go on: see the owner, and its log can not be written any more. */
  readonly onHalt: (error: DwcpError) => void;
}

/** What a replica is to call, in its own turns. */
export interface ReplicaHooks {
  readonly application: Application;
  readonly onStatus: (status: ReplicaStatus) => void;
  readonly onApplied: (appliedIndex: number) => void;
}

export interface SpawnedOwner {
  readonly ownership: Ownership;
  readonly replica: ActorRef<ReplicaMessage>;
}

type Listener = (vm: string, now: VmOwnership | null) => void;

export function spawnOwner(spawner: Spawner, options: SpawnOwnerOptions): SpawnedOwner {
  const { host, voters, dataDir, life, storage, onHalt } = options;
  const log = new AppliedLog(voters);
  let owner: ActorRef<OwnerMessage> | null = null;
  let isHalted = false;
  const replica = options.spawnReplica({
    application: log.machine,
    onStatus: (status) => {
      log.told(status);
      if (status.phase !== 'halted' || isHalted) return;
      isHalted = true;
      onHalt(diskFailed(dataDir, status.problem));
    },
    onApplied: (index) => {
      log.applied(index);
      const known = log.machine.lifeOf(host);
      // Asked again after the next entry, should the owner be too busy to hear it.
      if (known !== null && known.life > life.life) owner?.tell({ type: 'superseded' });
    },
  });
  const actor = spawner.spawn(ownerActor({ host, dataDir, life, storage, replica, onHalt }));
  owner = actor;
  return { ownership: new OwnerPort(log, actor), replica };
}

/** What this host has applied, and what it last heard of its replica. */
class AppliedLog {
  readonly machine: OwnershipMachine;
  readonly listeners: Listener[] = [];
  readonly #voters: readonly string[];
  #status: ReplicaStatus | null = null;
  #appliedIndex = 0;

  constructor(voters: readonly string[]) {
    this.#voters = voters;
    this.machine = new OwnershipMachine({
      onChange: (vm, now) => {
        for (const listener of this.listeners) listener(vm, now);
      },
    });
  }

  told(status: ReplicaStatus): void {
    this.#status = status;
  }

  applied(index: number): void {
    this.#appliedIndex = index;
  }

  group(): GroupView {
    const status = this.#status;
    const appliedIndex = Math.max(this.#appliedIndex, status?.appliedIndex ?? 0);
    return {
      voters: status?.voters ?? this.#voters,
      leader: status?.leader ?? null,
      term: status?.term ?? 0,
      commitIndex: Math.max(appliedIndex, status?.commitIndex ?? 0),
      appliedIndex,
      problem: status === null ? 'the log of the group is being read' : status.problem,
    };
  }
}

class OwnerPort implements Ownership {
  readonly #log: AppliedLog;
  readonly #owner: ActorRef<OwnerMessage>;

  constructor(log: AppliedLog, owner: ActorRef<OwnerMessage>) {
    this.#log = log;
    this.#owner = owner;
  }

  propose(
    command: OwnershipCommand,
    patienceMs: number | null,
    done: Completion<OwnershipAnswer>,
  ): void {
    const told = this.#owner.tell({ type: 'propose', command, patienceMs, done });
    if (told === 'accepted') return;
    const code = told === 'full' ? 'ERR_DWCP_LIMIT' : 'ERR_DWCP_CLOSED';
    done(failed(new DwcpError(code, `the owner of this host is ${told}`)));
  }

  get(vm: string): VmOwnership | null {
    return this.#log.machine.get(vm);
  }

  list(): readonly VmOwnership[] {
    return this.#log.machine.list();
  }

  onChange(listener: Listener): void {
    this.#log.listeners.push(listener);
  }

  group(): GroupView {
    return this.#log.group();
  }
}

/** A host without its log settles nothing any more: a guest that it fenced would stand for ever. */
function diskFailed(dataDir: string, problem: string | null): DwcpError {
  const what = `the log of the group in ${dataDir} cannot go on: ${problem ?? 'its disk failed'}`;
  return new DwcpError('ERR_DWCP_STORAGE', what, {
    hint: 'Mend the disk and start the agent again. Its guests go on running, and the other hosts go on while they are a majority.',
  });
}
