import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  createRegion,
  digestPages,
  FrameSealer,
  fillRegion,
  type NativeRegion,
} from '../../src/native.ts';
import type { BulkKeys } from '../../src/ports/transport.ts';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  type Pair,
  pairUp,
  someKeys,
  turned,
  until,
} from '../transports/bulk-pair.ts';
import { FRAME_TYPE, frame, HEADER_BYTES, headerCheck, pageChunk } from './frames.ts';
import { RawPeer } from './raw-peer.ts';
import { framesIn, sealedFrame, type WireFrame } from './sealed-frames.ts';
import { type TcpProxy, tcpProxy } from './tcp-proxy.ts';

const PAGES = 64;
const NAME = { transferId: 1000, epoch: 3 };
const FIRST = { ...NAME, seq: 1 };
const RESET = 7;

interface Recorded extends TcpProxy {
  /** All that the dialling side said so far. */
  wire(): Buffer;
}

/** Swallows what comes after `passBytes`, as a network does that was cut. */
async function recorded(port: number, passBytes = Number.POSITIVE_INFINITY): Promise<Recorded> {
  const pieces: Buffer[] = [];
  const proxy = await tcpProxy(port, (bytes, offset) => {
    pieces.push(Buffer.from(bytes));
    return offset < passBytes;
  });
  return { ...proxy, wire: () => Buffer.concat(pieces) };
}

test('sealed chunks arrive bit-exact over four streams, with keys of both sizes, also when they wear out on the way', async () => {
  // A key lasts longer than what can be under way, as it does by its default.
  const wearsOut = { keys: someKeys({ bytesPerKey: 6 * MIB }), windowBytes: 2 * MIB };
  for (const options of [{ keys: someKeys() }, { keys: someKeys({ keyBits: 256 }) }, wearsOut]) {
    const pair = await pairUp({ streams: 4, ...options });
    try {
      assertEqualMemory(await move(pair, 32 * MIB));
      // The way back: the acknowledgements of the first move, and the chunks of this one.
      assertEqualMemory(
        await move({ source: pair.target, target: pair.source }, 8 * MIB, () => {}, 43),
      );
      const { framesForged, framesReplayed, chunksCorrupt } = pair.target.counters();
      assert.deepEqual([framesForged, framesReplayed, chunksCorrupt], [0, 0, 0]);
      assert.deepEqual(pair.lost, []);
    } finally {
      pair.close();
    }
  }
});

/** Carries the text in a byte stream, so that it is known what to look for on the wire. */
async function carry(pair: Pair, text: Buffer): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-sealed-'));
  const name = { transferId: 5, epoch: 2 };
  const windowBytes = MIB;
  const server = createServer((socket) => {
    socket.on('data', () => {});
    socket.on('end', () => socket.end());
  });
  try {
    const connectPath = join(folder, 'target');
    await new Promise<void>((resolve) => server.listen(connectPath, resolve));
    await new Promise<void>((resolve, reject) => {
      pair.target.receiveBytes({ ...name, connectPath, windowBytes }, (event) => {
        if (event.type === 'failed') reject(event.error);
      });
      const listenPath = join(folder, 'source');
      pair.source.sendBytes({ ...name, listenPath, windowBytes }, (event) => {
        if (event.type === 'drained') resolve();
        if (event.type === 'failed') reject(event.error);
      });
      connect(listenPath).end(text);
    });
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
}

const TEXT: Buffer = Buffer.from('every byte of this guest says so. '.repeat(1000));

/** All that the dialling side said: a byte stream, pages, and the acknowledgements of a way back. */
async function overheard(keys: BulkKeys | null): Promise<Buffer> {
  const pair = await pairUp({ streams: 0, keys });
  const proxy = await recorded(pair.port);
  try {
    await dialJoined(pair.dialling, pair.source, proxy.port);
    await carry(pair, TEXT);
    assertEqualMemory(await move(pair, MIB));
    assertEqualMemory(await move({ source: pair.target, target: pair.source }, MIB, () => {}, 43));
    return proxy.wire();
  } finally {
    proxy.close();
    pair.close();
  }
}

