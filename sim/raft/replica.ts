/** Drives one Raft core on a simulated host: begins its effects in order, answers them with inputs. */
import { hash } from 'node:crypto';
import type { Timer } from '../../src/ports/clock.ts';
import { createRaft } from '../../src/protocols/raft/raft.ts';
import type {
  Configuration,
  Effect,
  Entry,
  HardState,
  Input,
  Message,
  Raft,
  Send,
  Snapshot,
  Timed,
  TimerId,
} from '../../src/protocols/raft/types.ts';
import { assert } from '../../src/util/assert.ts';
import type { Completion } from '../../src/util/errors.ts';
import type { Replica, Vote } from '../checkers/raft/watch.ts';
import type { SimHost } from '../world/host.ts';
import type { RaftCluster } from './cluster.ts';
import { KvMachine } from './machine.ts';
import type { RaftStore } from './store.ts';

/** Only its timing, its stalls and its failures are used: what is written is in the {@link RaftStore}. */
const FILE = 'raft-log';

export class RaftReplica implements Replica {
  readonly id: number;
  readonly raft: Raft;
  readonly store: RaftStore;
  readonly #host: SimHost;
  readonly #cluster: RaftCluster;
  /** Terms of what it wrote, from the index at `#writtenFrom` on. */
  #written: number[];
  #writtenFrom: number;
  readonly #timers = new Map<TimerId, Timer>();
  /** Who waits for the entry at an index, and in which term it was proposed. */
  readonly #waiting = new Map<number, { readonly term: number; readonly requestId: number }>();
  readonly #machineQueue: Effect[] = [];
  readonly #inputs: Timed<Input>[] = [];
  #machine: KvMachine;
  #held: Send[] = [];
  #durableToken = 0;
  #syncing = false;
  #syncCount = 0;
  #machineBusy = false;
  #stepping = false;
  firstIndex: number;
  /** As its effects told. */
  leads = false;
  configuration: Configuration;
  configurationIndex: number;

  constructor(cluster: RaftCluster, host: SimHost, id: number, store: RaftStore) {
    this.#cluster = cluster;
    this.#host = host;
    this.id = id;
    this.store = store;
    const restored = store.restored();
    const base = restored.compacted ?? restored.snapshot;
    this.firstIndex = base.index + 1;
    this.#writtenFrom = base.index;
    this.#written = [base.term, ...restored.entries.map(({ term }) => term)];
    this.#machine = this.#load(restored.snapshot);
    const { timing, limits } = cluster;
    const random = host.random('raft');
    this.raft = cluster.mutate(createRaft({ id, restored, random, timing, limits }), id);
    host.disk.writeAt(FILE, 0, new Uint8Array(1), () => {});
    const { configuration, configurationIndex } = this.raft.status();
    this.configuration = configuration;
    this.configurationIndex = configurationIndex;
    cluster.watch.tell('started', this);
    this.step({ type: 'start', nowUs: this.nowUs });
  }

  termAt(index: number): number | null {
    return this.#written[index - this.#writtenFrom] ?? null;
  }

