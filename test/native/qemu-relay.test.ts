import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import {
  createPageSet,
  createRegion,
  digestPages,
  type NativeRegion,
  openQemuSource,
  openQemuTarget,
  pageKernels,
  qemuRoundTrip,
} from '../../src/native.ts';
import { Feeding } from '../../src/protocols/qemu/feeding.ts';

const REGION_BYTES = 64 * 2 ** 20;
const PAGES = REGION_BYTES / 4096;
const folder = mkdtempSync(join(tmpdir(), 'dwcp-relay-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let paths = 0;

function path(): string {
  paths += 1;
  return join(folder, `s${paths}`);
}

function kept(name: string): Buffer {
  return gunzipSync(readFileSync(`test/native/qemu-streams/${name}.gz`));
}

function region(): NativeRegion {
  return createRegion({ name: 'test', sizeBytes: REGION_BYTES, hugePages: false });
}

/** Listens once, and resolves with all that came once the other side ended. */
async function sink(at: string): Promise<{ readonly bytes: Promise<Buffer>; close(): void }> {
  const server: Server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const sockets: Socket[] = [];
  const bytes = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => {
      sockets.push(socket);
      const pieces: Buffer[] = [];
      socket.on('error', () => {});
      socket.on('data', (piece: Buffer) => pieces.push(piece));
      socket.on('end', () => resolve(Buffer.concat(pieces)));
    });
  });
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { bytes, close };
}

interface Taken {
  readonly control: Buffer;
  readonly shadow: NativeRegion;
  readonly sentPages: number;
  readonly events: readonly string[];
}

/** What a source makes of a stream that a QEMU writes into it. */
async function taken(stream: Uint8Array): Promise<Taken> {
  const [listenPath, controlPath] = [path(), path()];
  const control = await sink(controlPath);
  const shadow = region();
  const pages = createPageSet(PAGES);
  const events: string[] = [];
  let ended = (): void => {};
  const failed = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const source = openQemuSource(
    { shadow, listenPath, controlPath, backlogBytes: 2 ** 20 },
    ({ type }) => {
      events.push(type);
      if (type === 'dirty' || type === 'ramEnded') source.takeDirty(pages);
      if (type === 'ramEnded') source.release();
      if (type === 'failed') ended();
    },
  );
  const qemu = connect(listenPath);
  qemu.on('error', () => {});
  qemu.end(stream);
  const bytes = await Promise.race([control.bytes, failed.then(() => Buffer.alloc(0))]);
  source.close();
  qemu.destroy();
  control.close();
  return { control: bytes, shadow, sentPages: pages.size(), events };
}

/** What a waiting QEMU is given of a control stream, with these pages in staging. */
async function fed(control: Uint8Array, staging: NativeRegion): Promise<Buffer> {
  const [listenPath, qemuPath] = [path(), path()];
  const qemu = await sink(qemuPath);
  const marks = new BigUint64Array(PAGES).fill(0xffffffffffffffffn);
  const words = new Uint32Array(marks.buffer);
  let failed: (error: Error) => void = () => {};
  const failure = new Promise<never>((_, reject) => {
    failed = reject;
  });
  const target = openQemuTarget({ staging, fed: marks, listenPath, qemuPath }, (event) => {
    if (event.type === 'failed') failed(new Error(event.message));
    if (event.type !== 'ramEnded') return;
    const pageCount = target.counters()?.pages ?? 0;
    const zero = pageKernels.digestPage(new Uint8Array(4096), false);
    const feeding = new Feeding(pageCount, [Number(zero & 0xffffffffn), Number(zero >> 32n)]);
    const landed = digestPages(staging, 0, pageCount);
    const digests = new Uint32Array(landed.buffer, landed.byteOffset, 2 * pageCount);
    const { pages, zeros } = feeding.last(digests, words);
    target.feed(pages, zeros, true);
  });
  const carried = connect(listenPath);
  carried.on('error', () => {});
  carried.end(control);
  try {
    return await Promise.race([qemu.bytes, failure]);
  } finally {
    target.close();
    carried.destroy();
    qemu.close();
  }
}

for (const name of ['q35-return-path.0', 'pc-virtio.0', 'q35-blocks.0']) {
  test(`pages of ${name} that travelled apart make the same machine`, async () => {
    const stream = kept(name);
    const first = await taken(stream);
    assert.ok(first.sentPages >= 48 && first.sentPages < 200, `${first.sentPages} pages travel`);
    assert.ok(first.control.length < stream.length);
    const rebuilt = await fed(first.control, first.shadow);
    const [before, now] = [stream, rebuilt].map((bytes) => qemuRoundTrip(bytes, 65_536, 'main'));
    assert.ok(before !== undefined && now !== undefined);
    assert.deepEqual([now.ramEnded, now.opaqueReason], [true, 'the state of devices']);
    assert.equal(now.opaqueBytes, before.opaqueBytes);
    assert.deepEqual(now.blocks, before.blocks);
    const ramPages = Object.values(now.blocks).reduce((sum, bytes) => sum + bytes / 4096, 0);
    assert.equal(now.pages + now.zeroPages, ramPages, 'every page once');
    const tail = (bytes: Uint8Array): Uint8Array => bytes.subarray(-before.opaqueBytes);
    assert.ok(Buffer.from(tail(rebuilt)).equals(tail(stream)), 'devices as they were');
    const second = await taken(rebuilt);
    const digests = [first, second].map(({ shadow }) => digestPages(shadow, 0, PAGES));
    assert.deepEqual(digests[0], digests[1]);
  });
}

