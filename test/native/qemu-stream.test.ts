import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type QemuStreamAccount, qemuRoundTrip } from '../../src/native.ts';

const FOLDER = 'test/native/qemu-streams';
const PIECES = [1, 7, 4096, 65_537];

interface Scripts {
  readonly CAPTURES: Readonly<Record<string, { readonly reads: boolean }>>;
  capture(qemu: unknown, options: unknown): Promise<readonly Uint8Array[]>;
  findQemu(): unknown;
}

function kept(name: string): Uint8Array {
  return gunzipSync(readFileSync(join(FOLDER, name)));
}

/** Read in small and in large pieces, it is the same stream and the same account. */
function roundTrip(bytes: Uint8Array, pieces: readonly number[] = PIECES): QemuStreamAccount {
  const isMain = Buffer.from(bytes.subarray(0, 4)).toString('latin1') === 'QEVM';
  const accounts = pieces.map((piece) => qemuRoundTrip(bytes, piece, isMain ? 'main' : 'multifd'));
  const [first] = accounts;
  assert.ok(first !== undefined);
  for (const account of accounts) {
    assert.ok(Buffer.from(account.bytes).equals(bytes), 'byte for byte');
    assert.deepEqual({ ...account, bytes: null }, { ...first, bytes: null });
  }
  return first;
}

test('captured streams of QEMU are written again byte for byte, however they arrive', () => {
  for (const name of readdirSync(FOLDER)) roundTrip(kept(name));
});

test('all of RAM is read, and only the devices behind it are opaque', () => {
  const account = roundTrip(kept('q35-return-path.0.gz'));
  assert.equal(account.ramEnded, true);
  assert.equal(account.opaqueReason, 'the state of devices');
  assert.equal(account.blocks['pc.ram'], 16 * 2 ** 20);
  const ramPages = Object.values(account.blocks).reduce((sum, bytes) => sum + bytes / 4096, 0);
  assert.ok(account.pages + account.zeroPages >= ramPages, 'every page was sent at least once');
  assert.ok(account.pages >= 48, 'the pattern in the guest is 48 pages that are not zero');
});

test('several blocks of RAM are told apart by name', () => {
  const { blocks } = roundTrip(kept('q35-blocks.0.gz'));
  assert.equal(blocks['d0'], 16 * 2 ** 20);
  assert.equal(blocks['0000:00:01.0/vga.vram'], 2 ** 20);
});

test('channels of multifd are read to their last packet', () => {
  const accounts = [1, 2].map((channel) => roundTrip(kept(`q35-multifd-zlib.${channel}.gz`)));
  assert.deepEqual(
    accounts.map(({ opaqueBytes }) => opaqueBytes),
    [0, 0],
  );
  assert.ok(accounts.some(({ pages, zeroPages }) => pages + zeroPages > 128));
});

test('a section before RAM that cannot be measured makes the whole connection opaque', () => {
  const account = roundTrip(kept('q35-virtio-mem.0.gz'));
  assert.equal(account.opaqueReason, 'a section that cannot be measured');
  assert.equal(account.pages + account.zeroPages, 0);
});

test('a stream cut anywhere in its first records comes out as it went in', () => {
  const bytes = kept('q35-blocks.0.gz');
  for (let length = 0; length < 1500; length += 1) roundTrip(bytes.subarray(0, length), [5]);
});

test('a flipped byte never changes what is written again, and often ends the reading', () => {
  const bytes = kept('q35-blocks.0.gz');
  let isUnread = 0;
  for (let at = 0; at < 1200; at += 1) {
    const damaged = Buffer.from(bytes.subarray(0, 8192));
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    if (roundTrip(damaged, [4096]).opaqueBytes > 0) isUnread += 1;
  }
  assert.ok(isUnread > 300, `${isUnread} of 1200`);
});

test('a fresh QEMU with each set of devices and capabilities is read as expected', async () => {
  const load = async (name: string): Promise<unknown> =>
    await import(pathToFileURL(`scripts/${name}`).href);
  const { CAPTURES, capture } = (await load('qemu-capture.mjs')) as Scripts;
  const { findQemu } = (await load('qemu.mjs')) as Scripts;
  const qemu = findQemu();
  for (const [name, options] of Object.entries(CAPTURES)) {
    const [main, ...channels] = await capture(qemu, options);
    assert.ok(main !== undefined, name);
    const account = roundTrip(main, [65_537]);
    assert.equal(account.ramEnded, options.reads, `${name}: ${account.opaqueReason}`);
    for (const bytes of channels) assert.equal(roundTrip(bytes, [65_537]).opaqueBytes, 0, name);
    if (name.includes('multifd')) assert.ok(channels.length >= 2, name);
  }
});
