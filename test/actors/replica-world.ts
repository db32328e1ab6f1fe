/** Replica actors on simulated hosts: every message travels as bytes, every write waits for a disk. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { dwcp } from '#wire';
import { calmPlan, World } from '../../sim/index.ts';
import { MemoryRaftLog } from '../../sim/raft/memory-raft-log.ts';
import { RaftStore } from '../../sim/raft/store.ts';
import type { SimHost } from '../../sim/world/host.ts';
import { spawnReplica } from '../../src/actors/replica.ts';
import type { ReplicaMessage, ReplicaStatus } from '../../src/actors/replica-messages.ts';
import type { ReplicaOptions } from '../../src/actors/replica-options.ts';
import type { ActorRef } from '../../src/actors/system.ts';
import type { OpenedRaftLog } from '../../src/ports/raft-log.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import type { Application } from '../../src/protocols/raft/sessions/machine.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import type { Outcome } from '../../src/util/errors.ts';

export const GROUP = 'owners';
export const SECOND_US: number = 1_000_000;
const FILE = 'raft-log';

export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Keeps every command in order; the answer is how many there were, and the command. */
export class Recorder implements Application {
  commands: string[] = [];

  execute(command: Uint8Array): Uint8Array {
    const text = new TextDecoder().decode(command);
    this.commands.push(text);
    return new TextEncoder().encode(`${this.commands.length} ${text}`);
  }
  encode(): Uint8Array {
    return new TextEncoder().encode(this.commands.join('\n'));
  }
  restore(bytes: Uint8Array): void {
    const text = new TextDecoder().decode(bytes);
    this.commands = text === '' ? [] : text.split('\n');
  }
}

/** One life of a replica. */
export interface Life {
  readonly ref: ActorRef<ReplicaMessage>;
  readonly application: Recorder;
  readonly reports: string[];
  readonly statuses: ReplicaStatus[];
  appliedIndex: number;
}

type Overrides = Partial<Pick<ReplicaOptions, 'limits' | 'proposals' | 'timing'>>;

/** Records that a disk keeps whole, or the shipped format on a simulated disk, byte by byte. */
export type LogKind = 'memory' | 'durable';

interface WorldOptions extends Overrides {
  readonly log?: LogKind;
  readonly seed?: number;
}

export class ReplicaWorld {
  readonly world: World;
  readonly names: readonly string[];
  readonly lives: Map<string, Life> = new Map();
  /** Frames may be looked at, changed or swallowed (null) on their way. */
  onFrame: (from: string, to: string, frame: Uint8Array) => Uint8Array | null = (_f, _t, frame) =>
    frame;
  readonly #stores = new Map<string, RaftStore>();
  readonly #overrides: Overrides;
  readonly #log: LogKind;

  constructor(hosts: number, { log = 'memory', seed = 7, ...overrides }: WorldOptions = {}) {
    this.names = Array.from({ length: hosts }, (_, index) => `host-${index}`);
    this.world = new World({ seed, plan: calmPlan, hosts: this.names, clients: [] });
    this.#overrides = overrides;
    this.#log = log;
    for (const name of this.names) this.boot(name);
    this.await('all run', () => this.lives.size === hosts);
  }

  host(name: string): SimHost {
    return this.world.hostNamed(name);
  }

  life(name: string): Life {
    const life = this.lives.get(name);
    assert.ok(life, `${name} runs`);
    return life;
  }

  boot(name: string): void {
    const host = this.host(name);
    const founding = founder(this.names.map((_, index) => index + 1));
    if (this.#log === 'durable') {
      const identity = { group: GROUP, replica: this.names.indexOf(name) + 1 };
      const { incarnation } = host;
      openRaftLog(host.disk, identity, founding, sha256, (outcome) => {
        if (host.incarnation !== incarnation) return;
        assert.ok(outcome.ok, outcome.ok ? '' : outcome.error.message);
        this.#start(name, outcome.value);
      });
      return;
    }
    const store = this.#stores.get(name) ?? new RaftStore(founding);
    this.#stores.set(name, store);
    host.disk.writeAt(FILE, 0, new Uint8Array(1), () => {});
    const log = new MemoryRaftLog(store, sha256, (done) => host.disk.fdatasync(FILE, done));
    this.#start(name, { log, restored: store.restored() });
  }

