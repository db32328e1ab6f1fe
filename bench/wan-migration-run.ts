/** One move of the saved guest over the WAN, by us or by QEMU itself, seen by the guest's client and the link. */
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoCluster, startDemoCluster } from '../src/cli/demo/cluster.ts';
import type { TransferProfile } from '../src/ports/transfer-profile.ts';
import { assert } from '../src/util/assert.ts';
import type { VmHosts } from './migration-qemu-run.ts';
import { clientOf, freePort, runs, until } from './migration-qemu-run.ts';
import { killVm, launchVm, migrated, restoreVm, type VmHandle } from './migration-qemu-vm.ts';
import { LoadProcess, type SavedGuest } from './wan-guest.ts';

/** What the destination has seen before: nothing, another VM of the same image, or this very VM. */
export type SeenBefore = 'nothing' | 'image' | 'vm';

/** `agents` is ours. */
export type WanArm =
  | { readonly type: 'agents'; readonly profile: TransferProfile; readonly seen: SeenBefore }
  | { readonly type: 'qemu'; readonly how: 'plain' }
  | { readonly type: 'qemu'; readonly how: 'xbzrle'; readonly cacheShare: number }
  | {
      readonly type: 'qemu';
      readonly how: 'multifd-zstd';
      readonly channels: number;
      readonly level: number;
    };

export interface WanMove {
  /** From the command until the source is rid of the guest and it runs at its destination. */
  readonly totalMs: number;
  /** Longest time in which the guest's client had no answer. */
  readonly downtimeMs: number;
  /** That of the same client in the time before. */
  readonly longestGapBeforeMs: number;
  /** IP packets that the link delivered meanwhile, in both directions. */
  readonly wireBytes: number;
  /** Of these, from the source to the destination. */
  readonly forwardBytes: number;
  /** Of what the link could have carried meanwhile. */
  readonly linkUse: number;
  /** Packets to the destination that found no room in the link's queue, of all that were sent to it. */
  readonly queueDropShare: number;
}

/** Of the link since it began, as it counts itself. */
export interface LinkCount {
  readonly forwardBytes: number;
  readonly backwardBytes: number;
  readonly forwardPackets: number;
  readonly queueDrops: number;
}

export interface WanRunOptions {
  readonly vm: SavedGuest;
  /** Another one of the same image. */
  readonly sibling: SavedGuest | null;
  readonly hosts: VmHosts;
  readonly addressA: string;
  readonly enterClient: readonly string[];
  readonly folder: string;
  readonly name: string;
  readonly maxDowntimeMs: number;
  /** Of the link. */
  readonly rateBitsPerSec: number;
  readonly countLink: () => Promise<LinkCount>;
  /** Between 0 and 1, of the memory that went over at least once. */
  readonly onShare: (share: number) => void;
}

/** A restored guest runs slowly at first: its code is translated anew. */
const SETTLE_MS = 3_000;
const BEFORE_MS = 2_000;
/** What the client still has to see after the move: its guest answers. */
const AFTERWARDS_MS = 1_500;
const MOVED_WITHIN_MS = 1_200_000;
const MIB = 2 ** 20;

/** The move itself; resolves when the guest runs at its destination. */
type Mover = (source: VmHandle) => Promise<void>;

export async function moveByQemu(
  options: WanRunOptions,
  arm: WanArm & { type: 'qemu' },
): Promise<WanMove> {
  const { vm, hosts, folder, name, maxDowntimeMs } = options;
  const more = ['-incoming', 'defer'];
  return await withSource(options, async (source, measured) => {
    const target = await launchVm(vm, folder, `twin-${name}`, more, hosts.enterB);
    try {
      const uri = `tcp:${hosts.addressB}:${await freePort()}`;
      for (const { qmp } of [source, target]) await configure(qmp, arm, vm.memoryBytes);
      const limits = { 'max-bandwidth': 0, 'downtime-limit': maxDowntimeMs };
      await source.qmp.ask('migrate-set-parameters', limits);
      await target.qmp.ask('migrate-incoming', { uri });
      return await measured(async () => {
        await source.qmp.ask('migrate', { uri });
        await migrated(source.qmp, {
          withinMs: MOVED_WITHIN_MS,
          onInfo: ({ ram }) => {
            if (ram) options.onShare(1 - Math.min(1, ram.remaining / vm.memoryBytes));
          },
        });
        await runs(target.qmp);
      });
    } finally {
      target.qmp.close();
      await killVm(target.running);
    }
  });
}

async function configure(
  qmp: VmHandle['qmp'],
  arm: WanArm & { type: 'qemu' },
  memoryBytes: number,
) {
  const capabilities = [
    { capability: 'return-path', state: true },
    { capability: 'xbzrle', state: arm.how === 'xbzrle' },
    { capability: 'multifd', state: arm.how === 'multifd-zstd' },
  ];
  await qmp.ask('migrate-set-capabilities', { capabilities });
  if (arm.how === 'xbzrle') {
    const cacheBytes = 2 ** Math.floor(Math.log2(memoryBytes * arm.cacheShare));
    await qmp.ask('migrate-set-parameters', { 'xbzrle-cache-size': Math.max(MIB, cacheBytes) });
  }
  if (arm.how === 'multifd-zstd') {
    await qmp.ask('migrate-set-parameters', {
      'multifd-channels': arm.channels,
      'multifd-compression': 'zstd',
      'multifd-zstd-level': arm.level,
    });
  }
}

