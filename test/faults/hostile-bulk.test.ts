import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { createRegion, digestPages, fillRegion, type NativeRegion } from '../../src/native.ts';
import type { PageReceiver } from '../../src/ports/transport.ts';
import { assertEqualMemory, MIB, move, type Pair, pairUp, until } from '../transports/bulk-pair.ts';
import { FRAME_TYPE, frame, HEADER_BYTES, headerCheck, pageChunk } from './frames.ts';
import { RawPeer } from './raw-peer.ts';

const PAGES = 64;
const NAME = { transferId: 1000, epoch: 3 };

let pair: Pair;
let region: NativeRegion;
let receiver: PageReceiver;
let untouched: Uint8Array;

before(async () => {
  pair = await pairUp({ streams: 2, windowBytes: MIB, chunkBytes: 64 * 1024 });
  region = createRegion({ name: 'hostile', sizeBytes: PAGES * 4096, hugePages: false });
  fillRegion(region, 5, 0);
  untouched = digestPages(region, 0, PAGES);
  receiver = pair.target.receivePages({ ...NAME, region }, () => {});
});

after(() => pair.close());

/** What one connection ended with; the others still carry a whole transfer afterwards. */
async function endOf(bytes: Uint8Array, joined: boolean): Promise<string> {
  const lost = pair.lost.length;
  const refused = pair.refused.length;
  const peer = new RawPeer(pair.port);
  if (joined) await peer.join();
  peer.drain();
  peer.send(bytes);
  await peer.gone;
  if (!joined) {
    await until(() => pair.refused.length > refused);
    const { code, message } = pair.refused.at(-1)?.error ?? {};
    return `${code}: ${message}`;
  }
  await until(() => pair.lost.length > lost);
  assert.equal(pair.lost.length, lost + 1, 'told more than once');
  const { code, message } = pair.lost.at(-1) ?? {};
  return `${code}: ${message}`;
}

async function assertOthersUnaffected(): Promise<void> {
  assert.equal(pair.source.counters().streams, 2);
  assertEqualMemory(await move(pair, MIB));
}

function assertUntouched(): void {
  assert.deepEqual(digestPages(region, 0, PAGES), untouched);
  assert.equal(receiver.counters().landedPages, 0);
}

const good = { ...NAME, seq: 1 };
const run = { firstPage: 0, count: 2 };

/** Before the join: what a stranger may try. */
const FROM_STRANGERS: ReadonlyMap<string, readonly [Uint8Array, RegExp]> = new Map([
  ['a wrong magic', [frame({ type: 2, magic: 0x20544547 }), /PROTOCOL: .*wrong magic/]],
  ['a wrong version', [frame({ type: 2, version: 9 }), /PROTOCOL: .*version/]],
  ['an unknown type', [frame({ type: 99 }), /PROTOCOL: .*type/]],
  ['a chunk before its join', [pageChunk(good, [run], 1), /PROTOCOL: .*type/]],
  ['an acknowledgement before its join', [frame({ type: FRAME_TYPE.ack }), /PROTOCOL: .*type/]],
  ['a join that is too long', [frame({ type: 2, bodyBytes: 257 }), /PROTOCOL: .*length/]],
  ['a join of 4 GiB', [frame({ type: 2, bodyBytes: 0xffffffff }), /PROTOCOL: .*length/]],
  ['a join with a wrong checksum', [tagged(frame({ type: 2 })), /CORRUPT: .*checksum/]],
  ['a damaged header', [damagedHeader(), /CORRUPT: .*header/]],
]);

function tagged(bytes: Buffer): Buffer {
  bytes.writeUInt32LE((bytes.readUInt32LE(44) ^ 1) >>> 0, 44);
  return bytes;
}

function damagedHeader(): Buffer {
  const bytes = frame({ type: 2 });
  bytes.writeUInt8(bytes.readUInt8(20) ^ 0x10, 20);
  return bytes;
}

test('whatever a stranger sends is a coded error on its connection alone', async () => {
  for (const [what, [bytes, wanted]] of FROM_STRANGERS) {
    // One report per code and second: another pair is a new second.
    const own = await pairUp({ streams: 0 });
    try {
      const peer = new RawPeer(own.port);
      peer.drain();
      peer.send(bytes);
      await peer.gone;
      await until(() => own.refused.length > 0);
      assert.equal(own.refused.length, 1, what);
      const { count, error } = own.refused[0] ?? assert.fail();
      assert.equal(count, 1);
      assert.match(`${error.code}: ${error.message}`, wanted, what);
    } finally {
      own.close();
    }
  }
  await assertOthersUnaffected();
});

