/**
 * A small network of cores in virtual time. Latency, loss, crashes and what clients do are choices;
 * when those are used up the network is kind, and the group must make progress.
 */
import { membersOf } from '../../../src/protocols/raft/configuration.ts';
import { founder, joiner } from '../../../src/protocols/raft/fresh.ts';
import type {
  ConfigurationChange,
  Effect,
  Input,
  Message,
  RaftLimits,
  RaftStatus,
  RaftTiming,
  Timed,
} from '../../../src/protocols/raft/types.ts';
import { Checkers } from './checkers.ts';
import { Choices, type Schedule } from './choices.ts';
import { digestOf, type Mutation, TestHost } from './test-host.ts';

export interface NetworkOptions {
  readonly voters: number;
  readonly joiners: number;
  readonly schedule?: Schedule;
  readonly mutate?: Mutation;
  readonly limits?: Partial<RaftLimits>;
  readonly timing?: Partial<RaftTiming>;
  /** Runs in place of true time on this host. */
  readonly clock?: (id: number, timeUs: number) => number;
}

interface Event {
  readonly atUs: number;
  readonly sequence: number;
  readonly run: () => void;
}

const SMALL: Partial<RaftLimits> = {
  messageBytes: 200,
  inflightMessages: 3,
  inflightBytes: 400,
  uncommittedBytes: 600,
  applyingBytes: 300,
  waitingReads: 8,
  snapshotChunkBytes: 16,
  snapshotEveryEntries: 8,
  keptTailEntries: 2,
  logBytes: 4000,
};

export class Network {
  readonly hosts: Map<number, TestHost> = new Map();
  readonly checkers: Checkers = new Checkers();
  readonly seen: Map<string, number> = new Map();
  readonly #choices: Choices;
  readonly #clock: (id: number, timeUs: number) => number;
  #events: Event[] = [];
  #sequence = 0;
  timeUs = 1_000_000;
  #isKind = false;
  readonly cut: Set<string> = new Set();
  /** Hosts whose disk finishes nothing. */
  readonly stalled: Set<number> = new Set();
  readonly carried: Message[] = [];
  #requestId = 0;
  /** Highest index that some client was told about. */
  acknowledgedIndex = 0;
  readonly #proposals: Map<number, { host: number; life: number; index: number; term: number }> =
    new Map();
  readonly #reads: Map<number, number> = new Map();
  readonly answers: Effect[] = [];

  constructor(options: NetworkOptions) {
    this.#choices = new Choices(options.schedule ?? { seed: 0, length: 0 });
    this.#clock = options.clock ?? ((_, timeUs) => timeUs);
    const voters = Array.from({ length: options.voters }, (_, at) => at + 1);
    const joiners = Array.from({ length: options.joiners }, (_, at) => options.voters + at + 1);
    for (const id of [...voters, ...joiners]) {
      const host = new TestHost({
        id,
        initial: voters.includes(id) ? founder(voters) : joiner(),
        limits: { ...SMALL, ...options.limits },
        timing: options.timing ?? {},
        mutate: options.mutate ?? ((raft) => raft),
      });
      this.hosts.set(id, host);
      this.boot(id);
    }
  }

  host(id: number): TestHost {
    const host = this.hosts.get(id);
    if (host === undefined) throw new Error(`no host ${id}`);
    return host;
  }

  get leader(): TestHost | null {
    let best: TestHost | null = null;
    let term = -1;
    for (const host of this.hosts.values()) {
      const status = host.raft?.status();
      if (status?.role === 'leader' && status.term > term) {
        best = host;
        term = status.term;
      }
    }
    return best;
  }

  boot(id: number): void {
    const host = this.host(id);
    host.boot();
    this.checkers.newLife(id);
    this.input(id, { type: 'start' });
  }

  crash(id: number): void {
    const host = this.host(id);
    const survivors = this.#choices.byte() % (host.disk.queue.length + 1);
    host.crash(survivors);
  }