test('whoever listens on the wire sees no page, no carried byte, and no acknowledgement in plain', async () => {
  const plain = await overheard(null);
  const page = framesIn(plain).find(({ type }) => type === FRAME_TYPE.chunkPages)?.bytes;
  const pageBytes = page?.subarray(HEADER_BYTES + 4096, HEADER_BYTES + 4096 + 64) ?? assert.fail();
  const carried = TEXT.subarray(0, 64);
  // Without keys the same eyes find both.
  assert.ok(plain.indexOf(pageBytes) >= 0 && plain.indexOf(carried) >= 0);
  const wire = await overheard(someKeys());
  assert.equal(wire.indexOf(pageBytes), -1, 'a page can be read');
  assert.equal(wire.indexOf(carried), -1, 'a carried byte stream can be read');
  const [first, ...rest] = framesIn(wire);
  assert.equal(first?.type, FRAME_TYPE.join);
  for (const type of [FRAME_TYPE.chunkPages, FRAME_TYPE.chunkBytes, FRAME_TYPE.ack]) {
    assert.ok(
      rest.some((each) => each.type === type),
      `no frame of type ${type} came by`,
    );
  }
  assert.ok(
    rest.every(({ isSealed }) => isSealed),
    'a frame went out as it is',
  );
});

test('a chunk that lost its stream goes out again as the identical bytes, and no nonce names two frames', async () => {
  const pair = await pairUp({ streams: 0, keys: someKeys() });
  const proxies = [await recorded(pair.port, MIB), await recorded(pair.port)];
  try {
    const [one, other] = proxies as [Recorded, Recorded];
    const doomed = await dialJoined(pair.dialling, pair.source, one.port);
    const moving = move(pair, 8 * MIB);
    await until(() => one.swallowedBytes() > MIB);
    doomed.close();
    await dialJoined(pair.dialling, pair.source, other.port);
    assertEqualMemory(await moving);
    const chunks = [one, other].flatMap(({ wire }) => framesIn(wire()).filter(isChunk));
    const bySeq = new Map<number, WireFrame>();
    const byNonce = new Map<string, WireFrame>();
    let again = 0;
    for (const chunk of chunks) {
      const before = bySeq.get(chunk.seq);
      if (before !== undefined) {
        again += 1;
        assert.ok(before.bytes.equals(chunk.bytes), `chunk ${chunk.seq} changed`);
      }
      bySeq.set(chunk.seq, chunk);
      const namesake = byNonce.get(chunk.nonce);
      assert.ok(namesake === undefined || namesake.bytes.equals(chunk.bytes), 'a nonce twice');
      byNonce.set(chunk.nonce, chunk);
    }
    // The proxy keeps no record of what it swallowed, so most of it is seen only once.
    const { chunksReinjected } = pair.source.counters();
    assert.ok(chunksReinjected > 0 && chunksReinjected >= again, 'nothing was sent again');
    assert.equal(pair.source.counters().chunksResealed, 0);
    assert.deepEqual(
      pair.lost.filter(({ code }) => code !== 'ERR_DWCP_PEER_UNREACHABLE'),
      [],
    );
  } finally {
    for (const proxy of proxies) proxy.close();
    pair.close();
  }
});

function isChunk({ type }: WireFrame): boolean {
  return type === FRAME_TYPE.chunkPages || type === FRAME_TYPE.chunkBytes;
}

test('new keys in the middle of a transfer: what was not acknowledged is sealed anew, and all arrives', async () => {
  const pair = await pairUp({ streams: 0, keys: someKeys() });
  const fresh = someKeys({
    sendSecret: new Uint8Array(32).fill(21),
    receiveSecret: new Uint8Array(32).fill(22),
  });
  const proxy = await recorded(pair.port, MIB);
  try {
    await dialJoined(pair.dialling, pair.source, proxy.port);
    const moving = move(pair, 8 * MIB);
    await until(() => proxy.swallowedBytes() > MIB);
    assert.ok(pair.source.setKeys(fresh));
    assert.ok(pair.target.setKeys(turned(fresh)));
    assert.deepEqual([pair.source.counters().streams, pair.target.counters().streams], [0, 0]);
    assert.ok(!pair.source.setKeys(null), 'an open transfer does not turn plain');
    await dialJoined(pair.dialling, pair.source, pair.port);
    assertEqualMemory(await moving);
    const { chunksReinjected, chunksResealed } = pair.source.counters();
    assert.ok(chunksResealed > 0 && chunksResealed === chunksReinjected, `${chunksResealed}`);
    const { framesForged, framesReplayed } = pair.target.counters();
    assert.deepEqual([framesForged, framesReplayed], [0, 0]);
  } finally {
    proxy.close();
    pair.close();
  }
});

