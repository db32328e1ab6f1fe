/** Puts a node together from its parts, in the order that keeps fenced guests fenced. */

import type { Observable } from 'rxjs';
import type { NodeIdentity } from '../identity/authority.ts';
import { loadNode } from '../identity/files.ts';
import {
  type DwcpNode,
  type GuestHandle,
  type GuestStatus,
  type LinkMode,
  type MigrateOptions,
  type MigrationProgress,
  type MigrationReceipt,
  type MigrationSession,
  type MigrationStatus,
  NODE_DEFAULTS,
  type NodeEvent,
  type PeerStatus,
  type StartNodeOptions,
} from '../node.ts';
import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkTransport, ControlTransport } from '../ports/transport.ts';
import { processCpuUs } from '../system/cpu.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
import { promised } from '../util/promised.ts';
import { congestionControlOf } from './link-mode.ts';
import type { LinkReport } from './messages.ts';
import { faultOf } from './migration-progress.ts';
import { createNactHost } from './nact-host.ts';
import { type NodeMessage, nodeActor } from './node.ts';
import type { CpuBudget } from './node-governor.ts';
import { checkBandwidth, checkNodeOptions } from './node-limits.ts';
import { type Hypervisors, recover } from './node-recovery.ts';
import { NodeView } from './node-view.ts';
import { type ListeningPorts, spawnLinks } from './spawn-links.ts';
import type { ActorHost, ActorRef } from './system.ts';

/** Every port of a node; `real-parts.ts` has the real ones. */
export interface NodeParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly bulk: BulkTransport;
  readonly hypervisors: Hypervisors;
  readonly openStorage: (dataDir: string) => Promise<NodeStorage>;
  readonly makeControl: (identity: NodeIdentity) => ControlTransport;
}

export interface NodeStorage extends Storage {
  /** Waits for what was asked, and lets another process have the directory. */
  close(): Promise<void>;
}

const LINK_MODE: LinkMode = 'datacenter';

export async function startNodeFrom(
  options: StartNodeOptions,
  parts: NodeParts,
): Promise<DwcpNode> {
  const { logger } = options;
  const { identity, storage } = await openNode(options, parts);
  const onFatal = options.onFatal;
  const host = createNactHost({
    clock: parts.clock,
    ...(onFatal === undefined ? {} : { onFatal }),
    onCrash: ({ path, error }) => logger?.error({ path, err: error }, 'an actor crashed'),
  });
  try {
    const recovery = await recover(storage, parts.hypervisors);
    const view = new NodeView();
    const actor = host.spawn(
      nodeActor({
        id: options.id,
        hypervisors: parts.hypervisors,
        storage,
        recovery,
        maxConcurrentMigrations:
          options.maxConcurrentMigrations ?? NODE_DEFAULTS.maxConcurrentMigrations,
        view,
        maxBandwidth: options.maxBandwidth ?? 0,
        migrationBandwidth: options.migrationBandwidth ?? 0,
        ...cpuBudget(options.maxCpuPercent ?? 0),
        log: (fields, message) => logger?.info(fields, message),
      }),
    );
    const ports = await promised<ListeningPorts>((onListening) =>
      spawnLinks(host, {
        nodeId: options.id,
        peers: options.peers.map(({ id, host: peerHost, port }) => ({
          id,
          address: { host: peerHost, port },
        })),
        control: parts.makeControl(identity),
        bulk: parts.bulk,
        controlListen: options.listen,
        bulkListen: { host: options.listen.host, port: options.bulkPort ?? 0 },
        streams: options.streams ?? NODE_DEFAULTS.streams,
        congestionControl: congestionControlOf(LINK_MODE, options.congestionControl ?? 'auto'),
        windowBytes: options.windowBytes ?? NODE_DEFAULTS.windowBytes,
        chunkBytes: options.chunkBytes ?? NODE_DEFAULTS.chunkBytes,
        report: actor as ActorRef<LinkReport>,
        random: parts.random,
        log: (fields, message) => logger?.info(fields, message),
        onListening,
      }),
    );
    return new RunningNode(options, parts, { host, storage, view, actor, ports });
  } catch (error) {
    await shutdown(host);
    parts.bulk.close();
    await storage.close();
    throw error;
  }
}

