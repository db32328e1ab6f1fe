/** Opens what a node is made of, starts it, and is its public face. */

import type { Observable } from 'rxjs';
import { Credentials } from '../identity/credentials.ts';
import type {
  ClaimReceipt,
  ContentCacheCounters,
  DwcpNode,
  GroupView,
  GuestHandle,
  GuestStatus,
  MigrateOptions,
  MigrationProgress,
  MigrationReceipt,
  MigrationSession,
  MigrationStatus,
  NodeEvent,
  PeerStatus,
  StartNodeOptions,
  VmOwner,
} from '../node.ts';
import { NODE_DEFAULTS } from '../node.ts';
import type { Clock } from '../ports/clock.ts';
import type { Guest } from '../ports/hypervisor.ts';
import type { SnapshotDigest } from '../ports/raft-log.ts';
import type { Random } from '../ports/random.ts';
import { NO_RDMA_COUNTERS } from '../ports/rdma.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkTransport, ControlTransport } from '../ports/transport.ts';
import type { ModePolicy } from '../protocols/link/mode-governor.ts';
import { sealingName } from '../protocols/link/sealing.ts';
import { processCpuUs } from '../system/cpu.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
import { complete, promised } from '../util/promised.ts';
import { rdmaPlan, transportOf } from './link-rdma.ts';
import { sealingWish } from './link-seal.ts';
import { faultOf } from './migration-progress.ts';
import { createNactHost } from './nact-host.ts';
import type { NodeMessage } from './node.ts';
import { checkBandwidth, checkLadder, checkNodeOptions } from './node-limits.ts';
import type { Hypervisors } from './node-recovery.ts';
import type { NodeView } from './node-view.ts';
import type { ListeningPorts } from './spawn-links.ts';
import { type OpenRaftLog, type SpawnedNode, spawnNode } from './spawn-node.ts';
import type { ActorHost } from './system.ts';

/** Every port of a node; `real-parts.ts` has the real ones. */
export interface NodeParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly bulk: BulkTransport;
  readonly hypervisors: Hypervisors;
  readonly openStorage: (dataDir: string) => Promise<NodeStorage>;
  readonly makeControl: (identity: Credentials) => ControlTransport;
  readonly makeRaftLog: (dataDir: string) => NodeRaftLog;
  readonly digest: SnapshotDigest;
  /** Why this host has no RDMA, or null. */
  readonly rdmaAbsent: () => string | null;
}

export interface NodeRaftLog {
  readonly open: OpenRaftLog;
  /** After the replica closed its log: waits until nothing of it is under way. */
  close(): Promise<void>;
}

export interface NodeStorage extends Storage {
  /** Waits for what was asked, and lets another process have the directory. */
  close(): Promise<void>;
}

export async function startNodeFrom(
  options: StartNodeOptions,
  parts: NodeParts,
): Promise<DwcpNode> {
  const { logger } = options;
  const { credentials, storage } = await openNode(options, parts);
  const onFatal = options.onFatal;
  const host = createNactHost({
    clock: parts.clock,
    ...(onFatal === undefined ? {} : { onFatal }),
    onCrash: ({ path, error }) => logger?.error({ path, err: error }, 'an actor crashed'),
  });
  warnOfTrust(options);
  const raftLog = parts.makeRaftLog(options.dataDir);
  const halt = new Halt();
  const close = async (): Promise<void> => {
    await shutdown(host);
    parts.bulk.close();
    await raftLog.close();
    await storage.close();
  };
  try {
    const rdma = rdmaPlan(options, parts.rdmaAbsent);
    const node = await promised<SpawnedNode>((done) => {
      const log = (fields: Readonly<Record<string, unknown>>, message: string): void =>
        logger?.info(fields, message);
      const { random, bulk, hypervisors, digest } = parts;
      const control = parts.makeControl(credentials);
      const ports = {
        ...{ random, bulk, hypervisors, storage, control, digest, cpuUsedUs: processCpuUs },
        openRaftLog: raftLog.open,
        onHalt: (error: DwcpError) => halt.ask(error),
      };
      spawnNode(host, { ...options, log, rdma }, ports, done);
    });
    if (halt.error !== null) throw halt.error;
    const running = new RunningNode(options, { ...parts, credentials }, node, close);
    halt.listener = (error) => running.halt(error);
    return running;
  } catch (error) {
    await close();
    throw error;
  }
}

