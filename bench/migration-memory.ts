/** One move of a memory guest between two agents that are processes of their own. */
import { join } from 'node:path';
import { type DemoCluster, startDemoCluster } from '../src/cli/demo/cluster.ts';
import type { MigrationReceipt } from '../src/node.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { cleanedUp } from './interruption.ts';
import { GuestProbe } from './migration-probe.ts';

export interface MemoryCell {
  readonly memoryBytes: number;
  /** Distinct pages per second times the page size, uniform over the whole region. */
  readonly dirtyBytesPerSec: number;
}

export interface MemoryMove {
  /** Longest gap between two operations from the request to the end, as the workload's clock saw it. */
  readonly downtimeMs: number;
  /** From the request until the guest runs at its destination. */
  readonly movedMs: number;
  /** Until the memory was compared and the source let go of. */
  readonly totalMs: number;
  readonly rounds: number;
  readonly rawBytes: number;
  readonly dirtyBytesPerSec: {
    readonly before: number;
    readonly during: number;
    readonly after: number;
  };
}

const SETTLE_MS = 500;
const LINK_WITHIN_MS = 20_000;
/** Under this share of the asked rate the machine, and not the migration, was measured. */
const STARVED_SHARE = 0.9;

export async function withCluster<T>(work: (cluster: DemoCluster) => Promise<T>): Promise<T> {
  // One host's loopback is trusted; what encryption costs is a bench of its own.
  const cluster = await startDemoCluster({ settings: { link: { encryption: 'off' } } });
  return cleanedUp(
    () => cluster.stop(),
    async () => {
      await linked(cluster);
      return await work(cluster);
    },
  );
}

export function isStarved(cell: MemoryCell, move: MemoryMove): boolean {
  return move.dirtyBytesPerSec.during < STARVED_SHARE * cell.dirtyBytesPerSec;
}

/** Rejects with the migration's error when it stayed where it was. */
export async function moveMemoryGuest(
  cluster: DemoCluster,
  name: string,
  cell: MemoryCell,
): Promise<MemoryMove> {
  const source = clientOf(cluster, 'a');
  // No zero pages: they cost nothing on the wire and would flatter the figures.
  const { memoryBytes, dirtyBytesPerSec } = cell;
  await source.startGuest('memory', name, { memoryBytes, dirtyBytesPerSec, zeroShare: 0 });
  try {
    return await moveStarted(cluster, name);
  } finally {
    await removeGuest(cluster, name);
  }
}

async function moveStarted(cluster: DemoCluster, name: string): Promise<MemoryMove> {
  const atSource = await GuestProbe.open(dataDir(cluster, 'a'), name);
  try {
    const before = await atSource.rateOver(SETTLE_MS);
    await atSource.resetGap();
    const { receipt, movedMs, during } = await watchedMigration(cluster, name, atSource);
    const atTarget = await GuestProbe.open(dataDir(cluster, 'b'), name);
    try {
      const after = await atTarget.rateOver(SETTLE_MS);
      const { longestGapUs, invariantHeld } = await atTarget.report();
      assert(invariantHeld, 'the guest arrived with its accounts in order');
      return {
        downtimeMs: longestGapUs / 1000,
        movedMs,
        totalMs: receipt.totalMs,
        rounds: receipt.rounds,
        rawBytes: receipt.rawBytes,
        dirtyBytesPerSec: { before, during, after },
      };
    } finally {
      atTarget.close();
    }
  } finally {
    atSource.close();
  }
}

async function watchedMigration(
  cluster: DemoCluster,
  name: string,
  probe: GuestProbe,
): Promise<{ receipt: MigrationReceipt; movedMs: number; during: number }> {
  let isStopped = false;
  let movedMs: number | null = null;
  const startedAt = performance.now();
  const during = probe.rateUntil(() => isStopped);
  try {
    const receipt = await clientOf(cluster, 'a').migrate(name, { to: 'b' }, ({ phase }) => {
      if (phase !== 'preflight' && phase !== 'precopy') isStopped = true;
      if (phase === 'verifying' || phase === 'completed') movedMs ??= performance.now() - startedAt;
    });
    assert(receipt.verified === true, 'the memory that landed is the memory that was frozen');
    return { receipt, movedMs: movedMs ?? receipt.totalMs, during: await during };
  } finally {
    isStopped = true;
    await during;
  }
}

/** Wherever it is: the next guest needs its memory. */
async function removeGuest(cluster: DemoCluster, name: string): Promise<void> {
  await until(`guest "${name}" did not leave`, async () => {
    const all = await Promise.all(['a', 'b'].map((node) => clientOf(cluster, node).guests()));
    const left = all.flat().filter((guest) => guest.name === name);
    for (const { pid } of left) endProcess(pid);
    return left.length === 0;
  });
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended, and its agent will notice.
  }
}

async function linked(cluster: DemoCluster): Promise<void> {
  await until('a and b did not find each other', async () => {
    const { peers } = await clientOf(cluster, 'a').status();
    return peers.some((peer) => peer.id === 'b' && peer.connected);
  });
}

async function until(otherwise: string, holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + LINK_WITHIN_MS;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new DwcpError('ERR_DWCP_TIMEOUT', otherwise);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function clientOf(cluster: DemoCluster, node: string) {
  const client = cluster.clients.get(node);
  assert(client !== undefined, `agent ${node} runs`);
  return client;
}

function dataDir(cluster: DemoCluster, node: string): string {
  return join(cluster.directory, node, 'data');
}