  /** Events until `untilUs`, or until `done` says so. */
  run(durationUs: number, done: () => boolean = () => false): boolean {
    const endUs = this.timeUs + durationUs;
    for (;;) {
      if (done()) return true;
      const next = this.#pop(endUs);
      if (next === null) {
        this.timeUs = Math.max(this.timeUs, endUs);
        return done();
      }
      this.timeUs = next.atUs;
      next.run();
      if (!this.#isKind && !this.#choices.isExhausted) this.#chaos();
    }
  }

  /** Until the choices are used up; then everything heals. */
  runChaos(): void {
    this.run(600_000_000, () => this.#choices.isExhausted);
    this.heal();
  }

  /** After healing: the group takes a command, and whoever is in it comes to have it. */
  makesProgress(withinUs: number): boolean {
    const wanted = this.checkers.highestCommitted + 1;
    const ask = (): void => {
      if (this.acknowledgedIndex >= wanted) return;
      const { leader } = this;
      if (leader !== null) this.propose(leader.id, Uint8Array.of(1));
      this.later(500_000, ask);
    };
    ask();
    return this.run(withinUs, () => {
      if (this.acknowledgedIndex < wanted) return false;
      const configuration = this.leader?.raft?.status().configuration;
      if (configuration === undefined) return false;
      return membersOf(configuration).every((id) => this.host(id).machine.index >= wanted);
    });
  }

  heal(): void {
    this.#isKind = true;
    this.cut.clear();
    for (const host of this.hosts.values()) if (host.raft === null) this.boot(host.id);
  }

  input(id: number, input: Input): void {
    const host = this.host(id);
    if (host.raft === null) return;
    const nowUs = this.#clock(id, this.timeUs);
    const effects = host.raft.step({ ...input, nowUs } as Timed<Input>);
    for (const effect of effects) this.#perform(host, effect);
    const { commitIndex, role, configuration, term } = host.raft.status();
    const isAdvance = this.checkers.committed(host, commitIndex);
    if (isAdvance && role === 'leader' && host.termAt(commitIndex) === term) {
      this.checkers.survives(id, configuration, commitIndex, (member) =>
        this.host(member).disk.holds(commitIndex, term),
      );
    }
  }

  propose(id: number, data: Uint8Array): number {
    this.#requestId += 1;
    const requestId = this.#requestId;
    this.input(id, { type: 'propose', commands: [{ requestId, data }] });
    return requestId;
  }

  read(id: number, guarantee: 'linearizable' | 'stale' | { maxDriftPpm: number }): number {
    this.#requestId += 1;
    const requestId = this.#requestId;
    if (guarantee !== 'stale') this.#reads.set(requestId, this.acknowledgedIndex);
    this.input(id, {
      type: 'read',
      requestId,
      guarantee:
        typeof guarantee === 'string' ? { kind: guarantee } : { kind: 'lease', ...guarantee },
    });
    return requestId;
  }

  change(id: number, changes: readonly ConfigurationChange[], joint: boolean): void {
    this.#requestId += 1;
    this.input(id, {
      type: 'changeConfiguration',
      requestId: this.#requestId,
      mode: joint ? 'enterJoint' : 'simple',
      changes,
      autoLeave: true,
    });
  }

  later(delayUs: number, run: () => void): void {
    this.#sequence += 1;
    this.#events.push({ atUs: this.timeUs + delayUs, sequence: this.#sequence, run });
  }

  #pop(endUs: number): Event | null {
    let first: Event | null = null;
    for (const event of this.#events) {
      const isEarlier =
        first === null ||
        event.atUs < first.atUs ||
        (event.atUs === first.atUs && event.sequence < first.sequence);
      if (isEarlier) first = event;
    }
    if (first === null || first.atUs > endUs) return null;
    this.#events.splice(this.#events.indexOf(first), 1);
    return first;
  }

  #perform(host: TestHost, effect: Effect): void {
    const { id, life } = host;
    const alive = (run: () => void) => () => {
      if (host.raft !== null && host.life === life) run();
    };
    this.seen.set(effect.type, (this.seen.get(effect.type) ?? 0) + 1);
    switch (effect.type) {
      case 'persist':
        host.write(effect.entries, effect.snapshot, (entry, previous) =>
          this.checkers.wrote(id, entry, previous),
        );
        host.disk.queue.push(effect);
        this.later(
          this.#diskDelayUs(),
          alive(() => this.#sync(host)),
        );
        return;
      case 'persistSnapshotChunk':
        host.disk.queue.push(effect);
        this.later(
          this.#diskDelayUs(),
          alive(() => this.#sync(host)),
        );
        return;
      case 'send':
        if (effect.after === null) this.#carry(effect.message);
        else host.held.push(effect);
        return;
      case 'apply':
      case 'restore':
      case 'takeSnapshot':
        host.machineQueue.push(effect);
        this.later(
          this.#delayUs(),
          alive(() => this.#machine(host)),
        );
        return;
      case 'compact':
        host.disk.later(effect);
        host.compacted(effect.throughIndex);
        return;
      case 'discardSnapshot':
        host.disk.later(effect);
        return;
      case 'readSnapshot': {
        const { to, snapshot, offset, lengthBytes } = effect;
        const { index, digest } = snapshot;
        const data = host.disk.read(snapshot)?.slice(offset, offset + lengthBytes) ?? null;
        const input = { type: 'snapshotRead', to, index, digest, offset, data } as const;
        this.later(
          this.#delayUs(),
          alive(() => this.input(id, input)),
        );
        return;
      }
      case 'verifySnapshot': {
        const { digest } = effect.snapshot;
        const data = host.disk.received(effect.snapshot);
        const ok = data !== null && digestOf(data) === digest;
        this.later(
          this.#delayUs(),
          alive(() => this.input(id, { type: 'snapshotVerified', digest, ok })),
        );
        return;
      }
      case 'setTimer':
        this.#setTimer(host, effect.id, effect.atUs);
        return;
      case 'cancelTimer':
        host.timers.delete(effect.id);
        return;
      case 'proposed': {
        const { requestId, index, term } = effect;
        this.#proposals.set(requestId, { host: id, life, index, term });
        this.answers.push(effect);
        return;
      }
      case 'readReady': {
        const floor = this.#reads.get(effect.requestId);
        if (floor !== undefined) this.checkers.readAnswered(id, floor, effect.index);
        if (host.machine.index < effect.index) throw new Error('read before it was applied');
        this.answers.push(effect);
        return;
      }
      case 'roleChanged':
        if (effect.role === 'leader') this.checkers.elected(host, effect.term);
        this.answers.push(effect);
        return;
      default:
        this.answers.push(effect);
        return;
    }
  }

  #sync(host: TestHost): void {
    if (this.stalled.has(host.id)) {
      const { life } = host;
      this.later(10_000, () => {
        if (host.raft !== null && host.life === life) this.#sync(host);
      });
      return;
    }
    const token = host.disk.sync();
    if (token === null) return;
    const isFree = (after: number | null) => after !== null && after <= token;
    const free = host.held.filter(({ after }) => isFree(after));
    host.held = host.held.filter(({ after }) => !isFree(after));
    for (const { message } of free) this.#carry(message);
    this.input(host.id, { type: 'persisted', token });
  }

  #machine(host: TestHost): void {
    const work = host.machineQueue.shift();
    if (work?.type === 'restore') {
      host.restore(work.snapshot);
      this.input(host.id, { type: 'applied', index: work.snapshot.index });
    }
    if (work?.type === 'takeSnapshot') {
      const data = host.encode();
      const { index, term, configuration } = work;
      const [sizeBytes, digest] = [data.length, digestOf(data)];
      host.disk.keep({ index, term, configuration, sizeBytes, digest }, data);
      this.input(host.id, { type: 'snapshotTaken', index, sizeBytes, digest });
    }
    if (work?.type === 'apply') {
      for (const entry of work.entries) {
        this.checkers.applied(host.id, entry);
        host.apply(entry);
        this.#acknowledge(host, entry.index, entry.term);
      }
      this.input(host.id, { type: 'applied', index: host.machine.index });
    }
  }

  /** The client hears of its command when the host that took it has applied it. */
  #acknowledge(host: TestHost, index: number, term: number): void {
    for (const [requestId, proposal] of this.#proposals) {
      if (proposal.host !== host.id || proposal.life !== host.life) continue;
      if (proposal.index !== index) continue;
      if (proposal.term === term) this.acknowledgedIndex = Math.max(this.acknowledgedIndex, index);
      this.#proposals.delete(requestId);
    }
  }

