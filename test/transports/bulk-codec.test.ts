/** Pages through codecs and deltas, over real sockets: what lands is what was there, and less travels. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { test } from 'node:test';
import { createPageSet, createRegion, digestPages, type NativeRegion } from '../../src/native.ts';
import type { TransferProfile } from '../../src/ports/transfer-profile.ts';
import type { CodecPolicy, PageReceiver, PageSendCounters } from '../../src/ports/transport.ts';
import { assertEqualMemory, MIB, move, type Pair, pairUp } from './bulk-pair.ts';

const PAGE_BYTES = 4096;
const POLICIES: readonly CodecPolicy[] = [
  { kind: 'fixed', codec: 'lz4', level: 1 },
  { kind: 'fixed', codec: 'zstd', level: 1 },
  { kind: 'fixed', codec: 'zstd', level: 9 },
  { kind: 'adaptive' },
];

test('random and zero pages arrive bit-exact under every policy, and cost no more than three per cent', async () => {
  for (const policy of POLICIES) {
    const pair = await pairUp({ streams: 3 });
    try {
      pair.source.setCodecPolicy(policy);
      const moved = await move(pair, 16 * MIB);
      assertEqualMemory(moved);
      const { zeroPages, rawPages, compressedPages, pendingPages, wireBytes } = moved.counters;
      assert.deepEqual([zeroPages, rawPages, compressedPages, pendingPages], [1024, 3072, 0, 0]);
      assert.ok(wireBytes < 12 * MIB * 1.03, `${wireBytes} bytes`);
    } finally {
      pair.close();
    }
  }
});

test('text takes a fraction of its bytes, and counts as compressed', async () => {
  for (const policy of POLICIES.slice(0, 3)) {
    const world = await World.start(policy);
    try {
      world.write(0, textOf(8 * MIB));
      const counters = await world.send();
      assert.equal(counters.compressedPages, 2048);
      assert.equal(counters.rawPages, 0);
      assert.ok(counters.wireBytes < 4 * MIB, `${JSON.stringify(policy)}: ${counters.wireBytes}`);
    } finally {
      world.close();
    }
  }
});

test('over a slow wire an adaptive link compresses what compresses, and stays within its memory', async () => {
  const world = await World.start({ kind: 'adaptive' });
  try {
    world.pair.source.setMaxBandwidth(8 * MIB);
    world.write(0, textOf(8 * MIB));
    const first = await world.send();
    // By now the wire is measured.
    world.write(0, textOf(17 * MIB).subarray(9 * MIB));
    const second = await world.send();
    assert.equal(second.compressedPages - first.compressedPages, 2048);
    assert.ok(second.wireBytes - first.wireBytes < 4 * MIB, `${second.wireBytes}`);
    assert.ok(world.pair.source.counters().stagingBytes < 64 * MIB);
  } finally {
    world.close();
  }
});

test('a page that changed a little after it was acknowledged travels as what changed', async () => {
  const world = await World.start({ kind: 'adaptive' });
  try {
    world.write(0, randomBytes(8 * MIB));
    const first = await world.send();
    assert.equal(first.deltaPages, 0);
    assert.equal(first.baselineBytes, 8 * MIB);
    for (let page = 0; page < 2048; page += 1) world.write(page * PAGE_BYTES + 8, randomBytes(16));
    const second = await world.send();
    assert.equal(second.deltaPages, 2048);
    assert.ok(second.wireBytes - first.wireBytes < MIB, `${second.wireBytes - first.wireBytes}`);
    world.write(0, Buffer.alloc(4 * MIB));
    world.write(4 * MIB, randomBytes(4 * MIB));
    const third = await world.send();
    assert.equal(third.deltaPages, 2048);
    assert.equal(third.zeroPages, 1024);
    assert.equal(third.rawPages, 2048 + 1024);
    assert.equal(world.refusedPages(), 0);
  } finally {
    world.close();
  }
});

test('what deltas may remember is bounded, and pages that change again and again are what is kept', async () => {
  const world = await World.start({ kind: 'adaptive', baselineBytes: 2 * MIB });
  try {
    world.write(0, randomBytes(8 * MIB));
    let last = await world.send();
    for (let round = 0; round < 6; round += 1) {
      for (let page = 1024; page < 1280; page += 1) {
        world.write(page * PAGE_BYTES, randomBytes(8));
      }
      const now = await world.send(1024, 256);
      assert.ok(now.baselineBytes <= 2 * MIB);
      if (round === 5) assert.ok(now.deltaPages - last.deltaPages > 200, `${now.deltaPages}`);
      last = now;
    }
  } finally {
    world.close();
  }
});

test('a base that no longer stands at the receiver is refused, and the page comes whole', async () => {
  const world = await World.start({ kind: 'adaptive' });
  try {
    world.write(0, randomBytes(8 * MIB));
    const first = await world.send();
    // Nobody may write there. Somebody did.
    for (let page = 0; page < 2048; page += 2) world.damage(page * PAGE_BYTES + 100);
    for (let page = 0; page < 2048; page += 1) world.write(page * PAGE_BYTES + 8, randomBytes(16));
    const second = await world.send();
    assert.equal(second.deltaPages, 2048);
    assert.equal(world.refusedPages(), 1024);
    assert.equal(second.rawPages - first.rawPages, 1024);
    assert.equal(second.pendingPages, 0);
  } finally {
    world.close();
  }
});

test('policies change between and during batches, streams die, and memory is equal', async () => {
  const world = await World.start({ kind: 'adaptive' }, 4);
  try {
    world.write(0, textOf(4 * MIB));
    world.write(4 * MIB, randomBytes(2 * MIB));
    for (let round = 0; round < 12; round += 1) {
      for (let i = 0; i < 200; i += 1) {
        world.write((i * 7919 * (round + 1)) % (8 * MIB - 64), randomBytes(1 + (i % 64)));
      }
      const sent = world.send();
      world.pair.source.setCodecPolicy(
        round % 3 === 0 ? { kind: 'raw' } : (POLICIES[round % 4] as CodecPolicy),
      );
      if (round % 4 === 1) world.pair.streams[round % 3]?.close();
      await sent;
    }
    assert.equal(world.refusedPages(), 0);
  } finally {
    world.close();
  }
});

test('a transfer with profile v1 has one stream, whole pages, and zstd, whatever the link is set to', async () => {
  const world = await World.start({ kind: 'adaptive' }, 3, 'v1');
  try {
    world.write(0, textOf(8 * MIB));
    await world.send();
    world.write(5000, randomBytes(8));
    const counters = await world.send();
    assert.deepEqual([counters.compressedPages, counters.deltaPages], [4096, 0]);
    assert.equal(counters.baselineBytes, 0);
    const carried = world.pair.source.lanes().lanes.map(({ ackedBytes }) => ackedBytes > 0);
    assert.deepEqual(carried.sort(), [false, false, true]);
  } finally {
    world.close();
  }
});

function textOf(bytes: number): Buffer {
  const lines: string[] = [];
  for (let length = 0, i = 0; length < bytes; i += 1) {
    const line = `${i} the quick brown fox ${(i * 2654435761) % 1_000_003} jumps over ${i % 97} lazy dogs\n`;
    lines.push(line);
    length += line.length;
  }
  return Buffer.from(lines.join('')).subarray(0, bytes);
}

/** One transfer of 8 MiB whose every batch is compared page by page, in memory and in digests. */
class World {
  readonly pair: Pair;
  readonly #from: NativeRegion = createRegion({ name: 'a', sizeBytes: 8 * MIB, hugePages: false });
  readonly #to: NativeRegion = createRegion({ name: 'b', sizeBytes: 8 * MIB, hugePages: false });
  readonly #receiver: PageReceiver;
  readonly #send: (pages: ReturnType<typeof createPageSet>) => Promise<PageSendCounters>;

