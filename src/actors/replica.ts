/**
 * One host's member of a consensus group: a core, its disk and its application. This only carries:
 * inputs to the core, its effects to the ports, in the order in which the core wants them begun.
 *
 *   loading (the application is read from the snapshot) -> running -> halted (the disk failed)
 *
 * A halted replica answers and says nothing more; whose it is decides whether the host goes on.
 */
import type { dwcp } from '#wire';
import type { RaftWrite } from '../ports/raft-log.ts';
import { createRaft } from '../protocols/raft/raft.ts';
import type { Command, Effect, Input, Message, Raft, Snapshot } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { encodeRaftMessage, encodeRejections } from './raft-wire.ts';
import { decodeRaft } from './raft-wire-decode.ts';
import { forwarded, ReplicaBatch } from './replica-batch.ts';
import { ReplicaDisk } from './replica-disk.ts';
import { ReplicaGuard } from './replica-guard.ts';
import { ReplicaMachine } from './replica-machine.ts';
import type { ReplicaMessage, ReplicaStatus } from './replica-messages.ts';
import {
  PROPOSAL_LIMITS,
  REPLICA_LIMITS,
  REPLICA_TIMING,
  type ReplicaOptions,
  replicaIds,
} from './replica-options.ts';
import { ReplicaOutbox } from './replica-outbox.ts';
import { makeNonce, ReplicaProposals } from './replica-proposals.ts';
import { ReplicaReads } from './replica-reads.ts';
import { noQuorum, ReplicaView } from './replica-status.ts';
import type { ActorContext, ActorRef, SpawnOptions } from './system.ts';
import type { Spawner } from './telemetry.ts';

type ReplicaContext = ActorContext<ReplicaMessage>;
type Told<T extends ReplicaMessage['type']> = Extract<ReplicaMessage, { readonly type: T }>;

const MAILBOX_LIMIT = 16_384;
/** How often patience and silence are looked at, while anything waits. */
const TICK_US = 50_000;
const FLUSH: ReplicaMessage = { type: 'flush' };
const TIMERS = {
  election: { type: 'timer', id: 'election' },
  heartbeat: { type: 'timer', id: 'heartbeat' },
} as const;

/** Answers by `options.application`; see {@link ReplicaOptions}. Stopping it closes its log. */
export function spawnReplica(spawner: Spawner, options: ReplicaOptions): ActorRef<ReplicaMessage> {
  return spawner.spawn(replicaActor(options));
}

export function replicaActor(options: ReplicaOptions): SpawnOptions<Replica, ReplicaMessage> {
  return {
    name: `replica-${options.group}`,
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => {
      const replica = new Replica(options);
      replica.start(context);
      return replica;
    },
    behavior: (replica, message, context) => {
      replica.receive(message, context);
      return replica;
    },
    onStop: (replica) => replica.close(),
  };
}

class Replica {
  readonly #options: ReplicaOptions;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #id: number;
  readonly #raft: Raft;
  readonly #disk: ReplicaDisk;
  readonly #outbox: ReplicaOutbox;
  readonly #machine: ReplicaMachine;
  readonly #proposals: ReplicaProposals;
  readonly #reads: ReplicaReads;
  readonly #batch = new ReplicaBatch();
  readonly #guard: ReplicaGuard;
  readonly #view: ReplicaView;
  readonly #retryUs: number;
  readonly #messageBytes: number;
  readonly #inputs: Input[] = [];
  readonly #refused = new Set<string>();
  #phase: ReplicaStatus['phase'] = 'loading';
  #haltedBy: string | null = null;
  #leader: number | null = null;
  #transfer: Completion<void> | null = null;
  #stepping = false;
  #flushAsked = false;
  #ticking = false;
  /** Of this turn: everything happens inside one. */
  #context: ReplicaContext | null = null;

