import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  createPageSet,
  createRegion,
  digestPages,
  fillRegion,
  mapRegion,
  pageKernels,
} from '../../src/native.ts';

const PAGE_BYTES = 4096;

test('CRC32C gives the known answers, in both forms', () => {
  const table = [
    [Buffer.from('123456789'), 0xe3069283],
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    [Buffer.alloc(0), 0],
  ] as const;
  for (const [bytes, crc] of table) {
    assert.equal(pageKernels.crc32c(0, bytes, false), crc);
    assert.equal(pageKernels.crc32c(0, bytes, true), crc);
  }
});

test('every kernel equals its scalar twin', () => {
  for (let i = 0; i < 200; i += 1) {
    const page = randomBytes(PAGE_BYTES);
    const digest = pageKernels.digestPage(page, false);
    assert.equal(digest, pageKernels.digestPage(page, true));
    for (const scalar of [false, true]) {
      const copy = Buffer.alloc(PAGE_BYTES);
      assert.equal(pageKernels.copyPage(copy, page, scalar), digest);
      assert.ok(copy.equals(page));
    }
    const odd = randomBytes(1 + ((i * 97) % 20_000));
    assert.equal(pageKernels.crc32c(i, odd, false), pageKernels.crc32c(i, odd, true));
  }
});

test('a page digest holds the CRC of each half, low word first', () => {
  const page = randomBytes(PAGE_BYTES);
  const low = pageKernels.crc32c(0, page.subarray(0, 2048), true);
  const high = pageKernels.crc32c(0, page.subarray(2048), true);
  assert.equal(pageKernels.digestPage(page, false), BigInt(low) | (BigInt(high) << 32n));
});

test('appending a digest equals the CRC over all the bytes', () => {
  const head = randomBytes(77);
  const pages = [randomBytes(PAGE_BYTES), Buffer.alloc(PAGE_BYTES), randomBytes(PAGE_BYTES)];
  let crc = pageKernels.crc32c(0, head, true);
  for (const page of pages) crc = pageKernels.appendPage(crc, pageKernels.digestPage(page, false));
  assert.equal(crc, pageKernels.crc32c(0, Buffer.concat([head, ...pages]), true));
});

test('one set bit anywhere makes a page not zero', () => {
  const page = Buffer.alloc(PAGE_BYTES);
  for (const scalar of [false, true]) assert.equal(pageKernels.isZeroPage(page, scalar), true);
  for (let at = 0; at < PAGE_BYTES; at += 1) {
    page[at] = 0x80;
    for (const scalar of [false, true]) assert.equal(pageKernels.isZeroPage(page, scalar), false);
    page[at] = 0;
  }
});

test('a page set counts what was added once', () => {
  const set = createPageSet(1000);
  for (const page of [0, 63, 64, 999, 64]) set.add(page);
  assert.equal(set.size(), 4);
  assert.equal(set.has(63), true);
  assert.equal(set.has(65), false);
  set.addAll();
  assert.equal(set.size(), 1000);
  set.clear();
  assert.equal(set.size(), 0);
  assert.throws(() => set.add(1000), RangeError);
});

test('a mapped region is the same memory as the region it was made from', () => {
  const region = createRegion({ name: 'one', sizeBytes: 64 * PAGE_BYTES, hugePages: false });
  const twin = mapRegion({
    fd: region.fd,
    sizeBytes: 32 * PAGE_BYTES,
    offsetBytes: 32 * PAGE_BYTES,
  });
  fillRegion(region, 7, 4);
  assert.deepEqual(digestPages(twin, 0, 32), digestPages(region, 32, 32));
  const zero = pageKernels.digestPage(Buffer.alloc(PAGE_BYTES), true);
  const view = new DataView(digestPages(region, 0, 64).buffer);
  for (let page = 0; page < 64; page += 1) {
    assert.equal(view.getBigUint64(page * 8, true) === zero, page % 4 === 0, `page ${page}`);
  }
  twin.close();
  region.close();
  region.close();
  assert.throws(() => digestPages(region, 0, 1), { code: 'ERR_DWCP_NATIVE' });
});

test('a region past the end of its descriptor is refused with an errno', () => {
  const region = createRegion({ name: 'short', sizeBytes: PAGE_BYTES, hugePages: false });
  const sizeBytes = 2 * PAGE_BYTES;
  assert.throws(() => mapRegion({ fd: region.fd, sizeBytes, offsetBytes: 0 }), { errno: 'EINVAL' });
  region.close();
});
