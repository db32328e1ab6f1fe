/** Contents that a host has seen are not sent to it again: over real sockets, on a real disk. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  createPageSet,
  createRegion,
  digestPages,
  type NativeContentCache,
  type NativeRegion,
} from '../../src/native.ts';
import type { ContentCacheCounters } from '../../src/ports/content-cache.ts';
import type { PageSendCounters } from '../../src/ports/transport.ts';
import { openContentCache } from '../../src/transports/content-cache.ts';
import { assertEqualMemory, MIB, type Pair, pairUp, until } from './bulk-pair.ts';

const PAGE_BYTES = 4096;
const folder = mkdtempSync(join(tmpdir(), 'dwcp-cache-'));
after(() => rmSync(folder, { recursive: true }));

test('a second visit sends less than a third of the bytes, across restarts of both hosts', async () => {
  const image = imageOf(16 * MIB);
  const host = new Hosts('visits');
  const first = await host.move(image);
  assert.equal(first.duplicatePages, 0);
  assert.ok(first.wireBytes > 12 * MIB, `${first.wireBytes}`);
  const second = await host.move(image);
  assert.equal(second.duplicatePages, 3072);
  assert.equal(second.zeroPages, 1024);
  assert.ok(second.wireBytes < 0.05 * first.wireBytes, `${second.wireBytes}`);
  // Most of another guest is the same image.
  const other = Buffer.from(image);
  randomBytes(MIB).copy(other, 0);
  const third = await host.move(other);
  assert.ok(third.duplicatePages >= 3072 - 256, `${third.duplicatePages}`);
  assert.ok(third.wireBytes < 0.3 * first.wireBytes, `${third.wireBytes}`);
});

test('the host that a guest left finds it again, too', async () => {
  const image = imageOf(4 * MIB);
  const host = new Hosts('back');
  await host.move(image);
  const back = await host.move(image, { turned: true });
  assert.equal(back.duplicatePages, 768);
});

test('hosts with different secrets send everything, and nothing goes wrong', async () => {
  const image = imageOf(4 * MIB);
  const host = new Hosts('strangers', { secrets: ['a'.repeat(32), 'b'.repeat(32)] });
  await host.move(image);
  const second = await host.move(image);
  assert.equal(second.duplicatePages, 0);
});

test('pages that rot on disk are refused and come whole', async () => {
  const image = imageOf(4 * MIB);
  const host = new Hosts('rot');
  await host.move(image);
  for (const file of host.files(1, '.pages')) {
    const bytes = readFileSync(file);
    // One byte of every other page.
    for (let at = 17; at < bytes.length; at += 2 * PAGE_BYTES) bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(file, bytes);
  }
  const second = await host.move(image);
  assert.equal(second.duplicatePages, 768);
  const [, target] = host.last;
  assert.ok(target.corruptPages > 300, `${target.corruptPages}`);
  assert.equal(target.hits + target.corruptPages, 768);
  assert.equal(second.rawPages, target.corruptPages);
  // What came whole is kept in the place of what rotted.
  const third = await host.move(image);
  assert.equal(third.duplicatePages, 768);
  assert.equal(host.last[1].corruptPages, 0);
});

test('the store keeps its bound on disk whatever it is given, and what is used stays', async () => {
  const dir = join(folder, 'bound');
  const cache = openCache(dir, 'x'.repeat(32), 4 * MIB);
  const used = regionOf(imageOf(MIB));
  for (let round = 0; round < 12; round += 1) {
    for (const region of [used, regionOf(imageOf(MIB))]) {
      assert.ok(cache.keep(region));
      await filled(cache);
      assert.ok(sizeOf(dir) <= 4 * MIB, `${sizeOf(dir)} bytes`);
    }
  }
  const before = countersOf(cache);
  assert.ok(before.evictedPages > 1000);
  assert.ok(before.pages >= 500);
  cache.keep(used);
  await filled(cache);
  assert.equal(countersOf(cache).storedPages, before.storedPages, 'all of it was still there');
  assert.deepEqual([before.writeErrors, before.corruptPages], [0, 0]);
  cache.close();
});

test('a flipped byte anywhere in an index costs at most the pages it told of', async () => {
  const dir = join(folder, 'flips');
  const secret = 'y'.repeat(32);
  const cache = openCache(dir, secret, MIB);
  cache.keep(regionOf(randomBytes(4 * PAGE_BYTES)));
  await filled(cache);
  cache.close();
  const [index, pages] = [only(dir, '.index'), only(dir, '.pages')];
  const whole = readFileSync(index);
  const kept = readFileSync(pages);
  assert.equal(whole.length, 64 + 4 * 48);
  for (let at = 0; at < whole.length; at += 1) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    writeFileSync(index, damaged);
    writeFileSync(pages, kept);
    const opened = openCache(dir, secret, MIB);
    const { pages: left } = countersOf(opened);
    opened.close();
    // The last four bytes of an entry are of no use.
    const isSpare = at >= 64 && (at - 64) % 48 >= 44;
    assert.equal(left, at < 64 ? 0 : isSpare ? 4 : 3, `byte ${at}`);
  }
});

test('a torn end of either file is ignored, at every length', async () => {
  const dir = join(folder, 'torn');
  const secret = 'z'.repeat(32);
  const cache = openCache(dir, secret, MIB);
  cache.keep(regionOf(randomBytes(3 * PAGE_BYTES)));
  await filled(cache);
  cache.close();
  const [index, pages] = [only(dir, '.index'), only(dir, '.pages')];
  const [wholeIndex, wholePages] = [readFileSync(index), readFileSync(pages)];
  const leftAfter = (file: string, bytes: number): number => {
    writeFileSync(index, wholeIndex);
    writeFileSync(pages, wholePages);
    truncateSync(file, bytes);
    const opened = openCache(dir, secret, MIB);
    const { pages: left } = countersOf(opened);
    opened.close();
    return left;
  };
  for (let bytes = 0; bytes <= wholeIndex.length; bytes += 1) {
    assert.equal(leftAfter(index, bytes), Math.max(0, Math.floor((bytes - 64) / 48)));
  }
  for (let bytes = 0; bytes <= wholePages.length; bytes += 509) {
    assert.equal(leftAfter(pages, bytes), Math.floor(bytes / PAGE_BYTES));
  }
});

test("another tenant's cache, another format and a directory in use are refused by name", async () => {
  const dir = join(folder, 'refused');
  const secret = 'v'.repeat(32);
  const cache = openCache(dir, secret, MIB);
  cache.keep(regionOf(randomBytes(PAGE_BYTES)));
  await filled(cache);
  assert.throws(() => openCache(dir, secret, MIB), {
    code: 'ERR_DWCP_STORAGE',
    message: /another process uses the content cache .*refused/,
  });
  cache.close();
  assert.throws(() => openCache(dir, 'w'.repeat(32), MIB), {
    code: 'ERR_DWCP_STORAGE',
    message: /\.index is of another secret/,
  });
  const index = only(dir, '.index');
  const bytes = readFileSync(index);
  bytes.writeUInt32LE(2, 8);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 60)), 60);
  writeFileSync(index, bytes);
  assert.throws(() => openCache(dir, secret, MIB), {
    code: 'ERR_DWCP_STORAGE',
    message: /\.index has another format/,
  });
  assert.equal(readdirSync(dir).length, 3, 'nothing was thrown away');
});

test('a secret that is short, missing or readable by others is refused', () => {
  const options = { dir: join(folder, 'never'), maxBytes: MIB };
  const secretFile = join(folder, 'short');
  assert.throws(() => openContentCache({ ...options, secretFile }), /cannot read the secret/);
  writeFileSync(secretFile, 'x'.repeat(31), { mode: 0o600 });
  assert.throws(() => openContentCache({ ...options, secretFile }), /has not 32 bytes/);
  const open = join(folder, 'open');
  writeFileSync(open, 'x'.repeat(32), { mode: 0o644 });
  assert.throws(() => openContentCache({ ...options, secretFile: open }), /others may read/);
});

/** Three quarters random, in blocks, and one quarter zero. */
function imageOf(bytes: number): Buffer {
  const image = randomBytes(bytes);
  for (let at = 0; at < bytes; at += 4 * PAGE_BYTES) image.fill(0, at, at + PAGE_BYTES);
  return image;
}

