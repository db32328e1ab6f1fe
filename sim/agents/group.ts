/**
 * The group that keeps the ownership log: on every simulated host the replica actor, the owner actor and
 * the shipped log format on the simulated disk, byte by byte. Messages are lost, doubled and late.
 */
import { createHash } from 'node:crypto';
import { dwcp } from '#wire';
import { beginLife } from '../../src/actors/owner-records.ts';
import { spawnReplica } from '../../src/actors/replica.ts';
import type { ReplicaStatus } from '../../src/actors/replica-messages.ts';
import type { ReplicaOptions } from '../../src/actors/replica-options.ts';
import { type SpawnedOwner, spawnOwner } from '../../src/actors/spawn-owner.ts';
import type { RaftLog } from '../../src/ports/raft-log.ts';
import type { Random } from '../../src/ports/random.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import type { Application } from '../../src/protocols/raft/sessions/machine.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import { DiskStorage } from '../../src/storage/records.ts';
import type { DwcpError } from '../../src/util/errors.ts';
import { Epochs } from '../checkers/epochs.ts';
import { GroupLog } from '../checkers/group-log.ts';
import { LogRecovery } from '../checkers/log-recovery.ts';
import type { SimHost } from '../world/host.ts';
import type { World } from '../world/world.ts';

const GROUP = 'ownership';
const START_AGAIN_US: readonly [number, number] = [300_000, 3_000_000];

/** One life of one member. */
export interface Member extends SpawnedOwner {
  readonly application: Application;
  readonly incarnation: number;
  status: ReplicaStatus | null;
  appliedIndex: number;
}

export interface GroupOptions extends Pick<ReplicaOptions, 'limits' | 'timing' | 'proposals'> {
  /** A test's hand between a replica and its application. */
  readonly tamper: (application: Application, host: SimHost) => Application;
  /** And between a replica and its log. */
  readonly tamperLog: (log: RaftLog, host: SimHost) => RaftLog;
}

export class SimGroup {
  readonly log: GroupLog = new GroupLog();
  readonly epochs: Epochs = new Epochs();
  readonly #recovery = new LogRecovery();
  /** Hosts whose disk was damaged: only they may refuse to start. */
  readonly damaged: Set<SimHost> = new Set();
  /** Why a host is out of service for good. */
  readonly refused: Map<string, string> = new Map();
  readonly #world: World;
  readonly #options: Partial<GroupOptions>;
  /** What a host does for others once its member runs. */
  readonly #serve: (host: SimHost, member: Member) => void;
  readonly #names: readonly string[];
  readonly #members = new Map<string, Member>();

