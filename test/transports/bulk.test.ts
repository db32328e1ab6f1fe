import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createPageSet, createRegion, digestPages, fillRegion } from '../../src/native.ts';
import type {
  BulkLink,
  BulkStream,
  BulkTransport,
  ByteReceiveEvent,
  ByteSendEvent,
  PageSendCounters,
} from '../../src/ports/transport.ts';
import { createNativeBulkTransport } from '../../src/transports/native-bulk.ts';
import type { DwcpError } from '../../src/util/errors.ts';

const MIB = 2 ** 20;

interface Pair {
  readonly source: BulkLink;
  readonly target: BulkLink;
  readonly streams: BulkStream[];
  readonly port: number;
  close(): void;
}

async function pairUp(streamCount: number, windowBytes = 16 * MIB): Promise<Pair> {
  const listening: BulkTransport = createNativeBulkTransport();
  const dialling: BulkTransport = createNativeBulkTransport();
  const options = { windowBytes, chunkBytes: 256 * 1024 };
  const target = listening.openLink({ peer: 'a', ...options });
  const source = dialling.openLink({ peer: 'b', ...options });
  const listened = listening.listen({ host: '127.0.0.1', port: 0 }, (stream) => {
    stream.subscribe((event) => {
      if (event.type !== 'join') return;
      stream.sendJoin(Uint8Array.of(1));
      stream.attach(target);
    });
  });
  assert.ok(listened.ok);
  const { port } = listened.value;
  const streams: BulkStream[] = [];
  for (let i = 0; i < streamCount; i++) streams.push(await dialJoined(dialling, source, port));
  const close = (): void => {
    dialling.close();
    listening.close();
  };
  return { source, target, streams, port, close };
}

function dialJoined(transport: BulkTransport, link: BulkLink, port: number): Promise<BulkStream> {
  const stream = transport.dial({
    address: { host: '127.0.0.1', port },
    localAddress: null,
    congestionControl: 'reno',
    connectTimeoutMs: 2000,
  });
  return new Promise((resolve, reject) => {
    stream.subscribe((event) => {
      if (event.type === 'challenge') {
        assert.equal(event.challenge.length, 16);
        assert.equal(event.congestionControl, 'reno');
        stream.sendJoin(event.challenge);
      } else if (event.type === 'join') {
        stream.attach(link);
        resolve(stream);
      } else {
        reject(event.error ?? new Error('closed'));
      }
    });
  });
}

interface Moved {
  readonly counters: PageSendCounters;
  readonly sourceDigests: Uint8Array;
  readonly landedMemory: Uint8Array;
  readonly landedDigests: Uint8Array;
}

async function move(pair: Pair, sizeBytes: number, onSent: () => void): Promise<Moved> {
  const from = createRegion({ name: 'from', sizeBytes, hugePages: false });
  const to = createRegion({ name: 'to', sizeBytes, hugePages: false });
  // Every fourth page is zero at the source; the target starts full, so that a zero must be written.
  fillRegion(from, 7, 4);
  fillRegion(to, 8, 0);
  const pages = createPageSet(sizeBytes / 4096);
  pages.addAll();
  const name = { transferId: 42, epoch: 1 };
  const receiver = pair.target.receivePages({ ...name, region: to }, (event) => {
    throw event.error;
  });
  const counters = await new Promise<PageSendCounters>((resolve, reject) => {
    const sender = pair.source.sendPages({ ...name, region: from }, (event) => {
      if (event.type === 'batchAcked') resolve(event.counters);
      else reject(event.error);
    });
    sender.send(pages);
    onSent();
  });
  const count = sizeBytes / 4096;
  return {
    counters,
    sourceDigests: digestPages(from, 0, count),
    landedMemory: digestPages(to, 0, count),
    landedDigests: receiver.digests(0, count),
  };
}

function assertEqualMemory(moved: Moved): void {
  assert.ok(Buffer.from(moved.sourceDigests).equals(moved.landedMemory), 'memory differs');
  assert.ok(Buffer.from(moved.sourceDigests).equals(moved.landedDigests), 'digests differ');
}

test('64 MiB of zero and random pages arrive bit-exact over four streams', async () => {
  const pair = await pairUp(4);
  try {
    const moved = await move(pair, 64 * MIB, () => {});
    assertEqualMemory(moved);
    assert.equal(moved.counters.zeroPages, 4096);
    assert.equal(moved.counters.rawPages, 12288);
    assert.equal(moved.counters.ackedBytes, 64 * MIB);
    assert.equal(moved.counters.pendingPages, 0);
    assert.ok(moved.counters.wireBytes < 49 * MIB, 'zero pages went as bytes');
    assert.equal(pair.source.counters().streams, 4);
    assert.ok((pair.streams[0]?.info()?.bytesSent ?? 0) > 0);
  } finally {
    pair.close();
  }
});