/** A cluster of its own: nothing is left of earlier moves, in memory or on disk. */
export async function moveByAgents(
  options: WanRunOptions,
  arm: WanArm & { type: 'agents' },
): Promise<WanMove> {
  const { vm, sibling, hosts, addressA } = options;
  const cluster = await startDemoCluster({
    settings: { qemu: { ...vm.qemu }, link: { mode: 'internet' } },
    settingsOf: (directory, node) => (arm.seen === 'nothing' ? {} : cacheOf(directory, node)),
    hosts: { a: addressA, b: hosts.addressB, c: addressA },
    prefix: (node) => (node === 'b' ? hosts.enterB : []),
  });
  try {
    await linked(cluster);
    if (arm.seen === 'nothing') return await moveInCluster(options, cluster, arm.profile);
    const seen = arm.seen === 'vm' ? vm : sibling;
    assert(seen !== null, 'another VM of the image was saved');
    const before = { ...options, vm: seen, name: `${options.name}-before`, onShare: () => {} };
    await moveInCluster(before, cluster, arm.profile);
    await cached(cluster);
    return await moveInCluster(options, cluster, arm.profile);
  } finally {
    await cluster.stop();
  }
}

/** A cache with room for all that ever comes, under a secret that the agents share. */
function cacheOf(directory: string, node: string): Readonly<Record<string, unknown>> {
  const secretFile = join(directory, 'tenant');
  if (!existsSync(secretFile))
    writeFileSync(secretFile, randomBytes(32).toString('hex'), { mode: 0o600 });
  return { cache: { dir: join(directory, `cache-${node}`), maxBytes: '16GiB', secretFile } };
}

/** The destination has stored what came. */
async function cached(cluster: DemoCluster): Promise<void> {
  await until('the content cache of b was filled', async () => {
    const { contentCache } = await clientOf(cluster, 'b').status();
    return contentCache !== null && contentCache.storedPages > 0 && !contentCache.isFilling;
  });
}

async function moveInCluster(
  options: WanRunOptions,
  cluster: DemoCluster,
  profile: TransferProfile,
): Promise<WanMove> {
  const { vm, name, maxDowntimeMs } = options;
  const [a, b] = [clientOf(cluster, 'a'), clientOf(cluster, 'b')];
  return await withSource(options, async (source, measured) => {
    source.qmp.close(); // QEMU listens to one at a time, and from now on to the agent
    await a.startGuest('qemu', name, { qmpPath: source.running.qmpPath });
    try {
      return await measured(async () => {
        const move = { to: 'b', verify: 'off', maxDowntimeMs, profile } as const;
        await a.migrate(name, move, ({ remainingBytes }) => {
          options.onShare(1 - Math.min(1, remainingBytes / vm.memoryBytes));
        });
      });
    } finally {
      const guest = (await b.guests()).find((each) => each.name === name);
      if (guest !== undefined) process.kill(guest.pid, 'SIGKILL');
    }
  });
}

async function linked(cluster: DemoCluster): Promise<void> {
  await until('a and b did not find each other', async () => {
    const { peers } = await clientOf(cluster, 'a').status();
    return peers.some((peer) => peer.id === 'b' && peer.connected);
  });
}

/** The saved guest, running and under load; what `measured` is given is the move. */
async function withSource(
  options: WanRunOptions,
  work: (source: VmHandle, measured: (move: Mover) => Promise<WanMove>) => Promise<WanMove>,
): Promise<WanMove> {
  const { vm, folder, name, enterClient } = options;
  const source = await restoreVm(vm, folder, name);
  const client = new LoadProcess(enterClient);
  try {
    return await work(source, (move) => measure(client, options, () => move(source)));
  } finally {
    client.kill();
    source.qmp.close();
    await killVm(source.running);
  }
}

async function measure(
  client: LoadProcess,
  { vm, countLink, rateBitsPerSec }: WanRunOptions,
  move: () => Promise<void>,
): Promise<WanMove> {
  await client.ask(vm.load);
  await delay(SETTLE_MS);
  await client.ask({ type: 'mark' });
  await delay(BEFORE_MS);
  const before = await client.report();
  assert(before.fault === null, `the guest answers as it should: ${before.fault}`);
  await client.ask({ type: 'mark' });
  const linkBefore = await countLink();
  const startedAtMs = performance.now();
  await move();
  const totalMs = performance.now() - startedAtMs;
  const link = await countLink();
  await delay(AFTERWARDS_MS);
  const after = await client.report();
  assert(after.fault === null, `the guest is what it was: ${after.fault}`);
  assert(after.operations > before.operations, 'the guest answers after its move');
  const passed = (what: keyof LinkCount): number => link[what] - linkBefore[what];
  return {
    totalMs,
    downtimeMs: after.longestGapMs,
    longestGapBeforeMs: before.longestGapMs,
    wireBytes: passed('forwardBytes') + passed('backwardBytes'),
    forwardBytes: passed('forwardBytes'),
    linkUse: rateBitsPerSec === 0 ? 0 : (passed('forwardBytes') * 8000) / totalMs / rateBitsPerSec,
    queueDropShare: passed('queueDrops') / passed('forwardPackets'),
  };
}