  constructor(
    world: World,
    options: Partial<GroupOptions>,
    serve: (host: SimHost, member: Member) => void,
  ) {
    this.#world = world;
    this.#options = options;
    this.#serve = serve;
    this.#names = world.hosts.map(({ name }) => name);
    for (const host of world.hosts) {
      host.whenCrashed(() => void this.#members.delete(host.name));
    }
  }

  /** Null while the host is down, starting or out of service. */
  member(host: SimHost): Member | null {
    return this.#members.get(host.name) ?? null;
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  boot(host: SimHost): void {
    const { incarnation } = host;
    const random = randomOf(host);
    const storage = new DiskStorage(host.disk);
    const isOver = (): boolean => host.incarnation !== incarnation;
    beginLife({ storage, random, voters: this.#names }, (life) => {
      if (isOver()) return;
      if (!life.ok) return this.#failed(host, life.error);
      const identity = { group: GROUP, replica: host.index + 1 };
      const founding = founder(this.#names.map((_, index) => index + 1));
      openRaftLog(host.disk, identity, founding, sha256, (log) => {
        if (isOver()) return;
        if (!log.ok) return this.#failed(host, log.error);
        const options = { host, random, storage, life: life.value, log: log.value };
        this.#start(options);
      });
    });
  }

  #start(options: {
    readonly host: SimHost;
    readonly random: Random;
    readonly storage: DiskStorage;
    readonly life: Parameters<typeof spawnOwner>[1]['life'];
    readonly log: ReplicaOptions['log'];
  }): void {
    const { host, random, storage, life } = options;
    const { name, incarnation } = host;
    const { tamper, tamperLog, ...replicaOptions } = this.#options;
    const { restored } = options.log;
    const lost = this.#recovery.opened(name, restored);
    if (lost !== null) this.#world.violate('log-recovery', lost);
    const watched = this.#recovery.watched(name, options.log.log);
    const log = { restored, log: tamperLog?.(watched, host) ?? watched };
    const actors = host.actorHost();
    let member: Member | null = null;
    let application: Application | null = null;
    const spawned = spawnOwner(actors, {
      ...{ host: name, voters: this.#names, dataDir: `/data/${name}`, life, storage },
      spawnReplica: (hooks) => {
        application = hooks.application;
        const tampered = tamper?.(hooks.application, host) ?? hooks.application;
        return spawnReplica(actors, {
          ...{ group: GROUP, self: name, members: this.#names, log, digest: sha256, random },
          ...replicaOptions,
          application: this.#watched(host, tampered),
          send: (peer, envelope) => this.#send(host, peer, envelope),
          onApplied: (index) => {
            if (member !== null) member.appliedIndex = index;
            hooks.onApplied(index);
          },
          onStatus: (status) => {
            if (member !== null) member.status = status;
            this.#told(host, status);
            hooks.onStatus(status);
          },
        });
      },
      onHalt: (error) => {
        if (this.damaged.has(host)) this.refused.set(name, error.message);
        else if (member?.status?.phase !== 'halted') {
          this.#world.violate('owner-halted', `${name}: ${error.message}`);
        }
      },
    });
    if (application === null) return;
    member = { ...spawned, application, incarnation, status: null, appliedIndex: 0 };
    this.#members.set(name, member);
    const seen = `${name}#${incarnation}`;
    spawned.ownership.onChange((vm, now) => this.epochs.changed(seen, vm, now));
    host.on<Uint8Array>('replica', (frame, peer) => {
      const envelope = dwcp.Envelope.decode(frame);
      spawned.replica.tell({ type: 'envelope', peer, envelope });
    });
    this.#serve(host, member);
  }

  #send(host: SimHost, peer: string, envelope: dwcp.IEnvelope): void {
    host.send(`${peer}/replica`, dwcp.Envelope.encode(envelope).finish());
  }

  #watched({ name, incarnation }: SimHost, application: Application): Application {
    return {
      execute: (command, index) => {
        this.log.executed(name, incarnation, index, command);
        return application.execute(command, index);
      },
      encode: () => application.encode(),
      restore: (bytes) => {
        this.#world.sometimes('a snapshot was restored');
        this.log.restored(name, incarnation);
        application.restore(bytes);
      },
    };
  }

  #told(host: SimHost, { role, term, commitIndex, phase }: ReplicaStatus): void {
    if (role === 'leader') this.log.leads(host.name, term);
    this.log.committed(host.name, host.incarnation, commitIndex);
    this.#world.sometimes('a leader was elected', role === 'leader' && term > 1);
    if (phase !== 'halted') return;
    this.#world.sometimes('a replica halted');
    this.#startAgain(host);
  }

  /** A disk that fails in passing is tried again; a log that is damaged for good is nobody's. */
  #failed(host: SimHost, error: DwcpError): void {
    const isDamage = error.code === 'ERR_DWCP_CORRUPT';
    if (isDamage && !this.damaged.has(host)) {
      this.#world.violate('log-recovery', `${host.name} refuses its own log: ${error.message}`);
    }
    this.#world.sometimes('a damaged log was refused', isDamage);
    if (isDamage) this.refused.set(host.name, error.message);
    else this.#startAgain(host);
  }

  #startAgain(host: SimHost): void {
    const { incarnation } = host;
    const world = this.#world;
    const atUs = world.nowUs + host.random('start again').between(...START_AGAIN_US);
    world.schedule(atUs, 'start again', host.name, null, () => {
      if (host.incarnation !== incarnation || !host.up) return;
      host.crash();
      host.restart();
      this.boot(host);
    });
  }
}

export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

function randomOf(host: SimHost): Random {
  const bytes = host.random('bytes');
  return {
    stream: (label) => host.random(label),
    bytes: (count) => Uint8Array.from({ length: count }, () => bytes.below(256)),
  };
}