const pages = (runs: Parameters<typeof pageChunk>[1], over = {}): Buffer =>
  pageChunk(good, runs, 0xee, over);

/** After the join: what a peer that went mad may try. */
const FROM_PEERS: ReadonlyMap<string, readonly [Uint8Array, RegExp]> = new Map([
  ['a page outside of the region', [pages([{ firstPage: PAGES, count: 1 }]), /PROTOCOL: .*map/]],
  ['a run that ends outside', [pages([{ firstPage: PAGES - 1, count: 2 }]), /PROTOCOL: .*map/]],
  ['a run that wraps around', [pages([{ firstPage: 2 ** 32 - 1, count: 2 }]), /PROTOCOL: .*map/]],
  ['an empty run', [pages([{ firstPage: 0, count: 0 }]), /PROTOCOL: .*map/]],
  ['overlapping runs', [pages([run, { firstPage: 1, count: 1 }]), /PROTOCOL: .*map/]],
  ['descending runs', [pages([{ firstPage: 9, count: 1 }, run]), /PROTOCOL: .*map/]],
  [
    'zero runs that together cover the region a thousand times',
    [pages(new Array(1000).fill({ firstPage: 0, count: PAGES, zero: true })), /PROTOCOL: .*map/],
  ],
  ['no map at all', [pages([]), /PROTOCOL: .*map/]],
  ['more entries than a map has', [pages([run], { mapEntries: 5000 }), /PROTOCOL: .*map/]],
  ['less payload than the map says', [shorter(), /PROTOCOL: .*map/]],
  ['half a page', [pages([run], { rawBytes: 6000 }), /PROTOCOL: .*length/]],
  ['a body that is no sum of its parts', [pages([run], { bodyBytes: 9000 }), /PROTOCOL: .*length/]],
  ['a chunk of 2 GiB', [pages([run], { rawBytes: 2 ** 31 }), /PROTOCOL: .*length/]],
  ['the sequence 0', [pages([run], { seq: 0 }), /PROTOCOL: .*sequence/]],
  ['a sequence far ahead', [pages([run], { seq: 5000 }), /PROTOCOL: .*sequence/]],
  ['bytes for a transfer of pages', [byteChunk(), /PROTOCOL: .*bytes/]],
  ['a chunk with a flipped bit', [flipped(HEADER_BYTES + 100), /CORRUPT: .*checksum/]],
  ['a chunk with a flipped tag', [tagged(pages([run])), /CORRUPT: .*checksum/]],
  ['a chunk with a flipped length', [flipped(9), /CORRUPT: .*header/]],
  ['a second join', [frame({ type: FRAME_TYPE.join }), /PROTOCOL: .*type/]],
  ['a challenge', [frame({ type: 1 }, Buffer.alloc(16)), /PROTOCOL: .*type/]],
  ['an acknowledgement too long', [frame({ type: 6 }, Buffer.alloc(136)), /PROTOCOL: .*length/]],
  ['random bytes', [randomBytes(4096), /PROTOCOL: .*magic/]],
]);

function shorter(): Buffer {
  const map = Buffer.alloc(8);
  map.writeUInt32LE(2, 4);
  const body = Buffer.concat([map, Buffer.alloc(4096)]);
  return frame({ type: 4, ...good, mapEntries: 1, rawBytes: 4096 }, body);
}

function byteChunk(): Buffer {
  return frame({ type: FRAME_TYPE.chunkBytes, ...good, rawBytes: 10 }, Buffer.alloc(10));
}

function flipped(offset: number): Buffer {
  const bytes = pages([run]);
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 4, offset);
  return bytes;
}

test('whatever a joined peer sends is a coded error on its connection alone, and no page is touched', async () => {
  for (const [what, [bytes, wanted]] of FROM_PEERS) {
    assert.match(await endOf(bytes, true), wanted, what);
  }
  assertUntouched();
  assert.equal(pair.target.counters().chunksCorrupt, 3);
  await assertOthersUnaffected();
});

test('a chunk cut off in the middle ends its connection and touches nothing', async () => {
  const bytes = pages([run]);
  for (const length of [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5, bytes.length - 1]) {
    const lost = pair.lost.length;
    const peer = new RawPeer(pair.port);
    await peer.join();
    peer.drain();
    peer.socket.end(bytes.subarray(0, length));
    await until(() => pair.lost.length > lost);
    assert.equal(pair.lost.at(-1)?.code, 'ERR_DWCP_PEER_UNREACHABLE');
    peer.close();
  }
  assertUntouched();
  await assertOthersUnaffected();
});