  static async start(
    policy: CodecPolicy,
    streams = 2,
    profile: TransferProfile = 'v3',
  ): Promise<World> {
    return new World(await pairUp({ streams, chunkBytes: MIB }), policy, profile);
  }

  private constructor(pair: Pair, policy: CodecPolicy, profile: TransferProfile) {
    this.pair = pair;
    pair.source.setCodecPolicy(policy);
    const name = { transferId: 9, epoch: 1 };
    let settle = { done: (_: PageSendCounters) => {}, fail: (_: Error) => {} };
    this.#receiver = pair.target.receivePages({ ...name, region: this.#to }, ({ error }) =>
      settle.fail(error),
    );
    const sender = pair.source.sendPages({ ...name, profile, region: this.#from }, (event) => {
      if (event.type === 'failed') settle.fail(event.error);
      else settle.done(event.counters);
    });
    this.#send = (pages) =>
      new Promise((done, fail) => {
        settle = { done, fail };
        sender.send(pages);
      });
  }

  write(offset: number, bytes: Uint8Array): void {
    assert.equal(writeSync(this.#from.fd, bytes, 0, bytes.length, offset), bytes.length);
  }

  damage(offset: number): void {
    writeSync(this.#to.fd, randomBytes(8), 0, 8, offset);
  }

  async send(first = 0, count = 2048): Promise<PageSendCounters> {
    const pages = createPageSet(2048);
    for (let page = first; page < first + count; page += 1) pages.add(page);
    const counters = await this.#send(pages);
    const expected = Buffer.from(digestPages(this.#from, 0, 2048));
    assert.ok(expected.equals(digestPages(this.#to, 0, 2048)), 'memory differs');
    assert.ok(expected.equals(this.#receiver.digests(0, 2048)), 'digests differ');
    return counters;
  }

  refusedPages(): number {
    return this.#receiver.counters().refusedPages;
  }

  close(): void {
    this.pair.close();
  }
}

test('a content that a guest has many times is sent once, as long as it lies where it was', async () => {
  const world = await World.start({ kind: 'adaptive' });
  try {
    const page = randomBytes(PAGE_BYTES);
    world.write(0, page);
    const first = await world.send();
    assert.equal(first.duplicatePages, 0);
    world.write(PAGE_BYTES, Buffer.alloc(1024 * PAGE_BYTES, page));
    const second = await world.send(1, 1024);
    assert.equal(second.duplicatePages, 1024);
    assert.equal(second.rawPages - first.rawPages, 0);
    const spent = second.wireBytes - first.wireBytes;
    assert.ok(spent < 32 * 1024, `${spent} bytes for 4 MiB`);
  } finally {
    world.close();
  }
});
