import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoClient, type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { TickWatch } from '../../src/cli/demo/tick-watch.ts';
import { launchQemu } from '../../src/hypervisors/qemu/launch.ts';
import type { MigrationProgress } from '../../src/node.ts';
import type { QemuBinary } from '../../src/ports/hypervisor.ts';
import { kill } from '../hypervisors/waiting.ts';

const found = execFileSync('node', ['scripts/qemu.mjs'], { encoding: 'utf8', timeout: 300_000 });
const { binary, args, env } = JSON.parse(found) as QemuBinary;
const qemu: QemuBinary = { binary, args, env };
const folder = mkdtempSync(join(tmpdir(), 'dwcp-qemu-move-'));
const firmware = join(folder, 'counter.bin');
execFileSync('node', ['scripts/guests/counter.mjs', firmware]);
after(() => rmSync(folder, { recursive: true, force: true }));

const PAGES = 16384;
const MACHINE = ['-machine', 'q35,accel=tcg,memory-backend=mem0', '-m', '64M', '-nodefaults'];
const COUNTER = ['-display', 'none', '-bios', firmware, '-serial', 'file:@RUN@/serial'];
const SHARED = ['-object', 'memory-backend-memfd,id=mem0,size=64M,share=on'];
const GUEST = [...MACHINE, ...SHARED, ...COUNTER];
/** The counter's own memory shrinks to a few kilobytes; what is slow has to be large as no codec can help. */
const noise = join(folder, 'noise.bin');
writeFileSync(noise, randomBytes(2 ** 20));
const NOISY = [...GUEST, '-device', `loader,file=${noise},addr=0x1000000,force-raw=on`];

interface Hosts {
  readonly cluster: DemoCluster;
  readonly a: DemoClient;
  readonly b: DemoClient;
  readonly watch: TickWatch;
}

/** In `internet` pages go apart from the rest of QEMU's stream, in `datacenter` the stream goes as it is. */
type Mode = 'internet' | 'datacenter';
const MODES: readonly Mode[] = ['internet', 'datacenter'];

async function withHosts(
  work: (hosts: Hosts) => Promise<void>,
  mode: Mode = 'datacenter',
): Promise<void> {
  const cluster = await startDemoCluster({
    settings: { qemu, migrations: { resumeGraceMs: 2000 }, link: { mode } },
  });
  const watch = new TickWatch([...cluster.dataDirs, operatorsDir(cluster)]);
  try {
    const [a, b] = [cluster.clients.get('a'), cluster.clients.get('b')];
    assert.ok(a !== undefined && b !== undefined);
    await linked(a);
    await work({ cluster, a, b, watch });
  } finally {
    watch.close();
    await cluster.stop();
  }
}

async function linked(client: DemoClient): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    const { peers } = await client.status();
    if (peers.some((peer) => peer.id !== 'c' && peer.connected)) return;
    await delay(50);
  }
  assert.fail('a and b did not link');
}

/** Resolves when the guest counted on by so much; its counts so far had no gap. */
async function countsOn(watch: TickWatch, by: number): Promise<void> {
  const from = watch.report().operations;
  for (let tries = 0; tries < 200; tries += 1) {
    if (watch.report().operations >= from + by) return assert.equal(watch.fault, null);
    await delay(25);
  }
  assert.fail(`the guest stands at ${watch.report().operations}, was at ${from}`);
}

async function states(client: DemoClient): Promise<readonly string[]> {
  return (await client.guests()).map(({ state }) => state);
}

for (const mode of MODES) {
  test(`a QEMU guest moves there and back in ${mode} mode, compared page by page, and counts on without a gap`, () =>
    withHosts((hosts) => movesThereAndBack(hosts, mode), mode));
}

async function movesThereAndBack({ a, b, watch }: Hosts, mode: Mode): Promise<void> {
  await a.startGuest('qemu', 'vm', { args: GUEST });
  await watch.ready();
  for (const [from, to, name] of [
    [a, b, 'b'],
    [b, a, 'a'],
  ] as const) {
    let encodedPages = 0;
    const receipt = await from.migrate('vm', { to: name }, (progress) => {
      encodedPages = progress.compressedPages + progress.deltaPages;
    });
    assert.equal(encodedPages > 0, mode === 'internet', `${encodedPages} pages were encoded`);
    assert.deepEqual([receipt.comparedPages, receipt.differentPages], [PAGES, 0]);
    assert.equal(receipt.verified, true);
    assert.deepEqual([await states(from), await states(to)], [[], ['running']]);
    await countsOn(watch, 30);
  }
}

test('over a slow link a round lasts until its pages are there, so that the move converges', () =>
  withHosts(async ({ a, b, watch }) => {
    await a.startGuest('qemu', 'vm', { args: NOISY });
    await watch.ready();
    const receipt = await a.migrate('vm', { to: 'b', maxBandwidth: 500_000 }, () => {});
    assert.equal(receipt.verified, true);
    await countsOn(watch, 10);
    assert.deepEqual([await states(a), await states(b)], [[], ['running']]);
  }, 'internet'));