/** What can be wrong before anything runs: nothing is left behind then. */
async function openNode(
  options: StartNodeOptions,
  parts: NodeParts,
): Promise<{ readonly identity: NodeIdentity; readonly storage: NodeStorage }> {
  try {
    checkNodeOptions(options);
    const identity = loadNode(options.identity);
    return { identity, storage: await parts.openStorage(options.dataDir) };
  } catch (error) {
    parts.bulk.close();
    throw error;
  }
}

interface Running {
  readonly host: ActorHost;
  readonly storage: NodeStorage;
  readonly view: NodeView;
  readonly actor: ActorRef<NodeMessage>;
  readonly ports: ListeningPorts;
}

class RunningNode implements DwcpNode {
  readonly id: string;
  readonly address: ListeningPorts;
  readonly events$: Observable<NodeEvent>;
  readonly #options: StartNodeOptions;
  readonly #parts: NodeParts;
  readonly #running: Running;
  #stopped: Promise<void> | null = null;

  constructor(options: StartNodeOptions, parts: NodeParts, running: Running) {
    this.id = options.id;
    this.address = running.ports;
    this.events$ = running.view.events$.asObservable();
    this.#options = options;
    this.#parts = parts;
    this.#running = running;
  }

  async adopt(handle: GuestHandle): Promise<string> {
    const guest = await handle.open({ dataDir: this.#options.dataDir });
    return this.#ask<string>((done) => ({ type: 'adopt', guest, done }));
  }

  guests(): readonly GuestStatus[] {
    return [...this.#running.view.guests.values()];
  }

  peers(): readonly PeerStatus[] {
    return this.#options.peers.map(({ id }) => peerStatus(this.#running.view, id));
  }

  migrate(guestName: string, options: MigrateOptions): MigrationSession {
    const bytes = this.#parts.random.bytes(6);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const migrationId = hex;
    const transferId = Number.parseInt(hex, 16);
    const { view } = this.#running;
    const progress$: Observable<MigrationProgress> = view.progressOf(migrationId).asObservable();
    const done = this.#ask<MigrationReceipt>((answer) => {
      checkBandwidth(options.maxBandwidth ?? 0);
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
    return [...this.#running.view.migrations.values()];
  }

  cancel(migrationId: string): Promise<void> {
    return this.#ask<void>((done) => ({ type: 'cancel', migrationId, done }));
  }

  claim(guestName: string, operator: string): Promise<void> {
    return this.#ask<void>((done) => ({ type: 'claim', guestName, operator, done }));
  }

  setMaxBandwidth(peer: string, bytesPerSec: number): void {
    checkBandwidth(bytesPerSec);
    this.#running.actor.tell({ type: 'setMaxBandwidth', peer, bytesPerSec });
  }

  setMigrationBandwidth(migrationId: string, bytesPerSec: number): Promise<void> {
    return this.#ask<void>((done) => {
      checkBandwidth(bytesPerSec);
      return { type: 'setMigrationBandwidth', migrationId, bytesPerSec, done };
    });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    const { host, storage, view } = this.#running;
    await shutdown(host);
    this.#parts.bulk.close();
    await storage.close();
    view.events$.complete();
  }

  #ask<T>(message: (done: Completion<T>) => NodeMessage): Promise<T> {
    return promised<T>((done) => {
      if (this.#running.actor.tell(message(done)) === 'accepted') return;
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

function peerStatus(view: NodeView, id: string): PeerStatus {
  const bulk = view.links.get(id);
  const counters = bulk?.counters();
  const inUse = new Set(bulk?.lanes().lanes.map((lane) => lane.congestionControl));
  const problem = view.problems.get(id);
  return {
    id,
    connected: counters !== undefined,
    streams: counters?.streams ?? 0,
    mode: LINK_MODE,
    congestionControl: inUse.size === 0 ? null : [...inUse].join(', '),
    maxBandwidth: view.bandwidth.get(id) ?? 0,
    wireBytesSent: counters?.wireBytesSent ?? 0,
    wireBytesReceived: counters?.wireBytesReceived ?? 0,
    chunksReinjected: counters?.chunksReinjected ?? 0,
    chunksCorrupt: counters?.chunksCorrupt ?? 0,
    problem: faultOf(problem ?? null),
  };
}

function cpuBudget(maxCpuPercent: number): { readonly cpu?: CpuBudget } {
  return maxCpuPercent === 0 ? {} : { cpu: { maxCpuPercent, usedUs: processCpuUs } };
}