test('a stream that is not understood passes through byte for byte', async () => {
  const stream = kept('q35-virtio-mem.0');
  const { control, events, sentPages } = await taken(stream);
  assert.ok(control.equals(stream));
  assert.deepEqual([events, sentPages], [['passThrough'], 0]);
  assert.ok((await fed(control, region())).equals(stream));
});

test('a stream that is cut before its first page passes through', async () => {
  const stream = kept('q35-blocks.0').subarray(0, 100);
  assert.ok((await taken(stream)).control.equals(stream));
});

test('a stream that breaks its format among the pages fails, and gives no devices away', async () => {
  const stream = kept('q35-blocks.0');
  // Among the records of zero pages, which hold nothing that could be anything.
  stream.fill(0xee, 20_000, 20_100);
  const { events } = await taken(stream);
  assert.equal(events.at(-1), 'failed');
});

test('a control stream that makes no sense is refused before QEMU gets anything of it', async () => {
  const frame = (type: number, ...bytes: number[]): number[] => [
    ...[type, 0, 0, bytes.length >> 8, bytes.length & 255],
    ...bytes,
  ];
  const hostile = [
    [9, 0, 0, 0, 0],
    frame(2, 1, 2, 3),
    frame(4),
    [1, 255, 255, 255, 255],
    frame(1, 0, 0, 0, 2, 0, 0, 0, 0),
    frame(1, 0, 0, 0, 2, 255, 255, 255, 255),
    // One block, larger than staging.
    frame(1, 0, 0, 0, 2, 0, 0, 0, 1, 1, 65, 0, 0, 0, 0x7f, 0, 0, 0, 0),
    // One block of no whole number of pages.
    frame(1, 0, 0, 0, 2, 0, 0, 0, 1, 1, 65, 0, 0, 0, 0, 0, 0, 0x10, 1),
  ];
  for (const bytes of hostile) {
    await assert.rejects(fed(Uint8Array.from(bytes), region()), /frame|layout/, `${bytes}`);
  }
});

test('a source that is closed while QEMU writes lets go of it', async () => {
  const [listenPath, controlPath] = [path(), path()];
  const control = await sink(controlPath);
  const source = openQemuSource(
    { shadow: region(), listenPath, controlPath, backlogBytes: 4096 },
    () => {},
  );
  const qemu = connect(listenPath);
  const closed = new Promise<void>((resolve) => qemu.on('close', () => resolve()));
  qemu.on('error', () => {});
  qemu.write(kept('q35-blocks.0'));
  await once(qemu, 'connect');
  source.close();
  await closed;
  assert.equal(source.counters(), null);
  control.close();
});

/** Of all threads of this process, while nothing happens: none of them may turn round and round. */
async function busyShare(): Promise<number> {
  await delay(100);
  const [before, fromMs] = [process.cpuUsage(), performance.now()];
  await delay(400);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / (performance.now() - fromMs);
}

test('a target that failed with pages in its queue rests until it is closed', async () => {
  const [listenPath, qemuPath] = [path(), path()];
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(qemuPath, resolve));
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const fedMarks = new BigUint64Array(PAGES).fill(0xffffffffffffffffn);
  let failed = (): void => {};
  const failure = new Promise<void>((resolve) => {
    failed = resolve;
  });
  const pages = Uint32Array.from({ length: 4096 }, (_, page) => page);
  const target = openQemuTarget(
    { staging: region(), fed: fedMarks, listenPath, qemuPath },
    ({ type }) => {
      if (type === 'pages') {
        target.feed(pages, new Uint32Array(), false);
        source.write(Uint8Array.of(9, 0, 0, 0, 0));
      }
      if (type === 'failed') failed();
    },
  );
  const [qemu] = await connected;
  qemu.on('error', () => {}).pause();
  const source = connect(listenPath);
  source.on('error', () => {});
  // One block of 16 MiB.
  source.write(
    Uint8Array.of(1, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 1, 1, 65, 0, 0, 0, 0, 1, 0, 0, 0),
  );
  await failure;
  qemu.resume();
  const share = await busyShare();
  target.close();
  for (const socket of [source, qemu]) socket.destroy();
  server.close();
  assert.ok(share < 0.05, `${share} of a core`);
});

test('a source whose QEMU died with words left for it rests until it is closed', async () => {
  const [listenPath, controlPath] = [path(), path()];
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(controlPath, resolve));
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const source = openQemuSource(
    { shadow: region(), listenPath, controlPath, backlogBytes: 2 ** 20 },
    () => {},
  );
  const [control] = await connected;
  control.on('error', () => {});
  const qemu = connect(listenPath);
  qemu.on('error', () => {}).pause();
  await once(qemu, 'connect');
  // More than the socket takes.
  control.write(new Uint8Array(2 ** 20));
  await delay(100);
  qemu.destroy();
  const share = await busyShare();
  source.close();
  control.destroy();
  server.close();
  assert.ok(share < 0.05, `${share} of a core`);
});