// ---- who does not hold the keys, or sends again what others sealed ----------------------------------

interface Field {
  readonly pair: Pair;
  readonly region: NativeRegion;
  /** What the source would seal with; a test that has the keys can be any peer. */
  readonly sealer: FrameSealer;
  landedPages(): number;
  closeTransfer(): void;
  close(): void;
}

async function field(): Promise<Field> {
  const keys = someKeys();
  const pair = await pairUp({ streams: 1, windowBytes: MIB, chunkBytes: 64 * 1024, keys });
  const region = createRegion({ name: 'sealed', sizeBytes: PAGES * 4096, hugePages: false });
  fillRegion(region, 5, 0);
  const receiver = pair.target.receivePages({ ...NAME, region }, () => {});
  const sealer = new FrameSealer(keys.sendSecret, 16);
  const landedPages = (): number => receiver.counters().landedPages;
  // The source's own stream draws the first numbers of this key; ours are to be others.
  for (let drawn = 0; drawn < 1000; drawn += 1) {
    sealer.sealChunk(Buffer.alloc(48), Buffer.alloc(1));
    sealer.sealSmall(Buffer.alloc(48), Buffer.alloc(0));
  }
  const closeTransfer = (): void => receiver.close();
  return { pair, region, sealer, landedPages, closeTransfer, close: () => pair.close() };
}

/** How the target ended the connection that sent this. */
async function endOf({ pair }: Field, ...frames: readonly Uint8Array[]): Promise<string> {
  const lost = pair.lost.length;
  const peer = new RawPeer(pair.port);
  await peer.join();
  peer.drain();
  for (const bytes of frames) peer.send(bytes);
  await peer.gone;
  await until(() => pair.lost.length > lost);
  const { code, message } = pair.lost.at(-1) ?? {};
  return `${code}: ${message}`;
}

const RUN = { firstPage: 0, count: 2 };
const PAGE_BODY = ((): Buffer => {
  const map = Buffer.alloc(8);
  map.writeUInt32LE(RUN.count, 4);
  return Buffer.concat([map, Buffer.alloc(2 * 4096, 0xee)]);
})();
const PAGE_FIELDS = { type: FRAME_TYPE.chunkPages, ...FIRST, mapEntries: 1, rawBytes: 2 * 4096 };

test('a frame of any type with a bit flipped in header, nonce, body or tag ends its stream, and touches nothing', async () => {
  const own = await field();
  try {
    const before = digestPages(own.region, 0, PAGES);
    const frames: readonly (readonly [string, Buffer])[] = [
      ['a chunk of pages', sealedFrame(own.sealer, PAGE_FIELDS, PAGE_BODY)],
      [
        'a chunk of bytes',
        sealedFrame(
          own.sealer,
          { type: FRAME_TYPE.chunkBytes, ...FIRST, rawBytes: 64 },
          Buffer.alloc(64),
        ),
      ],
      [
        'an acknowledgement',
        sealedFrame(own.sealer, { type: FRAME_TYPE.ack, ...FIRST, credit: 1e9 }, Buffer.alloc(8)),
      ],
      ['a reset', sealedFrame(own.sealer, { type: RESET, ...NAME }, Buffer.alloc(0))],
    ];
    let forged = 0;
    for (const [what, good] of frames) {
      const places = [16, 25, HEADER_BYTES, HEADER_BYTES + 12, good.length - 17, good.length - 1];
      for (const at of places) {
        const bytes = Buffer.from(good);
        bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
        // An attacker computes the check of the header as well as we do.
        bytes.writeUInt16LE(headerCheck(bytes.subarray(0, HEADER_BYTES)), 6);
        assert.match(
          await endOf(own, bytes),
          /CORRUPT: .*not what the peer sealed/,
          `${what} ${at}`,
        );
        forged += 1;
      }
    }
    assert.equal(own.pair.target.counters().framesForged, forged);
    assert.deepEqual(digestPages(own.region, 0, PAGES), before);
    assert.equal(own.landedPages(), 0);
    assertEqualMemory(await move(own.pair, MIB));
  } finally {
    own.close();
  }
});