  /** What its log ends in, durable or not. */
  get last(): { readonly index: number; readonly term: number } {
    const index = this.#writtenFrom + this.#written.length - 1;
    return { index, term: this.#written.at(-1) ?? 0 };
  }

  get(key: string): unknown {
    return this.#machine.get(key);
  }

  receive(message: Message): void {
    this.step({ type: 'message', message, nowUs: this.nowUs });
  }

  /** Inputs that come up while effects are begun wait for their turn. */
  step(input: Timed<Input>): void {
    if (this.#stepping) {
      this.#inputs.push(input);
      return;
    }
    this.#stepping = true;
    for (let next: Timed<Input> | undefined = input; next !== undefined; ) {
      for (const effect of this.raft.step(next)) this.#begin(effect);
      next = this.#inputs.shift();
    }
    this.#stepping = false;
  }

  /** Of this host's own clock; it stands still while an event happens. */
  get nowUs(): number {
    return this.#host.clock.nowUs();
  }

  #begin(effect: Effect): void {
    switch (effect.type) {
      case 'persist':
        this.#write(effect.entries, effect.snapshot);
        this.#cluster.watch.tell('saidCommit', this, effect.hardState.commit);
        this.#vow(effect.hardState);
        this.store.write(effect);
        return this.#sync();
      case 'persistSnapshotChunk':
        this.store.write(effect);
        return this.#sync();
      case 'compact':
        this.firstIndex = effect.throughIndex + 1;
        this.store.write(effect);
        return this.#sync();
      case 'discardSnapshot':
        this.store.write(effect);
        return this.#sync();
      case 'send':
        if (effect.after === null || effect.after <= this.#durableToken) this.#send(effect.message);
        else this.#held.push(effect);
        return;
      case 'apply':
      case 'restore':
      case 'takeSnapshot':
        this.#machineQueue.push(effect);
        return this.#runMachine();
      case 'readSnapshot':
        return this.#readSnapshot(effect);
      case 'verifySnapshot': {
        const data = this.store.received(effect.snapshot);
        const { digest } = effect.snapshot;
        const ok = data !== null && digestOf(data) === digest;
        this.#host.after(100, 'verified', () =>
          this.step({ type: 'snapshotVerified', digest, ok, nowUs: this.nowUs }),
        );
        return;
      }
      case 'setTimer':
        return this.#setTimer(effect.id, effect.atUs);
      case 'cancelTimer':
        this.#timers.get(effect.id)?.cancel();
        return;
      case 'proposed':
        this.#waiting.set(effect.index, effect);
        return;
      case 'proposalRejected':
      case 'readRejected':
        return this.#cluster.refused(this.id, effect.requestId, effect.leader);
      case 'readReady':
        return this.#cluster.readable(this.id, effect.requestId);
      case 'roleChanged':
        this.leads = effect.role === 'leader';
        if (effect.role !== 'leader') return;
        this.#host.world.sometimes('a leader was elected');
        this.#cluster.elected(this.#host, this);
        return this.#cluster.watch.tell('elected', this, effect.term);
      case 'configurationChanged':
        this.configuration = effect.configuration;
        this.configurationIndex = effect.index;
        if (effect.configuration.votersOutgoing.size > 0) {
          this.#host.world.sometimes('a configuration was joint');
        }
        return;
      case 'transferEnded':
        if (effect.ok) this.#host.world.sometimes('leadership was handed over');
        return;
      case 'halted':
        return this.#cluster.halted(this.#host);
    }
  }