/** What is not protected is said once, where an operator reads it. */
function warnOfTrust(options: StartNodeOptions): void {
  const trusted = options.peers.filter((peer) => sealingWish(options, peer) === 'off');
  if (trusted.length === 0) return;
  const declared = 'the network to these peers was declared trusted: guests travel unencrypted';
  const peers = trusted.map(({ id }) => id);
  options.logger?.warn({ peers }, `${declared} where the peer declares the same`);
}

/** A node may have to stop before there is anything to be stopped. */
class Halt {
  error: DwcpError | null = null;
  listener: ((error: DwcpError) => void) | null = null;

  ask(error: DwcpError): void {
    this.error ??= error;
    this.listener?.(error);
  }
}

/** What can be wrong before anything runs: nothing is left behind then. */
async function openNode(
  options: StartNodeOptions,
  parts: NodeParts,
): Promise<{ readonly credentials: Credentials; readonly storage: NodeStorage }> {
  try {
    checkNodeOptions(options);
    const credentials = Credentials.load(options.identity);
    return { credentials, storage: await parts.openStorage(options.dataDir) };
  } catch (error) {
    parts.bulk.close();
    throw error;
  }
}

class RunningNode implements DwcpNode {
  readonly id: string;
  readonly address: ListeningPorts;
  readonly events$: Observable<NodeEvent>;
  readonly #options: StartNodeOptions;
  readonly #random: Random;
  readonly #bulk: BulkTransport;
  readonly #credentials: Credentials;
  readonly #node: SpawnedNode;
  readonly #close: () => Promise<void>;
  #stopped: Promise<void> | null = null;

  constructor(
    options: StartNodeOptions,
    parts: NodeParts & { readonly credentials: Credentials },
    node: SpawnedNode,
    close: () => Promise<void>,
  ) {
    this.id = options.id;
    this.address = node.ports;
    this.events$ = node.view.events$.asObservable();
    this.#options = options;
    this.#random = parts.random;
    this.#bulk = parts.bulk;
    this.#credentials = parts.credentials;
    this.#node = node;
    this.#close = close;
  }

  adopt(handle: GuestHandle): Promise<string> {
    const { dataDir } = this.#options;
    const open = (done: Completion<Guest>): void => complete(() => handle.open({ dataDir }), done);
    return promised<string>((done) => this.#node.adoption.adopt(handle.name, open, done));
  }

  guests(): readonly GuestStatus[] {
    return [...this.#node.view.guests.values()];
  }

  peers(): readonly PeerStatus[] {
    const mode = this.#options.linkMode ?? NODE_DEFAULTS.linkMode;
    return this.#options.peers.map(({ id }) => peerStatus(this.#node.view, id, mode));
  }

  group(): GroupView {
    return this.#node.ownership.group();
  }

  contentCache(): ContentCacheCounters | null {
    return this.#bulk.contentCache();
  }

  owners(): readonly VmOwner[] {
    return this.#node.ownership.list().map(({ vm, owner, epoch, migration }) => {
      return { vm, owner, epoch, movingTo: migration?.to ?? null };
    });
  }