  #start(name: string, log: OpenedRaftLog): void {
    const host = this.host(name);
    const application = new Recorder();
    const reports: string[] = [];
    const statuses: ReplicaStatus[] = [];
    const ref = spawnReplica(host.actorHost(), {
      ...{ group: GROUP, self: name, members: this.names, application, digest: sha256, log },
      random: {
        stream: (label) => host.random(label),
        bytes: (count) => Uint8Array.from({ length: count }, () => host.random('nonce').below(256)),
      },
      send: (peer, envelope) => {
        const frame = this.onFrame(name, peer, dwcp.Envelope.encode(envelope).finish());
        if (frame !== null) host.send(`${peer}/replica`, frame);
      },
      onApplied: (index) => {
        life.appliedIndex = index;
      },
      onStatus: (status) => statuses.push(status),
      report: (_fields, message) => reports.push(message),
      ...this.#overrides,
    });
    const life: Life = { ref, application, reports, statuses, appliedIndex: 0 };
    this.lives.set(name, life);
    host.on<Uint8Array>('replica', (frame, from) => {
      ref.tell({ type: 'envelope', peer: from, envelope: dwcp.Envelope.decode(frame) });
    });
  }

  crash(name: string): void {
    this.host(name).crash();
    this.#stores.get(name)?.crash(this.host(name).random('raft-disk'));
    this.lives.delete(name);
  }

  restart(name: string): void {
    this.host(name).restart();
    this.boot(name);
    this.await(`${name} runs`, () => this.lives.has(name));
  }

  run(forUs: number, until: (() => boolean) | null = null): void {
    this.world.run(this.world.nowUs + forUs, until);
    assert.equal(this.world.violation, null, JSON.stringify(this.world.violation));
  }

  /** Runs until it holds; fails after `withinUs` of simulated time. */
  await(what: string, holds: () => boolean, withinUs: number = 10 * SECOND_US): void {
    if (!holds()) this.run(withinUs, holds);
    assert.ok(holds(), `${what} within ${withinUs / 1e6} simulated seconds`);
  }

  status(name: string): ReplicaStatus {
    let status: ReplicaStatus | null = null;
    this.life(name).ref.tell({
      type: 'status',
      done: (outcome) => {
        if (outcome.ok) status = outcome.value;
      },
    });
    this.run(SECOND_US, () => status !== null);
    assert.ok(status);
    return status;
  }

  /** Where all that run agree who leads. */
  leader(): string {
    let leader: string | null = null;
    this.await('a leader that all know', () => {
      const seen = [...this.lives.values()].map(({ statuses }) => statuses.at(-1)?.leader ?? null);
      leader = seen.every((each) => each === seen[0]) ? (seen[0] ?? null) : null;
      return leader !== null && this.lives.has(leader);
    });
    assert.ok(leader);
    return leader;
  }

  follower(): string {
    const leader = this.leader();
    const name = [...this.lives.keys()].find((each) => each !== leader);
    assert.ok(name);
    return name;
  }

  propose(name: string, text: string, patienceMs: number | null = null): Proposed {
    const life = this.life(name);
    const proposed: Proposed = { text, outcome: null, isLost: () => this.lives.get(name) !== life };
    const told = life.ref.tell({
      type: 'propose',
      command: new TextEncoder().encode(text),
      patienceMs,
      done: (outcome) => {
        assert.equal(proposed.outcome, null, `${text} is answered once`);
        proposed.outcome = outcome.ok
          ? { ok: true, value: new TextDecoder().decode(outcome.value) }
          : outcome;
      },
    });
    assert.equal(told, 'accepted');
    return proposed;
  }

  /** All hosts have the same commands, each once. */
  assertSame(): void {
    const lists = [...this.lives.values()].map(({ application }) => application.commands);
    const longest = lists.reduce((a, b) => (b.length > a.length ? b : a), []);
    assert.equal(new Set(longest).size, longest.length, 'each command ran once');
    for (const list of lists) assert.deepEqual(list, longest.slice(0, list.length));
  }

  end(): void {
    for (const host of this.world.hosts) if (host.up) host.actorHost().shutdown(() => {});
  }
}

export interface Proposed {
  readonly text: string;
  outcome: Outcome<string> | null;
  /** The life that it was asked of is over: nobody will answer. */
  readonly isLost: () => boolean;
}

export function answered(all: readonly Proposed[]): boolean {
  return all.every(({ outcome }) => outcome !== null);
}

export function answer({ outcome }: Proposed): string {
  assert.ok(outcome?.ok === true, outcome?.ok === false ? outcome.error.message : 'no answer');
  return outcome.value;
}

export function code({ outcome }: Proposed): string {
  assert.ok(outcome?.ok === false, 'it is an error');
  return outcome.error.code;
}