test('an acknowledgement of what was never sent ends its connection, not the transfer', async () => {
  const own = await pairUp({ streams: 1, windowBytes: MIB, chunkBytes: 64 * 1024 });
  try {
    // Here the listening side sends, so that a joined stranger can acknowledge.
    const turned = { source: own.target, target: own.source };
    own.target.setMaxBandwidth(4 * MIB);
    let told = '';
    const moved = await move(turned, MIB, () => {
      void (async () => {
        const peer = new RawPeer(own.port);
        await peer.join();
        peer.drain();
        peer.send(frame({ type: FRAME_TYPE.ack, transferId: 42, seq: 1e9, credit: 1e12 }));
        await peer.gone;
        await until(() => own.lost.length > 0);
        told = `${own.lost[0]?.code}: ${own.lost[0]?.message}`;
        own.target.setMaxBandwidth(0);
      })();
    });
    assertEqualMemory(moved);
    assert.match(told, /PROTOCOL: .*never sent/);
  } finally {
    own.close();
  }
});

test('a replayed chunk is counted and lands once, whatever it says the second time', async () => {
  const own = await pairUp({ streams: 0, windowBytes: MIB, chunkBytes: 64 * 1024 });
  try {
    const target = createRegion({ name: 'replay', sizeBytes: PAGES * 4096, hugePages: false });
    const landing = own.target.receivePages({ ...NAME, region: target }, () => {});
    const peer = new RawPeer(own.port);
    await peer.join();
    peer.drain();
    peer.send(pageChunk(good, [run], 0x11));
    await until(() => landing.counters().landedPages === 2);
    const once = digestPages(target, 0, PAGES);
    peer.send(pageChunk(good, [run], 0x11));
    peer.send(pageChunk(good, [{ firstPage: 7, count: 3 }], 0x22));
    await until(() => own.target.counters().chunksDuplicate === 2);
    assert.deepEqual(digestPages(target, 0, PAGES), once);
    assert.equal(landing.counters().landedPages, 2);
    peer.close();
  } finally {
    own.close();
  }
});

test('a peer that sends more than its credit is refused before we hold it', async () => {
  const own = await pairUp({ streams: 0, windowBytes: 64 * 1024, chunkBytes: 64 * 1024 });
  try {
    const target = createRegion({ name: 'credit', sizeBytes: PAGES * 4096, hugePages: false });
    own.target.receivePages({ ...NAME, region: target }, () => {});
    const peer = new RawPeer(own.port);
    await peer.join();
    peer.drain();
    // Sequence 1 never comes, so that nothing of this is ever in order.
    for (let seq = 2; seq < 40; seq++) peer.send(pageChunk({ ...NAME, seq }, [run], seq));
    await peer.gone;
    await until(() => own.lost.length > 0);
    assert.match(`${own.lost[0]?.code}: ${own.lost[0]?.message}`, /PROTOCOL: .*credit/);
    assert.ok(own.target.counters().chunksLanded <= 7, 'more landed than the window');
  } finally {
    own.close();
  }
});

test('every single flipped bit of a header shows in its check', () => {
  const header = pages([run]).subarray(0, HEADER_BYTES);
  const right = headerCheck(header);
  for (let bit = 0; bit < 44 * 8; bit++) {
    if (bit >> 3 === 6 || bit >> 3 === 7) continue;
    const copy = Buffer.from(header);
    copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    assert.notEqual(headerCheck(copy), right, `bit ${bit}`);
  }
});

test('random bytes and random damage of good frames never do more than end their connection', async () => {
  const damage = fc.record({
    joined: fc.boolean(),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .record({ at: fc.nat(8192), xor: fc.integer({ min: 1, max: 255 }), cut: fc.nat(8192) })
        .map(({ at, xor, cut }) => {
          const bytes = pages([run]);
          bytes.writeUInt8(bytes.readUInt8(at % bytes.length) ^ xor, at % bytes.length);
          return bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
        }),
    ),
  });
  await fc.assert(
    fc.asyncProperty(damage, async ({ joined, bytes }) => {
      const peer = new RawPeer(pair.port);
      if (joined) await peer.join();
      peer.drain();
      peer.socket.end(bytes);
      await peer.gone;
    }),
    { numRuns: 200 },
  );
  assertUntouched();
  await assertOthersUnaffected();
});