function regionOf(bytes: Buffer): NativeRegion {
  const region = createRegion({ name: 'guest', sizeBytes: bytes.length, hugePages: false });
  writeSync(region.fd, bytes, 0, bytes.length, 0);
  return region;
}

function openCache(dir: string, secret: string, maxBytes: number): NativeContentCache {
  const name = createHash('sha256').update(secret).digest('hex').slice(0, 16);
  const secretFile = join(folder, `${name}.secret`);
  writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 });
  return openContentCache({ dir, maxBytes, secretFile });
}

function countersOf(cache: NativeContentCache): ContentCacheCounters {
  const counters = cache.counters();
  assert.ok(counters !== null);
  return counters;
}

function filled(cache: NativeContentCache): Promise<void> {
  return until(() => !countersOf(cache).isFilling, 30_000);
}

function sizeOf(dir: string): number {
  return readdirSync(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
}

function only(dir: string, ending: string): string {
  const names = readdirSync(dir).filter((name) => name.endsWith(ending));
  assert.equal(names.length, 1);
  return join(dir, names[0] ?? '');
}

function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

interface HostsOptions {
  readonly secrets: readonly [string, string];
}

/** Two hosts that start anew for every move and keep only their directories. */
class Hosts {
  readonly #dirs: readonly [string, string];
  readonly #secrets: readonly [string, string];
  last: readonly [ContentCacheCounters, ContentCacheCounters] = [NONE, NONE];

  constructor(name: string, options: Partial<HostsOptions> = {}) {
    this.#dirs = [join(folder, `${name}-a`), join(folder, `${name}-b`)];
    this.#secrets = options.secrets ?? ['s'.repeat(32), 's'.repeat(32)];
  }

  files(host: 0 | 1, ending: string): readonly string[] {
    const dir = this.#dirs[host];
    const names = readdirSync(dir).filter((name) => name.endsWith(ending));
    return names.map((name) => join(dir, name));
  }

  async move(image: Buffer, { turned = false } = {}): Promise<PageSendCounters> {
    const [from, to] = turned ? ([1, 0] as const) : ([0, 1] as const);
    const open = (host: 0 | 1): NativeContentCache =>
      openCache(this.#dirs[host], this.#secrets[host], 64 * MIB);
    const caches = [open(from), open(to)] as const;
    const pair = await pairUp({ streams: 3, caches });
    try {
      pair.source.setCodecPolicy({ kind: 'adaptive' });
      pair.source.shareContent();
      pair.target.shareContent();
      const counters = await moved(pair, image);
      for (const cache of caches) await filled(cache);
      this.last = [countersOf(caches[0]), countersOf(caches[1])];
      return counters;
    } finally {
      pair.close();
    }
  }
}

async function moved(pair: Pair, image: Buffer): Promise<PageSendCounters> {
  const count = image.length / PAGE_BYTES;
  const [from, to] = [regionOf(image), regionOf(Buffer.alloc(image.length))];
  const pages = createPageSet(count);
  pages.addAll();
  const name = { transferId: 7, epoch: 1 };
  const counters = await new Promise<PageSendCounters>((resolve, reject) => {
    const receiver = pair.target.receivePages({ ...name, region: to }, ({ error }) =>
      reject(error),
    );
    const sender = pair.source.sendPages({ ...name, region: from }, (event) => {
      if (event.type === 'failed') {
        reject(event.error);
        return;
      }
      const landedDigests = receiver.digests(0, count);
      const sourceDigests = digestPages(from, 0, count);
      const landedMemory = digestPages(to, 0, count);
      assertEqualMemory({ ...event, tookMs: 0, sourceDigests, landedMemory, landedDigests });
      sender.close();
      receiver.close();
      resolve(event.counters);
    });
    sender.send(pages);
  });
  assert.equal(counters.pendingPages, 0);
  return counters;
}

const NONE: ContentCacheCounters = {
  ...{ pages: 0, bytes: 0, bytesMax: 0, segments: 0, hits: 0, misses: 0, savedBytes: 0 },
  ...{ corruptPages: 0, storedPages: 0, evictedPages: 0, damagedSegments: 0, writeErrors: 0 },
  isFilling: false,
};
