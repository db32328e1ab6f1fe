/**
 * A node's actors on a host that schedules them, in the order that keeps fenced guests fenced. By
 * callbacks over ports alone, so that a simulation runs the very same node.
 */
import { type LinkModeRules, NODE_DEFAULTS, type StartNodeOptions } from '../node.ts';
import type { Ownership } from '../ports/ownership.ts';
import type { OpenedRaftLog, RaftLogIdentity, SnapshotDigest } from '../ports/raft-log.ts';
import type { Random } from '../ports/random.ts';
import type { Storage } from '../ports/storage.ts';
import type { BulkTransport, ControlTransport } from '../ports/transport.ts';
import { MODE_LIMITS } from '../protocols/link/mode-governor.ts';
import { MODE_THRESHOLDS } from '../protocols/link/mode-judge.ts';
import { founder } from '../protocols/raft/fresh.ts';
import type { Restored } from '../protocols/raft/types.ts';
import { type Completion, type DwcpError, succeeded } from '../util/errors.ts';
import { votersOf } from './group-voters.ts';
import type { RdmaPlan } from './link-rdma.ts';
import { sealingWish } from './link-seal.ts';
import { LinkSwitch, PeerLinks } from './link-switch.ts';
import type { LinkReport } from './messages.ts';
import { type NodeMessage, nodeActor } from './node.ts';
import { Adoption } from './node-adoption.ts';
import type { CpuBudget } from './node-governor.ts';
import { type Hypervisors, type Recovery, recover } from './node-recovery.ts';
import { upgrade } from './node-upgrade.ts';
import { NodeView } from './node-view.ts';
import { beginLife, type OwnerLife } from './owner-records.ts';
import { spawnReplica } from './replica.ts';
import { replicaIds } from './replica-options.ts';
import { type ListeningPorts, type ModeRules, spawnLinks } from './spawn-links.ts';
import { type SpawnedOwner, spawnOwner } from './spawn-owner.ts';
import type { ActorHost, ActorRef } from './system.ts';

/** Of the digest that names a group. */
const GROUP_DIGITS = 16;

/** What an embedder says of its node, without what only finds the parts of a real one. */
export interface SpawnNodeOptions
  extends Omit<StartNodeOptions, 'identity' | 'qemu' | 'logger' | 'onFatal'> {
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  readonly rdma?: RdmaPlan | null;
}

/** Open, and closed by the caller once the actors have stopped; `bulk` closes with them. */
export interface SpawnNodeParts {
  readonly random: Random;
  readonly storage: Storage;
  readonly control: ControlTransport;
  readonly bulk: BulkTransport;
  readonly hypervisors: Hypervisors;
  /** Of this host in its group. The replica closes it. */
  readonly openRaftLog: OpenRaftLog;
  readonly digest: SnapshotDigest;
  /** What this process used of the CPU, in microseconds: what `maxCpuPercent` limits. */
  readonly cpuUsedUs: () => number;
  /** This node may not go on: the caller stops it. */
  readonly onHalt: (error: DwcpError) => void;
}

export type OpenRaftLog = (
  identity: RaftLogIdentity,
  /** What an empty log starts from. */
  founding: Restored,
  done: Completion<OpenedRaftLog>,
) => void;

export interface SpawnedNode {
  readonly view: NodeView;
  readonly actor: ActorRef<NodeMessage>;
  readonly adoption: Adoption;
  readonly ownership: Ownership;
  readonly ports: ListeningPorts;
}

/** The options were checked (`node-limits.ts`). After a failure the caller shuts `host` down. */
export function spawnNode(
  host: ActorHost,
  options: SpawnNodeOptions,
  parts: SpawnNodeParts,
  done: Completion<SpawnedNode>,
): void {
  const { storage, random, hypervisors } = parts;
  const voters = votersOf(options);
  const group = groupOf(voters, parts.digest);
  findOut(storage, hypervisors, options.dataDir, (recovered) => {
    if (!recovered.ok) return done(recovered);
    beginLife({ storage, random, voters }, (begun) => {
      if (!begun.ok) return done(begun);
      const ids = replicaIds(voters);
      const identity = { group, replica: ids.get(options.id) ?? 0 };
      parts.openRaftLog(identity, founder(ids.values()), (log) => {
        if (!log.ok) return done(log);
        const opened = { recovery: recovered.value, life: begun.value, log: log.value };
        spawnActors(host, options, parts, { voters, group, ...opened }, done);
      });
    });
  });
}