  migrate(guestName: string, options: MigrateOptions): MigrationSession {
    const bytes = this.#random.bytes(6);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const migrationId = hex;
    const transferId = Number.parseInt(hex, 16);
    const { view } = this.#node;
    const progress$: Observable<MigrationProgress> = view.progressOf(migrationId).asObservable();
    const done = this.#ask<MigrationReceipt>((answer) => {
      checkBandwidth(options.maxBandwidth ?? 0);
      checkLadder(options);
      return { type: 'migrate', guestName, migrationId, transferId, options, done: answer };
    });
    // A refusal has no session to complete the stream; a caller who only watches must not hang.
    done.catch(() => view.complete(migrationId));
    return {
      id: migrationId,
      progress$,
      done,
      cancel: () => void this.cancel(migrationId).catch(() => {}),
    };
  }

  migrations(): readonly MigrationStatus[] {
    return [...this.#node.view.migrations.values()];
  }

  cancel(migrationId: string): Promise<void> {
    return this.#ask<void>((done) => ({ type: 'cancel', migrationId, done }));
  }

  claim(guestName: string, operator: string): Promise<ClaimReceipt> {
    return this.#ask<ClaimReceipt>((done) => ({ type: 'claim', guestName, operator, done }));
  }

  setMaxBandwidth(peer: string, bytesPerSec: number): void {
    checkBandwidth(bytesPerSec);
    this.#node.actor.tell({ type: 'setMaxBandwidth', peer, bytesPerSec });
  }

  setLinkMode(peer: string, policy: ModePolicy): Promise<void> {
    return this.#ask<void>((done) => {
      if (this.#options.peers.some(({ id }) => id === peer)) {
        return { type: 'setLinkMode', peer, policy, done };
      }
      throw new DwcpError('ERR_DWCP_PEER_UNKNOWN', `no peer "${peer}"`, {
        hint: '"dwcp status" lists the peers of this agent.',
      });
    });
  }

  setMigrationBandwidth(migrationId: string, bytesPerSec: number): Promise<void> {
    return this.#ask<void>((done) => {
      checkBandwidth(bytesPerSec);
      return { type: 'setMigrationBandwidth', migrationId, bytesPerSec, done };
    });
  }

  reloadIdentity(): void {
    this.#credentials.reload();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Its guests live on, as they do when it is stopped. */
  halt(error: DwcpError): void {
    const { events$ } = this.#node.view;
    events$.next({ type: 'fault', error });
    events$.next({ type: 'halted', error });
    void this.stop();
  }

  async #stop(): Promise<void> {
    await this.#close();
    this.#node.view.events$.complete();
  }

  #ask<T>(message: (done: Completion<T>) => NodeMessage): Promise<T> {
    return promised<T>((done) => {
      if (this.#node.actor.tell(message(done)) === 'accepted') return;
      done({
        ok: false,
        error: new DwcpError('ERR_DWCP_CLOSED', `node "${this.id}" does not take that now`),
      });
    });
  }
}

function shutdown(host: ActorHost): Promise<void> {
  return new Promise((resolve) => host.shutdown(resolve));
}

function peerStatus(view: NodeView, id: string, asked: ModePolicy): PeerStatus {
  const modes = view.modes.get(id);
  const bulk = view.links.get(id);
  const counters = bulk?.counters();
  const inUse = new Set(bulk?.lanes().lanes.map((lane) => lane.congestionControl));
  const problem = view.problems.get(id);
  return {
    id,
    connected: counters !== undefined,
    streams: counters?.streams ?? 0,
    mode: modes?.mode ?? (asked === 'auto' ? 'datacenter' : asked),
    modePolicy: modes?.policy ?? asked,
    modeChange: modes?.change ?? null,
    encryption: counters === undefined ? null : sealingName(counters.keyBits),
    ...transportOf(counters),
    rdma: counters?.rdma ?? NO_RDMA_COUNTERS,
    congestionControl: inUse.size === 0 ? null : [...inUse].join(', '),
    maxBandwidth: view.bandwidth.get(id) ?? 0,
    wireBytesSent: counters?.wireBytesSent ?? 0,
    wireBytesReceived: counters?.wireBytesReceived ?? 0,
    chunksReinjected: counters?.chunksReinjected ?? 0,
    chunksCorrupt: counters?.chunksCorrupt ?? 0,
    framesForged: counters?.framesForged ?? 0,
    framesReplayed: counters?.framesReplayed ?? 0,
    problem: faultOf(problem ?? null),
  };
}