test('what cannot be moved or checked is refused before the destination hears of it', () =>
  withHosts(async ({ a, b, watch }) => {
    const disk = join(folder, 'disk.raw');
    execFileSync('truncate', ['-s', '1M', disk]);
    const drive = ['-drive', `if=none,id=d0,format=raw,file=${disk}`];
    const device = ['-device', 'virtio-blk-pci,drive=d0'];
    const unshared = ['-object', 'memory-backend-ram,id=mem0,size=64M'];
    await a.startGuest('qemu', 'vm', {
      args: [...MACHINE, ...unshared, ...COUNTER, ...drive, ...device],
    });
    await watch.ready();
    const move = (verify: 'after' | 'strict' | 'off') =>
      a.migrate('vm', { to: 'b', verify }, () => {});
    await assert.rejects(move('after'), { code: 'ERR_DWCP_UNSUPPORTED' });
    await assert.rejects(move('strict'), { code: 'ERR_DWCP_UNSUPPORTED' });
    await assert.rejects(move('off'), { code: 'ERR_DWCP_LOCAL_DISK' });
    await countsOn(watch, 10);
    assert.deepEqual([await states(a), await states(b)], [['running'], []]);
  }));

test('an agent adopts a running QEMU by its socket, and after kill -9 of that agent it still runs', () =>
  withHosts(async ({ cluster, a, watch }) => {
    const runDirectory = join(operatorsDir(cluster), 'qemu-guests', 'vm');
    const { process, qmpPath } = await launchQemu(qemu, GUEST, runDirectory);
    await a.startGuest('qemu', 'vm', { qmpPath });
    await watch.ready();
    await cluster.crash('a');
    await countsOn(watch, 10);
    await cluster.restart('a');
    const [guest] = await a.guests();
    assert.deepEqual([guest?.pid, guest?.state], [process.pid, 'running']);
    await kill(process);
  }));

/**
 * Starts a move so slow that its stream is under way for seconds; resolves in the midst of it. QEMU, which
 * sees our window and not the link, may have stopped the guest by then.
 */
async function moveUnderWay(hosts: Hosts): Promise<{ readonly rejected: Promise<void> }> {
  const { a, watch } = hosts;
  await a.startGuest('qemu', 'vm', { args: NOISY });
  await watch.ready();
  let hasStarted = (): void => {};
  const started = new Promise<void>((resolve) => {
    hasStarted = resolve;
  });
  const onProgress = ({ phase, wireBytes }: MigrationProgress): void => {
    const isUnderWay = phase === 'precopy' || phase === 'stopAndCopy';
    if (isUnderWay && wireBytes > 100_000) hasStarted();
  };
  const move = a.migrate('vm', { to: 'b', maxBandwidth: 50_000 }, onProgress);
  const rejected = assert.rejects(move, { code: 'ERR_DWCP_PEER_UNREACHABLE' });
  // It is awaited later; failing before that must not end the process before it cleaned up.
  rejected.catch(() => {});
  await Promise.race([started, move.then(() => assert.fail('the move ended before its midst'))]);
  assert.equal(qemuFolders(hosts.cluster, 1).length, 1, 'its twin waits');
  watch.reset();
  return { rejected };
}

async function moveSucceeds({ cluster, a, b, watch }: Hosts): Promise<void> {
  assert.ok(watch.report().longestGapMs < 1000, `${watch.report().longestGapMs} ms`);
  await linked(a);
  const receipt = await a.migrate('vm', { to: 'b' }, () => {});
  assert.equal(receipt.verified, true);
  await countsOn(watch, 10);
  assert.deepEqual([await states(a), await states(b)], [[], ['running']]);
  assert.deepEqual(qemuFolders(cluster, 0), [], 'the source left nothing behind');
}

async function destinationDies(hosts: Hosts): Promise<void> {
  const { rejected } = await moveUnderWay(hosts);
  await hosts.cluster.crash('b');
  await rejected;
  await countsOn(hosts.watch, 10);
  await hosts.cluster.restart('b');
  assert.deepEqual(qemuFolders(hosts.cluster, 1), [], 'the orphan and its folder are gone');
  await moveSucceeds(hosts);
}

async function sourceDies(hosts: Hosts): Promise<void> {
  const { rejected } = await moveUnderWay(hosts);
  await hosts.cluster.crash('a');
  await rejected;
  // A guest that QEMU had stopped by then stands until its agent is back and the group says that it is ours.
  await hosts.cluster.restart('a');
  await countsOn(hosts.watch, 10);
  await comesTo(async () => (await states(hosts.a)).join() === 'running', 'it is found again');
  await comesTo(() => qemuFolders(hosts.cluster, 1).length === 0, 'its twin is removed');
  hosts.watch.reset();
  await moveSucceeds(hosts);
}

for (const mode of MODES) {
  test(`kill -9 of the destination in mid-stream in ${mode} mode: the guest goes on, its twin is removed, the next move succeeds`, () =>
    withHosts(destinationDies, mode));
  test(`kill -9 of the source in mid-stream in ${mode} mode: the guest goes on, is found again, and the next move succeeds`, () =>
    withHosts(sourceDies, mode));
}

async function comesTo(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await delay(25);
  }
  assert.fail(`not in time: ${what}`);
}

/** Where no agent looks for guests of its own. */
function operatorsDir(cluster: DemoCluster): string {
  return join(cluster.directory, 'operator');
}

/** Folders of guests on a host, with a QEMU or without. */
function qemuFolders(cluster: DemoCluster, host: number): readonly string[] {
  const guests = join(cluster.dataDirs[host] ?? '', 'qemu-guests');
  if (!existsSync(guests)) return [];
  return readdirSync(guests);
}