  #send(message: Message): void {
    const vote = voteIn(message);
    if (vote !== null) {
      this.#cluster.watch.tell('promised', this, this.store.durableHardState, vote);
      if (message.to === vote.vote) this.#cluster.granted(this, vote.vote);
    }
    this.#cluster.send(this.#host, message);
  }

  readonly #electionTimer = (): void =>
    this.step({ type: 'timer', id: 'election', nowUs: this.nowUs });
  readonly #heartbeatTimer = (): void =>
    this.step({ type: 'timer', id: 'heartbeat', nowUs: this.nowUs });

  #setTimer(id: TimerId, atUs: number): void {
    this.#timers.get(id)?.cancel();
    const fire = id === 'election' ? this.#electionTimer : this.#heartbeatTimer;
    this.#timers.set(id, this.#host.clock.setTimer(atUs, fire));
  }

  #write(entries: readonly Entry[], snapshot: Snapshot | null): void {
    if (snapshot !== null) {
      this.#host.world.sometimes('a snapshot was installed');
      this.#written = [snapshot.term];
      this.#writtenFrom = snapshot.index;
      this.firstIndex = snapshot.index + 1;
    }
    const written = this.#written;
    for (const entry of entries) {
      const at = entry.index - this.#writtenFrom;
      assert(at > 0 && at <= written.length, 'entries are written without a gap');
      this.#cluster.watch.tell('wrote', this, entry, written[at - 1] ?? 0);
      // What came after it is gone.
      if (at < written.length) written.length = at;
      written.push(entry.term);
    }
  }

  /** One sync at a time takes all that was asked for when it began. */
  #sync(): void {
    if (this.#syncing || this.store.pending === 0) return;
    this.#syncing = true;
    this.#syncCount = this.store.pending;
    this.#host.disk.fdatasync(FILE, this.#synced);
  }

  readonly #synced: Completion<void> = (outcome) => {
    this.#syncing = false;
    if (!outcome.ok) {
      const reason = outcome.error.message;
      this.step({ type: 'persistFailed', reason, nowUs: this.nowUs });
      return;
    }
    const token = this.store.sync(this.#syncCount);
    if (token !== null) {
      this.#durableToken = token;
      this.#letGo(token);
      this.step({ type: 'persisted', token, nowUs: this.nowUs });
    }
    this.#sync();
  };

  #vow(hardState: HardState): void {
    const { watch } = this.#cluster;
    if (watch.cares('vowed')) watch.tell('vowed', this, this.store.newestHardState(), hardState);
  }

  /** What waited for the disk leaves, in order. */
  #letGo(token: number): void {
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    for (const send of held) {
      if (send.after === null || send.after <= token) this.#send(send.message);
      else this.#held.push(send);
    }
  }

  /** Strictly in order, and now and then slowly. */
  #runMachine(): void {
    if (this.#machineBusy) return;
    const effect = this.#machineQueue.shift();
    if (effect === undefined) return;
    this.#machineBusy = true;
    if (this.#host.world.buggify('slow state machine')) {
      this.#host.after(20_000, 'apply', () => this.#work(effect));
    } else this.#work(effect);
  }

  #work(effect: Effect): void {
    this.#machineBusy = false;
    if (effect.type === 'apply') this.#applyAll(effect.entries);
    else if (effect.type === 'restore') this.#restore(effect.snapshot);
    else if (effect.type === 'takeSnapshot') this.#takeSnapshot(effect);
    this.#runMachine();
  }

  #applyAll(entries: readonly Entry[]): void {
    const last = entries.at(-1);
    if (this.leads && last !== undefined) this.#cluster.committedBy(this, last);
    for (const entry of entries) this.#apply(entry);
  }

  #apply(entry: Entry): void {
    assert(entry.index === this.#machine.index + 1, 'entries are applied in order');
    const { watch } = this.#cluster;
    watch.tell('applied', this, entry);
    if (this.leads) this.#cluster.countedBy(this, entry);
    const done = this.#machine.apply(entry);
    if (done?.isFirst === true) watch.tell('did', this, entry.index, done.command.name);
    const waiting = this.#waiting.get(entry.index);
    this.#waiting.delete(entry.index);
    if (waiting !== undefined) {
      // Another leader's entry came to this place: nobody can say what becomes of the own one.
      if (waiting.term !== entry.term) this.#cluster.refused(this.id, waiting.requestId, null);
      else this.#cluster.done(this.id, waiting.requestId, done?.output);
    }
    this.step({ type: 'applied', index: entry.index, nowUs: this.nowUs });
  }

  #restore(snapshot: Snapshot): void {
    this.#machine = this.#load(snapshot);
    this.step({ type: 'applied', index: snapshot.index, nowUs: this.nowUs });
  }

  #takeSnapshot(effect: Extract<Effect, { type: 'takeSnapshot' }>): void {
    const data = this.#machine.encode();
    const { index, term, configuration } = effect;
    const digest = digestOf(data);
    const snapshot = { index, term, configuration, sizeBytes: data.length, digest };
    this.#host.disk.fdatasync(FILE, (outcome) => {
      const { nowUs } = this;
      if (!outcome.ok) return this.step({ type: 'snapshotFailed', index, nowUs });
      this.store.keep(snapshot, data);
      this.step({ type: 'snapshotTaken', index, sizeBytes: data.length, digest, nowUs });
    });
  }

  #readSnapshot(effect: Extract<Effect, { type: 'readSnapshot' }>): void {
    const { to, snapshot, offset, lengthBytes } = effect;
    this.#host.after(100, 'read', () => {
      const whole = this.store.read(snapshot);
      const data = whole?.slice(offset, offset + lengthBytes) ?? null;
      const { index, digest } = snapshot;
      const { nowUs } = this;
      this.step({ type: 'snapshotRead', to, index, digest, offset, data, nowUs });
    });
  }

  #load(snapshot: Snapshot): KvMachine {
    if (snapshot.index === 0) return new KvMachine();
    const data = this.store.read(snapshot);
    assert(data !== null, `the file of snapshot ${snapshot.index} is there`);
    return KvMachine.decode(data);
  }
}

/** A candidate's request tells its vote for itself. */
function voteIn(message: Message): Vote | null {
  const { type, term } = message;
  if (type === 'voteRequest') return { term, vote: message.from };
  return type === 'voteReply' && message.granted ? { term, vote: message.to } : null;
}

function digestOf(data: Uint8Array): string {
  return hash('sha256', data, 'hex').slice(0, 32);
}
