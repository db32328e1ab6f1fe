/** What the replicas of one run share: their disks, who asked what, and the checkers. */
import type {
  Entry,
  Message,
  Raft,
  RaftLimits,
  RaftTiming,
  ReadGuarantee,
  Restored,
} from '../../src/protocols/raft/types.ts';
import {
  type Candidate,
  type RaftChecker,
  RaftWatch,
  raftCheckers,
} from '../checkers/raft/watch.ts';
import type { LabelledStream } from '../world/decisions.ts';
import type { Address, SimHost } from '../world/host.ts';
import type { World } from '../world/world.ts';
import { encodeCommand, type KvCommand } from './machine.ts';
import { RaftReplica } from './replica.ts';
import { RaftStore } from './store.ts';
import type { Operator } from './variation.ts';

/** What a client sends to any replica. */
export interface ClientRequest extends KvCommand {
  readonly attempt: number;
  readonly guarantee: ReadGuarantee | null;
  readonly from: Address;
}

export interface ClientAnswer {
  readonly id: number;
  readonly attempt: number;
  /** Null output of a refused request says nothing. */
  readonly ok: boolean;
  readonly output: unknown;
  /** Index of the host to ask next; null: any. */
  readonly leader: number | null;
}

export interface ClusterOptions {
  readonly timing: Partial<RaftTiming>;
  readonly limits: Partial<RaftLimits>;
  /** For planted bugs, between a core and its driver. */
  readonly mutate: (raft: Raft, id: number) => Raft;
  /** Without the checkers a run says only how fast the simulator is; a name leaves that one alone. */
  readonly checks: boolean | string;
  /** Null: nobody hands over leadership or changes the membership. */
  readonly operator: Operator | null;
}

const RESTART_US = 200_000;
/** Until an operator who waited for a leader asks it, at most. */
const IMPATIENCE_US = 50_000;
const VOTERS_MIN = 3;

export class RaftCluster {
  readonly watch: RaftWatch;
  readonly timing: Partial<RaftTiming>;
  readonly limits: Partial<RaftLimits>;
  readonly mutate: ClusterOptions['mutate'];
  readonly replicas: Map<number, RaftReplica> = new Map();
  readonly #world: World;
  readonly #stores = new Map<number, RaftStore>();
  /** Requests that a replica has taken, by its own number for them. */
  readonly #requests = new Map<number, { readonly on: number; readonly request: ClientRequest }>();
  #requestIds = 0;
  readonly #addresses: readonly Address[];
  readonly #operator: Operator | null;

  constructor(world: World, options: ClusterOptions) {
    this.#world = world;
    this.#addresses = world.hosts.map(({ name }) => `${name}/raft`);
    this.timing = options.timing;
    this.limits = options.limits;
    this.mutate = options.mutate;
    this.#operator = options.operator;
    const { checks } = options;
    const checkers = checks === false ? [] : raftCheckers();
    const isAsked = ({ name }: RaftChecker): boolean => checks === true || name === checks;
    this.watch = new RaftWatch(world, checkers.filter(isAsked));
  }

  boot(host: SimHost): void {
    const id = host.index + 1;
    let store = this.#stores.get(id);
    if (store === undefined) {
      store = new RaftStore(this.#founding());
      this.#stores.set(id, store);
    } else {
      store.crash(host.random('raft-disk'));
    }
    for (const [key, { on }] of this.#requests) if (on === id) this.#requests.delete(key);
    const replica = new RaftReplica(this, host, id, store);
    this.replicas.set(id, replica);
    host.on<Message>('raft', (message) => replica.receive(message));
    host.on<ClientRequest>('kv', (request) => this.#take(replica, request));
    if (this.#operator !== null) this.#operate(host, replica, this.#operator);
  }

  send(from: SimHost, message: Message): void {
    const address = this.#addresses[message.to - 1];
    if (address !== undefined) from.send(address, message);
  }

  /** A replica whose disk failed is started again from what the disk really holds. */
  halted(host: SimHost): void {
    this.#world.sometimes('a replica halted');
    const { incarnation } = host;
    this.#world.schedule(this.#world.nowUs + RESTART_US, 'restart', host.name, null, () => {
      if (host.incarnation !== incarnation || !host.up) return;
      host.crash();
      host.restart();
      this.boot(host);
    });
  }

  done(on: number, requestId: number, output: unknown): void {
    this.#answer(on, requestId, { ok: output !== undefined, output, leader: on - 1 });
  }

  refused(on: number, requestId: number, leader: number | null): void {
    this.#answer(on, requestId, {
      ...{ ok: false, output: null, leader: leader === null ? null : leader - 1 },
    });
  }

