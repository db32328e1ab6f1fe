/** Agents with a content cache: what a host has seen of a guest, or of another one like it, is not sent again. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoClient, type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import type { MigrationReceipt } from '../../src/node.ts';
import type { ContentCacheCounters } from '../../src/ports/content-cache.ts';
import type { QemuBinary } from '../../src/ports/hypervisor.ts';

const MIB = 2 ** 20;
const PAGE_BYTES = 4096;
const CACHE_BYTES = 64 * MIB;
const WITHIN_MS = 30_000;
/** All guests of this size begin with the same contents, which do not compress; a quarter is zero. */
const GUEST = { memoryBytes: 32 * MIB, dirtyBytesPerSec: MIB / 4, zeroShare: 0.25 };
const FULL_PAGES = (0.75 * GUEST.memoryBytes) / PAGE_BYTES;
const SECRET = 'd1'.repeat(32);
const folder = mkdtempSync(join(tmpdir(), 'dwcp-cache-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a second visit, and another guest with the same contents, take a fraction of the bytes', () =>
  onCluster(async (world) => {
    await world.start('vm');
    const first = await world.move('vm', 'a', 'b');
    assert.equal(first.duplicatePages, 0);
    assert.ok(first.wireBytes > FULL_PAGES * PAGE_BYTES, `${first.wireBytes}`);
    const back = await world.move('vm', 'b', 'a');
    assert.ok(back.wireBytes < 0.2 * first.wireBytes, `${back.wireBytes} of ${first.wireBytes}`);
    const second = await world.move('vm', 'a', 'b');
    assert.ok(second.wireBytes < 0.2 * first.wireBytes, `${second.wireBytes}`);
    assert.ok(second.duplicatePages > 0.9 * FULL_PAGES, `${second.duplicatePages}`);
    await world.start('like-it');
    const before = await world.cacheOf('b');
    const other = await world.move('like-it', 'a', 'b');
    assert.ok(other.wireBytes < 0.2 * first.wireBytes, `${other.wireBytes}`);
    assert.ok(other.duplicatePages > 0.9 * FULL_PAGES, `${other.duplicatePages}`);
    const cache = await world.cacheOf('b');
    assert.ok(cache.hits - before.hits >= 0.9 * FULL_PAGES, `${before.hits} -> ${cache.hits} hits`);
    assert.equal(cache.savedBytes, cache.hits * (PAGE_BYTES - 32));
    assert.ok(cache.bytes <= CACHE_BYTES && cache.bytes >= cache.pages * PAGE_BYTES);
    assert.equal(cache.bytes, world.bytesOnDisk('b'));
  }));

test('a second visit of a QEMU guest takes a fraction of the bytes, too', async () => {
  const found = execFileSync('node', ['scripts/qemu.mjs'], { encoding: 'utf8', timeout: 300_000 });
  const { binary, args, env } = JSON.parse(found) as QemuBinary;
  const qemu = { binary, args, env };
  const [firmware, noise] = [join(folder, 'counter.bin'), join(folder, 'noise.bin')];
  execFileSync('node', ['scripts/guests/counter.mjs', firmware]);
  writeFileSync(noise, randomBytes(8 * MIB));
  await onCluster(
    async (world) => {
      await world.startQemu('vm', [
        ...['-machine', 'q35,accel=tcg,memory-backend=mem0', '-m', '64M', '-nodefaults'],
        ...['-object', 'memory-backend-memfd,id=mem0,size=64M,share=on'],
        ...['-display', 'none', '-bios', firmware, '-serial', 'file:@RUN@/serial'],
        ...['-device', `loader,file=${noise},addr=0x1000000,force-raw=on`],
      ]);
      const first = await world.move('vm', 'a', 'b');
      assert.ok(first.wireBytes > 8 * MIB, `${first.wireBytes}`);
      const back = await world.move('vm', 'b', 'a');
      const second = await world.move('vm', 'a', 'b');
      for (const { duplicatePages, wireBytes } of [back, second]) {
        assert.ok(wireBytes < 0.2 * first.wireBytes, `${wireBytes} of ${first.wireBytes}`);
        assert.ok(duplicatePages > (0.9 * 8 * MIB) / PAGE_BYTES, `${duplicatePages}`);
      }
    },
    { qemu },
  );
});

test('a flipped bit in each page and each entry of a cache costs bytes and never a page', () =>
  onCluster(async (world) => {
    await world.start('vm');
    const first = await world.move('vm', 'a', 'b');
    // Under the running agent: it reads what is on disk when it needs it.
    for (const file of world.files('b', '.pages')) {
      flip(file, 0, 2 * PAGE_BYTES);
    }
    await world.start('like-it');
    const rotten = await world.move('like-it', 'a', 'b');
    const cache = await world.cacheOf('b');
    assert.ok(cache.corruptPages > 0.4 * FULL_PAGES, `${cache.corruptPages}`);
    assert.ok(rotten.wireBytes > 0.4 * first.wireBytes, 'what had rotted came whole');
    assert.ok(rotten.wireBytes < 0.8 * first.wireBytes, 'what had not was not sent');
    // And under one that starts on it.
    for (const file of world.files('b', '.index')) flip(file, 64, 48);
    await world.restart('b');
    await world.start('third');
    const lost = await world.move('third', 'a', 'b');
    assert.equal(lost.duplicatePages, 0, 'entries that do not check tell of nothing');
  }));

test('an agent that is killed while it fills its cache goes on with what is whole', () =>
  onCluster(async (world) => {
    await world.start('vm');
    await world.moved('vm', 'a', 'b');
    await world.until(() => world.bytesOnDisk('b') > 4 * MIB, 'b fills its cache');
    await world.restart('b');
    const { pages } = await world.cacheOf('b');
    await world.start('like-it');
    const other = await world.move('like-it', 'a', 'b');
    assert.ok(other.duplicatePages >= 0.9 * Math.min(pages, FULL_PAGES), `${pages} pages`);
    assert.equal((await world.cacheOf('b')).corruptPages, 0);
  }));

class World {
  readonly #cluster: DemoCluster;

  constructor(cluster: DemoCluster) {
    this.#cluster = cluster;
  }

  async start(name: string): Promise<void> {
    await this.#client('a').startGuest('memory', name, GUEST);
  }

  async startQemu(name: string, args: readonly string[]): Promise<void> {
    await this.#client('a').startGuest('qemu', name, { args });
  }

  async moved(name: string, from: string, to: string): Promise<MigrationReceipt> {
    const client = this.#client(from);
    const isLinked = async (): Promise<boolean> => {
      const [here, there] = [await client.status(), await this.#client(to).status()];
      const stands = here.peers.some(({ id, connected }) => id === to && connected);
      return stands && here.group.leader !== null && there.group.leader !== null;
    };
    await this.until(isLinked, `${from} and ${to} are linked`);
    const receipt = await client.migrate(name, { to }, () => {});
    assert.equal(receipt.verified, true);
    assert.equal(receipt.differentPages, 0);
    return receipt;
  }

  /** And both hosts have kept what went by. */
  async move(name: string, from: string, to: string): Promise<MigrationReceipt> {
    const receipt = await this.moved(name, from, to);
    for (const node of [from, to]) {
      const isFilled = async (): Promise<boolean> => !(await this.cacheOf(node)).isFilling;
      await this.until(isFilled, `${node} filled its cache`);
    }
    return receipt;
  }

  async cacheOf(node: string): Promise<ContentCacheCounters> {
    const { contentCache } = await this.#client(node).status();
    assert.ok(contentCache !== null);
    return contentCache;
  }

  async restart(node: string): Promise<void> {
    await this.#cluster.crash(node);
    await this.#cluster.restart(node);
  }

  files(node: string, ending: string): readonly string[] {
    const directory = cacheDir(this.#cluster.directory, node);
    const names = readdirSync(directory).filter((name) => name.endsWith(ending));
    return names.map((name) => join(directory, name));
  }

  bytesOnDisk(node: string): number {
    return this.files(node, '').reduce((sum, file) => sum + statSync(file).size, 0);
  }

  async until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const endMs = performance.now() + WITHIN_MS;
    while (!(await holds())) {
      assert.ok(performance.now() < endMs, `never happened: ${what}`);
      await delay(10);
    }
  }

  #client(node: string): DemoClient {
    const client = this.#cluster.clients.get(node);
    assert.ok(client !== undefined);
    return client;
  }
}

async function onCluster(
  work: (world: World) => Promise<void>,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const cluster = await startDemoCluster({
    settings: { link: { mode: 'internet', streams: 4 }, ...settings },
    settingsOf: (directory, node) => {
      const secretFile = join(directory, 'content.secret');
      mkdirSync(join(directory, node), { recursive: true });
      writeFileSync(secretFile, SECRET, { mode: 0o600 });
      return { cache: { dir: cacheDir(directory, node), maxBytes: CACHE_BYTES, secretFile } };
    },
  });
  try {
    await work(new World(cluster));
  } finally {
    await cluster.stop();
  }
}

function cacheDir(directory: string, node: string): string {
  return join(directory, node, 'cache');
}

/** One bit of every `step` bytes, from `start` on. */
function flip(file: string, start: number, step: number): void {
  const bytes = readFileSync(file);
  for (let at = start; at < bytes.length; at += step) bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  writeFileSync(file, bytes, { flag: 'r+' });
}