  constructor(options: ReplicaOptions) {
    assert(/^[A-Za-z0-9._-]{1,64}$/.test(options.group), `a group's name, got ${options.group}`);
    this.#options = options;
    this.#ids = replicaIds(options.members);
    const id = this.#ids.get(options.self);
    assert(id !== undefined, `${options.self} is a member of its group`);
    this.#id = id;
    const limits = { ...REPLICA_LIMITS, ...options.limits };
    const timing = { ...REPLICA_TIMING, ...options.timing };
    const waiting = { ...PROPOSAL_LIMITS, ...options.proposals };
    this.#retryUs = waiting.retryUs;
    const { random, log } = options;
    this.#proposals = new ReplicaProposals(waiting, limits.messageBytes, () =>
      makeNonce((count) => random.bytes(count)),
    );
    this.#reads = new ReplicaReads(waiting.waiting);
    this.#messageBytes = limits.messageBytes;
    this.#guard = new ReplicaGuard(log.restored);
    this.#view = new ReplicaView(options, this.#ids, timing.electionUs);
    this.#outbox = new ReplicaOutbox((message) => this.#transmit(message));
    this.#disk = new ReplicaDisk(log.log, (message) => this.#outbox.send(message));
    this.#machine = new ReplicaMachine(options.application, this.#proposals, options.digest, {
      load: (snapshot) => this.#load(snapshot),
      save: (snapshot, data) => this.#save(snapshot, data),
      applied: (index) => this.#applied(index),
    });
    const { snapshot } = log.restored;
    // The application starts from the snapshot; what it took after that it takes again.
    const restored = { ...log.restored, appliedIndex: snapshot.index };
    const stream = random.stream(`raft ${options.group}`);
    this.#raft = createRaft({ id, restored, random: stream, timing, limits });
  }

  start(context: ReplicaContext): void {
    this.#context = context;
    const { snapshot } = this.#options.log.restored;
    if (snapshot.index > 0) this.#load(snapshot);
    else this.#run();
    this.#context = null;
  }

  receive(message: ReplicaMessage, context: ReplicaContext): void {
    this.#context = context;
    this.#take(message, context);
    if (this.#phase === 'running') this.#plan(context);
    this.#context = null;
  }

  close(): void {
    const error = new DwcpError('ERR_DWCP_CLOSED', `the replica of "${this.#options.group}" ended`);
    this.#answerAll(error);
    this.#options.log.log.close(() => {});
  }

  #take(message: ReplicaMessage, context: ReplicaContext): void {
    switch (message.type) {
      case 'propose':
        return this.#propose(message, context);
      case 'read':
        return this.#read(message, context);
      case 'transferLeadership':
        return this.#transferLeadership(message);
      case 'status':
        return message.done(succeeded(this.#status(context)));
      case 'linkUp':
        // What was sent while it was down is lost.
        if (this.#ids.get(message.peer) === this.#leader) this.#proposals.sendAgain();
        return;
      case 'linkDown':
        return this.#linkDown(message.peer);
      case 'envelope':
        return this.#onEnvelope(message, context);
      case 'loaded':
        return this.#loaded(message.snapshot, message.outcome);
      default:
        if (this.#phase === 'running') this.#onInternal(message, context);
    }
  }

  #onInternal(
    message: Told<'flush' | 'tick' | 'timer' | 'written' | 'input'>,
    context: ReplicaContext,
  ): void {
    switch (message.type) {
      case 'flush':
        return this.#flush(context);
      case 'tick':
        return this.#tick(context);
      case 'timer':
        return this.#step({ type: 'timer', id: message.id });
      case 'written':
        return this.#written(message);
      case 'input':
        return this.#step(message.input);
    }
  }

  // ---- from this host -----------------------------------------------------------------------------

  #propose(message: Told<'propose'>, context: ReplicaContext): void {
    const { command, patienceMs, done } = message;
    if (this.#phase === 'halted') return done(failed(this.#haltedError()));
    this.#proposals.add(command, deadlineUs(patienceMs, context), done);
  }

  #read(message: Told<'read'>, context: ReplicaContext): void {
    const { guarantee, patienceMs, done } = message;
    if (this.#phase === 'halted') return done(failed(this.#haltedError()));
    const input = this.#reads.add(guarantee, deadlineUs(patienceMs, context), done);
    if (input === null) return;
    if (this.#phase === 'running') this.#step(input);
    else this.#reads.rejected(input.requestId);
  }

  #transferLeadership({ to, done }: Told<'transferLeadership'>): void {
    const id = this.#ids.get(to);
    if (id === undefined) {
      return done(failed(new DwcpError('ERR_DWCP_PEER_UNKNOWN', `${to} is no member`)));
    }
    if (this.#transfer !== null || this.#phase !== 'running') {
      const why =
        this.#transfer === null ? 'this replica does not run' : 'another one is under way';
      return done(failed(notHandedOver(to, why)));
    }
    this.#transfer = done;
    this.#step({ type: 'transferLeadership', to: id });
  }

  #linkDown(peer: string): void {
    const id = this.#ids.get(peer);
    if (id === undefined || this.#phase !== 'running') return;
    this.#view.lost(peer);
    this.#step({ type: 'unreachable', id });
    this.#tellStatus();
  }

  // ---- from peers ---------------------------------------------------------------------------------

  #onEnvelope({ peer, envelope }: Told<'envelope'>, context: ReplicaContext): void {
    const id = this.#ids.get(peer);
    if (id === undefined) return this.#refuse(peer, 'it is no member of the group');
    // Nothing is lost that is not lost elsewhere too: they send again.
    if (this.#phase !== 'running') return;
    const { group } = this.#options;
    const decoded = decodeRaft(envelope, { group, peer: id, self: this.#id });
    if (!decoded.ok) return this.#refuse(peer, decoded.error.message);
    const payload = decoded.value;
    if (payload === null) return;
    this.#view.heard(peer, context.nowUs());
    if (payload.type === 'message') {
      const lie = this.#guard.lieIn(payload.message);
      if (lie !== null) return this.#refuse(peer, `the peer told of ${lie}`);
      return this.#step({ type: 'message', message: payload.message });
    }
    if (payload.type === 'rejections') {
      for (const { requestId, code } of payload.rejections) {
        this.#proposals.rejected(requestId, code);
      }
      return;
    }
    for (const command of payload.proposals) this.#batch.add(id, command);
    if (this.#batch.isFull) this.#flush(context);
  }

  /** Once per peer: whoever sends such things sends many. */
  #refuse(peer: string, why: string): void {
    if (this.#refused.has(peer) || this.#refused.size > this.#ids.size) return;
    this.#refused.add(peer);
    const { group, report } = this.#options;
    report?.({ group, peer, code: 'ERR_DWCP_PROTOCOL' }, `a message was refused: ${why}`);
  }

  #transmit(message: Message): void {
    this.#sendTo(message.to, encodeRaftMessage(this.#options.group, message));
  }

  // ---- the core -----------------------------------------------------------------------------------

  #run(): void {
    this.#phase = 'running';
    this.#step({ type: 'start' });
    for (const input of this.#reads.again()) this.#step(input);
    this.#tellStatus();
  }

  /** Inputs that come up while effects are begun wait for their turn. */
  #step(input: Input): void {
    this.#inputs.push(input);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const nowUs = this.#turn.nowUs();
      for (const effect of this.#raft.step({ ...next, nowUs })) this.#begin(effect);
    }
    this.#stepping = false;
  }

  get #turn(): ReplicaContext {
    assert(this.#context !== null, 'everything happens in a turn of the replica');
    return this.#context;
  }

  #begin(effect: Effect): void {
    switch (effect.type) {
      case 'persist':
        this.#guard.wrote(effect);
        return this.#write(effect);
      case 'persistSnapshotChunk':
      case 'compact':
      case 'discardSnapshot':
        return this.#write(effect);
      case 'send':
        this.#guard.sent(effect.message);
        return this.#disk.send(effect);
      case 'apply':
      case 'restore':
      case 'takeSnapshot':
        return this.#machine.work(effect);
      case 'readSnapshot':
      case 'verifySnapshot':
        return this.#askLog(effect);
      case 'setTimer':
        return this.#turn.setTimer(effect.id, effect.atUs, TIMERS[effect.id]);
      case 'cancelTimer':
        return this.#turn.cancelTimer(effect.id);
      case 'proposed':
        return this.#batch.accepted(effect.requestId);
      case 'proposalRejected':
        return this.#batch.rejected(effect.requestId, effect.code);
      case 'readReady': {
        const { requestId, index, guarantee } = effect;
        return this.#reads.ready(requestId, { index, guarantee });
      }
      case 'readRejected':
        return this.#reads.rejected(effect.requestId);
      case 'roleChanged':
        return this.#roleChanged(effect);
      case 'configurationChanged':
        return this.#tellStatus();
      case 'transferEnded':
        return this.#transferEnded(effect);
      case 'halted':
        return this.#halted(effect.reason);
    }
  }

  #write(write: RaftWrite): void {
    this.#disk.write(write, (ordinal) =>
      this.#turn.completion((outcome) => ({ type: 'written', write, ordinal, outcome })),
    );
  }

  #written({ write, ordinal, outcome }: Told<'written'>): void {
    if (!outcome.ok) return this.#fail(outcome.error);
    const token = this.#disk.completed(write, ordinal);
    if (token !== null) this.#step({ type: 'persisted', token });
  }

  #askLog(effect: Extract<Effect, { type: 'readSnapshot' | 'verifySnapshot' }>): void {
    const { log } = this.#options.log;
    const { snapshot } = effect;
    const { index, digest } = snapshot;
    if (effect.type === 'verifySnapshot') {
      const done = this.#turn.completion<boolean>((outcome) => ({
        type: 'input',
        input: { type: 'snapshotVerified', digest, ok: outcome.ok && outcome.value },
      }));
      return log.verifySnapshot(snapshot, done);
    }
    const { to, offset, lengthBytes } = effect;
    const done = this.#turn.completion<Uint8Array>((outcome) => ({
      type: 'input',
      input: {
        ...{ type: 'snapshotRead', to, index, digest, offset },
        data: outcome.ok ? outcome.value : null,
      },
    }));
    log.readSnapshot(snapshot, offset, lengthBytes, done);
  }

  #roleChanged({ role, term, leader, reason }: Extract<Effect, { type: 'roleChanged' }>): void {
    this.#leader = leader;
    this.#proposals.sendAgain();
    for (const input of leader === null ? [] : this.#reads.again()) this.#step(input);
    const { group, report } = this.#options;
    report?.({ group, role, term, leader: this.#leaderName(), reason }, 'the role changed');
    this.#tellStatus();
  }

  #leaderName(): string | null {
    return this.#leader === null ? null : this.#view.hostOf(this.#leader);
  }

  #transferEnded({ to, ok, reason }: Extract<Effect, { type: 'transferEnded' }>): void {
    const done = this.#transfer;
    this.#transfer = null;
    const host = this.#view.hostOf(to) ?? `replica ${to}`;
    done?.(ok ? succeeded(undefined) : failed(notHandedOver(host, reason)));
  }

  // ---- the application ----------------------------------------------------------------------------

  #load(snapshot: Snapshot): void {
    const done = this.#turn.completion<Uint8Array>((outcome) => {
      return { type: 'loaded', snapshot, outcome };
    });
    this.#options.log.log.readSnapshot(snapshot, 0, snapshot.sizeBytes, done);
  }

  #loaded(snapshot: Snapshot, outcome: Outcome<Uint8Array>): void {
    if (this.#phase === 'halted') return;
    if (!outcome.ok) return this.#fail(outcome.error);
    if (!this.#machine.restored(snapshot, outcome.value)) {
      const message = `the file of snapshot ${snapshot.index} is not what it is named by`;
      return this.#fail(new DwcpError('ERR_DWCP_CORRUPT', message));
    }
    if (this.#phase === 'loading') this.#run();
  }

  #save(snapshot: Snapshot, data: Uint8Array): void {
    const { index, sizeBytes, digest } = snapshot;
    const done = this.#turn.completion<void>((outcome) => ({
      type: 'input',
      input: outcome.ok
        ? { type: 'snapshotTaken', index, sizeBytes, digest }
        : { type: 'snapshotFailed', index },
    }));
    this.#options.log.log.saveSnapshot(snapshot, data, done);
  }

  #applied(index: number): void {
    if (this.#phase === 'running') this.#step({ type: 'applied', index });
    this.#options.onApplied?.(index);
  }

  // ---- batches, patience, the end -----------------------------------------------------------------

  /** What came of this message: perhaps something to propose or tell, perhaps something to wait for. */
  #plan(context: ReplicaContext): void {
    const isReady = this.#batch.count > 0 || (this.#leader !== null && this.#proposals.isReady);
    if ((isReady || this.#outbox.holds) && !this.#flushAsked) {
      this.#flushAsked = true;
      const done = context.completion<void>(() => FLUSH);
      context.effect(() => done(succeeded(undefined)));
    }
    if (this.#ticking || (this.#proposals.count === 0 && this.#reads.count === 0)) return;
    this.#ticking = true;
    context.setTimer('tick', context.nowUs() + TICK_US, { type: 'tick' });
  }

  #flush(context: ReplicaContext): void {
    this.#flushAsked = false;
    if (this.#leader !== null) this.#sendOwn(this.#leader, this.#proposals.take(context.nowUs()));
    if (this.#batch.count > 0) this.#proposeBatch();
    this.#outbox.release();
  }

  #proposeBatch(): void {
    this.#step({ type: 'propose', commands: this.#batch.commands });
    for (const [origin, rejected] of this.#batch.end()) {
      if (origin === this.#id) {
        for (const { requestId, code } of rejected) this.#proposals.rejected(requestId, code);
      } else {
        this.#sendTo(origin, encodeRejections(this.#options.group, this.#leader, rejected));
      }
    }
  }

  #sendOwn(leader: number, commands: readonly Command[]): void {
    if (leader === this.#id) {
      for (const command of commands) this.#batch.add(leader, command);
      return;
    }
    for (const envelope of forwarded(this.#options.group, commands, this.#messageBytes)) {
      this.#sendTo(leader, envelope);
    }
  }

  #sendTo(id: number, envelope: dwcp.IEnvelope): void {
    const host = this.#view.hostOf(id);
    if (host !== null) this.#options.send(host, envelope);
  }

  #tick(context: ReplicaContext): void {
    this.#ticking = false;
    const nowUs = context.nowUs();
    const error = (): DwcpError => noQuorum(this.#status(context));
    this.#proposals.expire(nowUs, error);
    this.#reads.expire(nowUs, error);
    // What this replica itself took into its log is there for as long as it leads.
    if (this.#leader !== this.#id) this.#proposals.silentSince(nowUs - this.#retryUs);
    for (const input of this.#reads.again()) this.#step(input);
  }

  #status(context: ReplicaContext): ReplicaStatus {
    const status = this.#view.status(
      this.#raft.status(),
      this.#phase,
      this.#proposals,
      context.nowUs(),
    );
    return this.#haltedBy === null ? status : { ...status, problem: this.#haltedBy };
  }

  #tellStatus(): void {
    this.#options.onStatus?.(this.#status(this.#turn));
  }

  /** What is on the disk is unknown now. */
  #fail(error: DwcpError): void {
    this.#step({ type: 'persistFailed', reason: error.message });
  }

  #halted(reason: string): void {
    this.#phase = 'halted';
    this.#leader = null;
    this.#haltedBy = `this replica has stopped: ${reason}`;
    for (const timer of ['election', 'heartbeat', 'tick']) this.#turn.cancelTimer(timer);
    this.#answerAll(this.#haltedError());
    const { group, report } = this.#options;
    report?.({ group, reason }, 'the replica has stopped');
    this.#tellStatus();
  }

  #haltedError(): DwcpError {
    return new DwcpError('ERR_DWCP_STORAGE', this.#haltedBy ?? 'this replica has stopped', {
      hint: 'Mend the disk and start this host anew; the others go on while they are a majority.',
    });
  }

  #answerAll(error: DwcpError): void {
    this.#proposals.close(error);
    this.#reads.close(error);
    this.#transfer?.(failed(error));
    this.#transfer = null;
  }
}

function deadlineUs(patienceMs: number | null, context: ReplicaContext): number | null {
  return patienceMs === null ? null : context.nowUs() + Math.ceil(patienceMs * 1000);
}

function notHandedOver(to: string, reason: string): DwcpError {
  return new DwcpError('ERR_DWCP_UNSUPPORTED', `leadership was not handed to ${to}: ${reason}`, {
    hint: 'Ask the host that leads, while the one to follow it is heard.',
  });
}