  readable(on: number, requestId: number): void {
    const key = this.#requests.get(requestId)?.request.input.key ?? '';
    this.#answer(on, requestId, {
      ...{ ok: true, output: this.replicas.get(on)?.get(key) ?? null, leader: null },
    });
  }

  /** Asked only while the configuration itself is committed: otherwise another one counted. */
  countedBy(leader: RaftReplica, entry: Entry): void {
    const { configuration, configurationIndex } = leader;
    if (configurationIndex >= entry.index || !this.watch.cares('counted')) return;
    const isDurableOn = (id: number): boolean =>
      this.#stores.get(id)?.holds(entry.index, entry.term) ?? false;
    this.watch.tell('counted', { leader, entry, configuration, isDurableOn });
  }

  committedBy({ id }: RaftReplica, entry: Entry): void {
    if (!this.watch.cares('committed')) return;
    const candidates = [...this.replicas.values()].map(candidate);
    this.watch.tell('committed', { id, entry, candidates });
  }

  granted(voter: RaftReplica, to: number): void {
    const replica = this.replicas.get(to);
    if (replica !== undefined) this.watch.tell('granted', candidate(voter), replica);
  }

  /** Index of the host whose replica leads in the newest term. */
  leader(): number | null {
    let newest: RaftReplica | null = null;
    for (const replica of this.replicas.values()) {
      if (!replica.leads || !this.#world.hosts[replica.id - 1]?.up) continue;
      const { term } = replica.raft.status();
      if (newest === null || term > newest.raft.status().term) newest = replica;
    }
    return newest === null ? null : newest.id - 1;
  }

  finalState(): unknown {
    return [...this.#stores].map(([id, store]) => [id, store.restored()]);
  }

  #take(replica: RaftReplica, request: ClientRequest): void {
    this.#requestIds += 1;
    const requestId = this.#requestIds;
    this.#requests.set(requestId, { on: replica.id, request });
    const { guarantee, session, id, input } = request;
    const { nowUs } = replica;
    if (guarantee !== null) return replica.step({ type: 'read', requestId, guarantee, nowUs });
    const data = encodeCommand({ session, id, input });
    replica.step({ type: 'propose', commands: [{ requestId, data }], nowUs });
  }

  #answer(
    on: number,
    requestId: number,
    outcome: Pick<ClientAnswer, 'ok' | 'output' | 'leader'>,
  ): void {
    const taken = this.#requests.get(requestId);
    this.#requests.delete(requestId);
    const host = this.#world.hosts[on - 1];
    if (taken === undefined || host === undefined) return;
    const { from, id, attempt } = taken.request;
    host.send(from, { id, attempt, ...outcome } satisfies ClientAnswer);
  }

  /** An operator who changes things while they break: hands over leadership, removes and adds voters. */
  #operate(host: SimHost, replica: RaftReplica, operator: Operator): void {
    const random = host.random('operator');
    const { everyUs } = operator;
    host.after(random.between(everyUs / 2, everyUs * 2), 'operator', () => {
      this.#operate(host, replica, operator);
      this.#act(replica, random);
    });
  }

  /** Whoever waited for a leader to change things asks the new one before it has done anything. */
  elected(host: SimHost, replica: RaftReplica): void {
    const random = host.random('impatient operator');
    if (!random.chance(this.#operator?.waitingPermyriad ?? 0)) return;
    host.after(random.below(IMPATIENCE_US), 'operator', () => this.#act(replica, random));
  }

  #act(replica: RaftReplica, random: LabelledStream): void {
    const { nowUs } = replica;
    const { role, configuration } = replica.raft.status();
    if (role !== 'leader') return;
    const id = 1 + random.below(this.#world.hosts.length);
    if (random.below(2) === 0) {
      if (id !== replica.id) replica.step({ type: 'transferLeadership', to: id, nowUs });
      return;
    }
    const { voters } = configuration;
    const mode = random.below(2) === 0 ? 'enterJoint' : 'simple';
    // Only a joint configuration may change several at once.
    const ids = new Set([id]);
    const others = mode === 'enterJoint' ? random.below(3) : 0;
    for (let more = others; more > 0; more -= 1) {
      ids.add(1 + random.below(this.#world.hosts.length));
    }
    const changes = [...ids].map(
      (each) => ({ op: voters.has(each) ? 'remove' : 'addVoter', id: each }) as const,
    );
    const left = changes.reduce((sum, { op }) => sum + (op === 'remove' ? -1 : 1), voters.size);
    if (left < VOTERS_MIN) return;
    this.#requestIds += 1;
    const requestId = this.#requestIds;
    const asked = {
      type: 'changeConfiguration',
      requestId,
      mode,
      changes,
      autoLeave: true,
    } as const;
    replica.step({ ...asked, nowUs });
  }

  #founding(): Restored {
    const voters = new Set(this.#world.hosts.map(({ index }) => index + 1));
    const none: ReadonlySet<number> = new Set();
    const others = { votersOutgoing: none, learners: none, learnersNext: none, autoLeave: false };
    const configuration = { voters, ...others };
    return {
      hardState: { term: 0, vote: null, commit: 0 },
      snapshot: { index: 0, term: 0, configuration, sizeBytes: 0, digest: '' },
      ...{ entries: [], compacted: null, appliedIndex: 0, partialSnapshot: null },
      ...{ damagedIndex: null, voteDamaged: false },
    };
  }
}

function candidate(replica: RaftReplica): Candidate {
  const { configuration, last } = replica;
  return { replica, configuration, last };
}
