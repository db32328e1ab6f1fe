/**
 * A node's actors on a host that schedules them, in the order that keeps fenced guests fenced. By
 * callbacks over ports alone, so that a simulation runs the very same node.
 */
import { type LinkMode, NODE_DEFAULTS, type StartNodeOptions } from '../node.ts';
import type { Random } from '../ports/random.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkTransport, ControlTransport } from '../ports/transport.ts';
import { type Completion, succeeded } from '../util/errors.ts';
import { congestionControlOf } from './link-mode.ts';
import type { LinkReport } from './messages.ts';
import { type NodeMessage, nodeActor } from './node.ts';
import type { CpuBudget } from './node-governor.ts';
import { type Hypervisors, type Recovery, recover } from './node-recovery.ts';
import { NodeView } from './node-view.ts';
import { type ListeningPorts, spawnLinks } from './spawn-links.ts';
import type { ActorHost, ActorRef } from './system.ts';

export const LINK_MODE: LinkMode = 'datacenter';

/** What an embedder says of its node, without what only finds the parts of a real one. */
export interface SpawnNodeOptions
  extends Omit<StartNodeOptions, 'dataDir' | 'identity' | 'qemu' | 'logger' | 'onFatal'> {
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** Open, and closed by the caller once the actors have stopped; `bulk` closes with them. */
export interface SpawnNodeParts {
  readonly random: Random;
  readonly storage: Storage;
  readonly control: ControlTransport;
  readonly bulk: BulkTransport;
  readonly hypervisors: Hypervisors;
  /** What this process used of the CPU, in microseconds: what `maxCpuPercent` limits. */
  readonly cpuUsedUs: () => number;
}

export interface SpawnedNode {
  readonly view: NodeView;
  readonly actor: ActorRef<NodeMessage>;
  readonly ports: ListeningPorts;
}

/** The options were checked (`node-limits.ts`). After a failure the caller shuts `host` down. */
export function spawnNode(
  host: ActorHost,
  options: SpawnNodeOptions,
  parts: SpawnNodeParts,
  done: Completion<SpawnedNode>,
): void {
  recover(parts.storage, parts.hypervisors, (recovered) => {
    if (!recovered.ok) return done(recovered);
    const view = new NodeView();
    const actor = spawnActor(host, options, parts, view, recovered.value);
    const report = actor as ActorRef<LinkReport>;
    const onListening: Completion<ListeningPorts> = (ports) => {
      done(ports.ok ? succeeded({ view, actor, ports: ports.value }) : ports);
    };
    spawnLinks(host, { ...linksOptions(options, parts), report, onListening });
  });
}

function spawnActor(
  host: ActorHost,
  options: SpawnNodeOptions,
  { hypervisors, storage, cpuUsedUs }: SpawnNodeParts,
  view: NodeView,
  recovery: Recovery,
): ActorRef<NodeMessage> {
  const { id, maxConcurrentMigrations = NODE_DEFAULTS.maxConcurrentMigrations, log } = options;
  return host.spawn(
    nodeActor({
      ...{ id, hypervisors, storage, recovery, maxConcurrentMigrations, view, log },
      maxBandwidth: options.maxBandwidth ?? 0,
      migrationBandwidth: options.migrationBandwidth ?? 0,
      ...cpuBudget(options.maxCpuPercent ?? 0, cpuUsedUs),
    }),
  );
}

function linksOptions(
  options: SpawnNodeOptions,
  { control, bulk, random }: SpawnNodeParts,
): Omit<Parameters<typeof spawnLinks>[1], 'report' | 'onListening'> {
  const { id, listen, peers, log } = options;
  return {
    ...{ nodeId: id, control, bulk, random, log },
    peers: peers.map((peer) => ({ id: peer.id, address: { host: peer.host, port: peer.port } })),
    controlListen: listen,
    bulkListen: { host: listen.host, port: options.bulkPort ?? 0 },
    streams: options.streams ?? NODE_DEFAULTS.streams,
    congestionControl: congestionControlOf(LINK_MODE, options.congestionControl ?? 'auto'),
    windowBytes: options.windowBytes ?? NODE_DEFAULTS.windowBytes,
    chunkBytes: options.chunkBytes ?? NODE_DEFAULTS.chunkBytes,
  };
}

function cpuBudget(maxCpuPercent: number, usedUs: () => number): { readonly cpu?: CpuBudget } {
  return maxCpuPercent === 0 ? {} : { cpu: { maxCpuPercent, usedUs } };
}
