/** One move of the saved VM: by our agents, or by QEMU itself. The same clocks for both. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { AdminClient } from '../src/agent/admin-client.ts';
import type { DemoCluster } from '../src/cli/demo/cluster.ts';
import { TickWatch } from '../src/cli/demo/tick-watch.ts';
import { commandLine, processesWith } from '../src/hypervisors/qemu/find-process.ts';
import { queryMigration } from '../src/hypervisors/qemu/migrate.ts';
import type { Qmp } from '../src/hypervisors/qemu/qmp.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import {
  killVm,
  launchVm,
  migrated,
  restoreVm,
  type SavedVm,
  serialFolderOf,
} from './migration-qemu-vm.ts';

export interface VmMove {
  /** From the command until the source is rid of the guest and it runs at its destination. */
  readonly totalMs: number;
  /** Longest time between two counts of the guest, which come every 20 ms when nothing holds it up. */
  readonly downtimeMs: number;
  /** Source and destination together: agents, if any, and both QEMUs with the guest in them. */
  readonly cpuSecondsPerGb: number;
  readonly wireBytes: number;
}

export interface VmHosts {
  readonly addressB: string;
  readonly enterB: readonly string[];
}

const DOWNTIME_LIMIT_MS = 300;
const SETTLE_MS = 500;
const POLL_MS = 20;
const TICKS_PER_SEC = 100;

interface RunOptions {
  readonly vm: SavedVm;
  readonly hosts: VmHosts;
  readonly folder: string;
  readonly name: string;
}

/** `channels` 0 is QEMU's plain migration, else multifd. */
export async function moveByQemu(options: RunOptions, channels: number): Promise<VmMove> {
  const { vm, hosts, folder, name } = options;
  const watch = new TickWatch([serialFolderOf(folder, name)]);
  const source = await restoreVm(vm, folder, name);
  try {
    const more = ['-incoming', 'defer'];
    const target = await launchVm(vm, folder, `twin-${name}`, more, hosts.enterB);
    try {
      const uri = `tcp:${hosts.addressB}:${await freePort()}`;
      await configure(source.qmp, channels);
      await configure(target.qmp, channels);
      await source.qmp.ask('migrate-set-parameters', {
        'max-bandwidth': 0,
        'downtime-limit': DOWNTIME_LIMIT_MS,
      });
      await target.qmp.ask('migrate-incoming', { uri });
      await settled(watch);
      const cpu = new CpuMeter([source.running.process.pid, target.running.process.pid]);
      const startedAt = performance.now();
      await source.qmp.ask('migrate', { uri });
      await migrated(source.qmp);
      await runs(target.qmp);
      const totalMs = performance.now() - startedAt;
      const cpuSeconds = cpu.seconds();
      const info = (await queryMigration(source.qmp)) as { ram?: { transferred?: number } };
      const wireBytes = info.ram?.transferred ?? 0;
      return { totalMs, wireBytes, ...(await arrived(watch)), ...perGb(cpuSeconds, wireBytes) };
    } finally {
      target.qmp.close();
      await killVm(target.running);
    }
  } finally {
    watch.close();
    source.qmp.close();
    await killVm(source.running);
  }
}

export async function moveByAgents(
  options: RunOptions,
  cluster: DemoCluster,
  verify: 'strict' | 'off',
): Promise<VmMove> {
  const { vm, folder, name } = options;
  const [a, b] = [clientOf(cluster, 'a'), clientOf(cluster, 'b')];
  const watch = new TickWatch([serialFolderOf(folder, name)]);
  const source = await restoreVm(vm, folder, name);
  try {
    source.qmp.close(); // QEMU listens to one at a time, and from now on to the agent
    await a.startGuest('qemu', name, { qmpPath: source.running.qmpPath });
    await settled(watch);
    const cpu = new CpuMeter([...agentPids(cluster), source.running.process.pid]);
    const startedAt = performance.now();
    const move = { to: 'b', verify, maxDowntimeMs: DOWNTIME_LIMIT_MS };
    const receipt = await a.migrate(name, move, () => {
      cpu.join(processesWith(serialArgument(folder, name)));
      cpu.sample();
    });
    const totalMs = performance.now() - startedAt;
    const cpuSeconds = cpu.seconds();
    assert(receipt.verified === (verify === 'off' ? null : true), 'the memory arrived');
    const moved = await arrived(watch);
    const guest = (await b.guests()).find((each) => each.name === name);
    assert(guest?.state === 'running', `"${name}" runs on b`);
    process.kill(guest.pid, 'SIGKILL');
    await gone(b, name);
    const { wireBytes } = receipt;
    return { totalMs, wireBytes, ...moved, ...perGb(cpuSeconds, wireBytes) };
  } finally {
    watch.close();
    await killVm(source.running);
  }
}