  #setTimer(host: TestHost, id: 'election' | 'heartbeat', atUs: number): void {
    const { life } = host;
    host.timers.set(id, atUs);
    const fire = (): void => {
      if (host.raft === null || host.life !== life || host.timers.get(id) !== atUs) return;
      const leftUs = atUs - this.#clock(host.id, this.timeUs);
      if (leftUs > 0) {
        this.later(leftUs, fire);
        return;
      }
      host.timers.delete(id);
      this.input(host.id, { type: 'timer', id });
    };
    this.later(Math.max(0, atUs - this.#clock(host.id, this.timeUs)), fire);
  }

  /** Both directions between `id` and everybody else. */
  isolate(id: number): void {
    for (const other of this.hosts.keys()) {
      if (other !== id) this.cut.add(`${id}>${other}`).add(`${other}>${id}`);
    }
  }

  #carry(message: Message): void {
    const isForecast =
      message.type === 'preVoteRequest' || (message.type === 'preVoteReply' && message.granted);
    this.checkers.spoke(message, isForecast ? message.term : this.host(message.from).disk.term);
    if (this.#choices.isExhausted) this.carried.push(message);
    this.seen.set(message.type, (this.seen.get(message.type) ?? 0) + 1);
    const fate = this.#isKind ? 0 : this.#choices.byte();
    if (fate >= 235) this.#arrive(message, 20_000 + (fate - 235) * 3_000);
    if (fate >= 215 && fate < 235) return;
    const delayUs = fate < 180 ? 500 + (fate % 8) * 200 : (fate % 40) * 4_000;
    this.#arrive(message, delayUs);
  }

  #arrive(message: Message, delayUs: number): void {
    this.later(delayUs, () => {
      const { from, to } = message;
      if (this.cut.has(`${from}>${to}`) || !this.hosts.has(to)) return;
      this.input(to, { type: 'message', message });
    });
  }