test('killing one of four streams mid-way loses nothing', async () => {
  const pair = await pairUp(4);
  try {
    pair.source.setMaxBandwidth(200 * MIB);
    const moved = await move(pair, 64 * MIB, () => {
      const timer = setInterval(() => {
        if (pair.source.counters().chunksSent < 40) return;
        clearInterval(timer);
        pair.streams[1]?.close();
        pair.source.setMaxBandwidth(0);
      }, 1);
    });
    assertEqualMemory(moved);
    assert.equal(pair.source.counters().streams, 3);
  } finally {
    pair.close();
  }
});

test('a window smaller than one chunk still moves everything', async () => {
  const pair = await pairUp(2, 65536);
  try {
    assertEqualMemory(await move(pair, 4 * MIB, () => {}));
  } finally {
    pair.close();
  }
});

test('the bandwidth limit holds within five per cent', async () => {
  const pair = await pairUp(4);
  try {
    pair.source.setMaxBandwidth(48e6);
    const begunMs = performance.now();
    const moved = await move(pair, 32 * MIB, () => {});
    const seconds = (performance.now() - begunMs) / 1000;
    const rate = moved.counters.wireBytes / seconds;
    assert.ok(rate < 48e6 * 1.05, `${rate} bytes/s is above the limit`);
  } finally {
    pair.close();
  }
});

test('a stranger that sends garbage is closed, and the link goes on', async () => {
  const pair = await pairUp(2);
  try {
    const stranger = connect(pair.port, '127.0.0.1');
    const gone = new Promise<void>((resolve) => stranger.on('close', () => resolve()));
    stranger.on('error', () => {});
    stranger.resume();
    stranger.write(randomBytes(4096));
    await gone;
    assertEqualMemory(await move(pair, 4 * MIB, () => {}));
  } finally {
    pair.close();
  }
});

test('a sender whose peer knows no such transfer fails instead of waiting', async () => {
  const pair = await pairUp(1);
  try {
    const region = createRegion({ name: 'r', sizeBytes: MIB, hugePages: false });
    const pages = createPageSet(MIB / 4096);
    pages.addAll();
    const error = await new Promise<DwcpError>((resolve) => {
      const name = { transferId: 9, epoch: 1 };
      const sender = pair.source.sendPages({ ...name, region }, (event) => {
        if (event.type === 'failed') resolve(event.error);
      });
      sender.send(pages);
    });
    assert.equal(error.code, 'ERR_DWCP_PROTOCOL');
  } finally {
    pair.close();
  }
});

test('a dial to a closed port ends with the errno of the kernel', async () => {
  const pair = await pairUp(0);
  const dialler = createNativeBulkTransport();
  try {
    const link = dialler.openLink({ peer: 'x', windowBytes: MIB, chunkBytes: 65536 });
    pair.close();
    await assert.rejects(dialJoined(dialler, link, pair.port), { errno: 'ECONNREFUSED' });
  } finally {
    dialler.close();
  }
});

test('a carried byte stream arrives in order, with a way back', async () => {
  const pair = await pairUp(3);
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bulk-'));
  const name = { transferId: 5, epoch: 2 };
  const bytes = randomBytes(8 * MIB);
  const received: Buffer[] = [];
  const server = createServer((socket: Socket) => {
    socket.on('data', (piece) => received.push(piece));
    socket.on('end', () => socket.end('thanks'));
  });
  try {
    const connectPath = join(folder, 'target');
    await new Promise<void>((resolve) => server.listen(connectPath, resolve));
    const receiveEvents: ByteReceiveEvent[] = [];
    const sendEvents: ByteSendEvent[] = [];
    const windowBytes = MIB;
    await new Promise<void>((resolve) => {
      pair.target.receiveBytes({ ...name, connectPath, windowBytes }, (event) => {
        receiveEvents.push(event);
        if (event.type === 'return') sender.writeReturn(event.bytes);
      });
      const listenPath = join(folder, 'source');
      const sender = pair.source.sendBytes({ ...name, listenPath, windowBytes }, (event) => {
        sendEvents.push(event);
      });
      const local = connect({ path: listenPath, allowHalfOpen: true });
      local.end(bytes);
      let answer = '';
      local.on('data', (piece) => {
        answer += piece.toString();
        if (answer === 'thanks') resolve();
      });
    });
    assert.ok(Buffer.concat(received).equals(bytes), 'bytes differ');
    assert.deepEqual(
      sendEvents.map((event) => event.type),
      ['connected', 'drained'],
    );
    assert.deepEqual(
      receiveEvents.map((event) => event.type).filter((type) => type !== 'closed'),
      ['connected', 'return'],
    );
  } finally {
    server.close();
    pair.close();
    rmSync(folder, { recursive: true });
  }
});