/** The word of a command line that both QEMUs of a run have, and nobody else. */
function serialArgument(folder: string, name: string): string {
  const path = join(serialFolderOf(folder, name), 'qemu-guests', 'vm', 'serial');
  return `file,id=serial0,path=${path},append=on`;
}

async function configure(qmp: Qmp, channels: number): Promise<void> {
  const capabilities = [
    { capability: 'return-path', state: true },
    { capability: 'multifd', state: channels > 0 },
  ];
  await qmp.ask('migrate-set-capabilities', { capabilities });
  if (channels > 0) await qmp.ask('migrate-set-parameters', { 'multifd-channels': channels });
}

async function settled(watch: TickWatch): Promise<void> {
  await watch.ready();
  await delay(SETTLE_MS);
  watch.reset();
}

/** The guest counts on where it is now, and found nothing missing. */
async function arrived(watch: TickWatch): Promise<{ readonly downtimeMs: number }> {
  const before = watch.report().operations;
  await until('the guest does not count on', async () => watch.report().operations > before + 5);
  const { longestGapMs, invariantHeld } = watch.report();
  assert(invariantHeld, `the guest's memory and counts are whole: ${watch.fault}`);
  return { downtimeMs: longestGapMs };
}

export async function runs(qmp: Qmp): Promise<void> {
  await until('the destination does not run', async () => {
    const status = await qmp.ask<{ readonly running: boolean }>('query-status');
    return status.running;
  });
}

/** A list that is asked for while a guest ends may fail with it. */
export async function gone(client: AdminClient, name: string): Promise<void> {
  await until(`"${name}" did not leave`, async () => {
    const guests = await client.guests().catch(() => null);
    return guests !== null && !guests.some((each) => each.name === name);
  });
}

export async function until(
  otherwise: string,
  holds: () => Promise<boolean>,
  withinMs: number = 20_000,
): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new DwcpError('ERR_DWCP_TIMEOUT', otherwise);
    await delay(POLL_MS);
  }
}

function perGb(cpuSeconds: number, wireBytes: number): { readonly cpuSecondsPerGb: number } {
  return { cpuSecondsPerGb: cpuSeconds / (wireBytes / 1e9) };
}

function agentPids(cluster: DemoCluster): number[] {
  return ['a', 'b'].flatMap((node) => [
    ...processesWith(join(cluster.directory, `${node}.yaml`)).filter((pid) =>
      commandLine(pid).includes('agent'),
    ),
  ]);
}

export function clientOf(cluster: DemoCluster, node: string): AdminClient {
  const client = cluster.clients.get(node);
  assert(client !== undefined, `agent ${node} runs`);
  return client;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** CPU time of processes that may end meanwhile: the last that was seen of each counts. */
class CpuMeter {
  readonly #start = new Map<number, number>();
  readonly #latest = new Map<number, number>();

  constructor(pids: readonly number[]) {
    this.sample(pids);
    for (const [pid, seconds] of this.#latest) this.#start.set(pid, seconds);
  }

  /** Processes that were started for this work: all of their time is its. */
  join(pids: readonly number[]): void {
    for (const pid of pids) if (!this.#start.has(pid)) this.#start.set(pid, 0);
  }

  sample(pids: Iterable<number> = this.#start.keys()): void {
    for (const pid of pids) {
      const seconds = cpuSecondsOf(pid);
      if (seconds !== null) this.#latest.set(pid, seconds);
    }
  }

  seconds(): number {
    this.sample();
    let total = 0;
    for (const [pid, start] of this.#start) total += (this.#latest.get(pid) ?? start) - start;
    return total;
  }
}

function cpuSecondsOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SEC;
  } catch {
    return null;
  }
}