  #delayUs(): number {
    return this.#isKind ? 100 : 100 + (this.#choices.byte() % 16) * 300;
  }

  #diskDelayUs(): number {
    const byte = this.#isKind ? 0 : this.#choices.byte();
    if (byte > 250) return 400_000;
    return byte < 200 ? 300 + (byte % 8) * 200 : (byte - 200) * 1_000;
  }

  /** After each event: mostly nothing, sometimes a client, now and then a fault. */
  #chaos(): void {
    const byte = this.#choices.byte();
    if (byte < 190) return;
    const ids = [...this.hosts.keys()];
    const chosen = ids[this.#choices.byte() % ids.length] ?? 1;
    const target = this.leader?.id ?? chosen;
    if (byte < 215) this.propose(target, Uint8Array.of(this.#choices.byte(), byte));
    else if (byte < 222) this.read(chosen, 'linearizable');
    else if (byte < 226) this.read(target, { maxDriftPpm: 0 });
    else if (byte < 230) this.crash(chosen);
    else if (byte < 238) {
      if (this.host(chosen).raft === null) this.boot(chosen);
    } else if (byte < 242) this.#changeMembers(target, chosen);
    else if (byte < 245) this.input(target, { type: 'transferLeadership', to: chosen });
    else if (byte < 248) this.input(target, { type: 'unreachable', id: chosen });
    else if (byte < 250) this.input(chosen, { type: 'campaign' });
    else if (byte < 253) this.cut.add(`${target}>${chosen}`).add(`${chosen}>${target}`);
    else this.cut.clear();
  }

  #changeMembers(leader: number, id: number): void {
    const byte = this.#choices.byte();
    const ops = ['addVoter', 'addLearner', 'remove', 'addVoter'] as const;
    const other = (byte % this.hosts.size) + 1;
    const change = { op: ops[byte % 4] ?? 'addVoter', id };
    const second = { op: ops[(byte >> 2) % 4] ?? 'addVoter', id: other };
    const joint = byte >= 128;
    this.change(leader, joint && other !== id ? [change, second] : [change], joint);
  }
}

/** A kind network whose leader has committed in its own term. */
export function withLeader(options: Partial<NetworkOptions> = {}): {
  readonly network: Network;
  readonly leader: TestHost;
} {
  const network = new Network({ voters: 3, joiners: 0, ...options });
  network.run(5_000_000, () => {
    const status = network.leader?.raft?.status();
    return status !== undefined && status.commitIndex > 0;
  });
  network.run(200_000);
  const { leader } = network;
  if (leader === null) throw new Error('nobody was elected');
  return { network, leader };
}

export function followersOf(network: Network, leader: TestHost): readonly TestHost[] {
  return [...network.hosts.values()].filter(({ id }) => id !== leader.id);
}

export function statusOf(host: TestHost): RaftStatus {
  if (host.raft === null) throw new Error(`${host.id} is down`);
  return host.raft.status();
}