test('frames that nobody sealed, or somebody else did, end their stream, and touch nothing', async () => {
  const own = await field();
  try {
    const before = digestPages(own.region, 0, PAGES);
    const stranger = new FrameSealer(Buffer.alloc(32, 99), 16);
    const other = new FrameSealer(someKeys().receiveSecret, 16);
    const ack = { type: FRAME_TYPE.ack, ...NAME, seq: 0, credit: 1e12 };
    const cases: readonly (readonly [string, Buffer, RegExp])[] = [
      ['a plain chunk', pageChunk(FIRST, [RUN], 0xee), /PROTOCOL: .*nobody sealed/],
      ['a plain acknowledgement', frame(ack), /PROTOCOL: .*nobody sealed/],
      ['a plain reset', frame({ type: RESET, ...NAME }), /PROTOCOL: .*nobody sealed/],
      ['a chunk of a stranger', sealedFrame(stranger, PAGE_FIELDS, PAGE_BODY), /CORRUPT: .*sealed/],
      [
        'a forged acknowledgement',
        sealedFrame(stranger, ack, Buffer.alloc(0)),
        /CORRUPT: .*sealed/,
      ],
      [
        'our own direction, reflected',
        sealedFrame(other, PAGE_FIELDS, PAGE_BODY),
        /CORRUPT: .*sealed/,
      ],
      ['less than a nonce and a tag', cutShort(), /PROTOCOL: .*length/],
      [
        'a sealed join',
        sealedFrame(stranger, { type: FRAME_TYPE.join }, PAGE_BODY.subarray(0, 9)),
        /PROTOCOL/,
      ],
    ];
    for (const [what, bytes, wanted] of cases) {
      assert.match(await endOf(own, bytes), wanted, what);
    }
    assert.deepEqual(digestPages(own.region, 0, PAGES), before);
    assert.equal(own.landedPages(), 0);
    assertEqualMemory(await move(own.pair, MIB));
  } finally {
    own.close();
  }
});

function cutShort(): Buffer {
  const bytes = sealedFrame(
    new FrameSealer(Buffer.alloc(32), 16),
    { type: RESET },
    Buffer.alloc(0),
  );
  bytes.writeUInt32LE(27, 8);
  bytes.writeUInt16LE(headerCheck(bytes.subarray(0, HEADER_BYTES)), 6);
  return bytes;
}

test('a link without keys takes no sealed frame', async () => {
  const pair = await pairUp({ streams: 0 });
  try {
    const sealer = new FrameSealer(Buffer.alloc(32), 16);
    const peer = new RawPeer(pair.port);
    await peer.join();
    peer.drain();
    peer.send(sealedFrame(sealer, { type: RESET, ...NAME }, Buffer.alloc(0)));
    await peer.gone;
    await until(() => pair.lost.length > 0);
    assert.match(pair.lost[0]?.message ?? '', /sealed frame on a link without keys/);
  } finally {
    pair.close();
  }
});

test('a small frame that was here before ends its stream, on whichever stream it comes again', async () => {
  const own = await field();
  try {
    const reset = sealedFrame(own.sealer, { type: RESET, ...NAME }, Buffer.alloc(0));
    assert.match(await endOf(own, reset, reset), /PROTOCOL: .*was here before/);
    assert.match(await endOf(own, reset), /PROTOCOL: .*was here before/);
    const ack = { type: FRAME_TYPE.ack, ...NAME, credit: 9 };
    const credit = sealedFrame(own.sealer, ack, Buffer.alloc(0));
    assert.match(await endOf(own, credit, credit), /PROTOCOL: .*was here before/);
    assert.equal(own.pair.target.counters().framesReplayed, 3);
  } finally {
    own.close();
  }
});

test('a chunk that comes again is a duplicate while its transfer lives, and never news to another of the same name', async () => {
  const own = await field();
  const { pair, region } = own;
  try {
    const chunk = sealedFrame(own.sealer, PAGE_FIELDS, PAGE_BODY);
    const peer = new RawPeer(pair.port);
    await peer.join();
    peer.drain();
    peer.send(chunk);
    peer.send(chunk);
    await until(() => pair.target.counters().chunksDuplicate === 1);
    assert.equal(own.landedPages(), 2);
    peer.close();
    await until(() => pair.lost.length === 1);
    // The transfer begins anew under its old name, on clean memory: what was recorded stays out.
    own.closeTransfer();
    const again = pair.target.receivePages({ ...NAME, region }, () => {});
    assert.match(await endOf(own, chunk), /PROTOCOL: .*was here before/);
    assert.equal(again.counters().landedPages, 0);
    assert.equal(pair.target.counters().framesReplayed, 1);
  } finally {
    own.close();
  }
});