function findOut(
  storage: Storage,
  hypervisors: Hypervisors,
  dataDir: string,
  done: Completion<Recovery>,
): void {
  upgrade(storage, dataDir, (upgraded) => {
    if (!upgraded.ok) return done(upgraded);
    recover(storage, hypervisors, done);
  });
}

interface Opened {
  readonly voters: readonly string[];
  readonly group: string;
  readonly recovery: Recovery;
  readonly life: OwnerLife;
  readonly log: OpenedRaftLog;
}

function spawnActors(
  host: ActorHost,
  options: SpawnNodeOptions,
  parts: SpawnNodeParts,
  opened: Opened,
  done: Completion<SpawnedNode>,
): void {
  const view = new NodeView();
  const links = new PeerLinks();
  const { ownership, replica } = spawnGroup(host, options, parts, opened, links);
  const actor = spawnActor(host, options, parts, view, opened.recovery, ownership);
  const { silent } = opened.recovery;
  const adoption = new Adoption({ host: options.id, ownership, node: actor, view, silent });
  const report = new LinkSwitch(actor as ActorRef<LinkReport>, replica, links);
  const onListening: Completion<ListeningPorts> = (ports) => {
    done(ports.ok ? succeeded({ view, actor, adoption, ownership, ports: ports.value }) : ports);
  };
  spawnLinks(host, { ...linksOptions(options, parts), report, onListening });
}

function spawnGroup(
  host: ActorHost,
  { id, dataDir, log: report }: SpawnNodeOptions,
  { storage, random, digest, onHalt }: SpawnNodeParts,
  { voters, group, life, log }: Opened,
  links: PeerLinks,
): SpawnedOwner {
  return spawnOwner(host, {
    ...{ host: id, voters, dataDir, life, storage, onHalt },
    spawnReplica: (hooks) =>
      spawnReplica(host, {
        ...{ group, self: id, members: voters, log, digest, random, report, ...hooks },
        send: (peer, envelope) => links.send(peer, envelope),
      }),
  });
}

/**
 * Replicas are known to each other by their place among the voters: two lists that differ are two
 * groups, whose members do not hear each other.
 */
function groupOf(voters: readonly string[], digest: SnapshotDigest): string {
  const name = digest(new TextEncoder().encode(voters.join('\n')));
  return `owners-${name.slice(0, GROUP_DIGITS)}`;
}

function spawnActor(
  host: ActorHost,
  options: SpawnNodeOptions,
  { hypervisors, storage, cpuUsedUs }: SpawnNodeParts,
  view: NodeView,
  recovery: Recovery,
  ownership: Ownership,
): ActorRef<NodeMessage> {
  const { id, maxConcurrentMigrations = NODE_DEFAULTS.maxConcurrentMigrations, log } = options;
  return host.spawn(
    nodeActor({
      ...{ id, hypervisors, storage, recovery, ownership, maxConcurrentMigrations, view, log },
      resumeGraceMs: options.resumeGraceMs ?? NODE_DEFAULTS.resumeGraceMs,
      allowPostcopy: options.allowPostcopy ?? false,
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
    peers: peers.map((peer) => ({
      ...{ id: peer.id, address: { host: peer.host, port: peer.port } },
      sealing: sealingWish(options, peer),
    })),
    controlListen: listen,
    bulkListen: { host: listen.host, port: options.bulkPort ?? 0 },
    streams: options.streams ?? NODE_DEFAULTS.streams,
    mode: options.linkMode ?? NODE_DEFAULTS.linkMode,
    modeRules: rulesOf(options.linkModeRules),
    congestionControl: options.congestionControl ?? 'auto',
    rdma: options.rdma ?? null,
    windowBytes: options.windowBytes ?? NODE_DEFAULTS.windowBytes,
    chunkBytes: options.chunkBytes ?? NODE_DEFAULTS.chunkBytes,
  };
}

function rulesOf(said: Partial<LinkModeRules> = {}): ModeRules {
  const { nearMs, farMs, ...rest } = said;
  return {
    ...MODE_THRESHOLDS,
    ...MODE_LIMITS,
    ...rest,
    ...(nearMs === undefined ? {} : { nearUs: nearMs * 1000 }),
    ...(farMs === undefined ? {} : { farUs: farMs * 1000 }),
  };
}

function cpuBudget(maxCpuPercent: number, usedUs: () => number): { readonly cpu?: CpuBudget } {
  return maxCpuPercent === 0 ? {} : { cpu: { maxCpuPercent, usedUs } };
}
