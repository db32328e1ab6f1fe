/** What any carrier of chunks does, seen through the port. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test as plainTest } from 'node:test';
import { createPageSet, createRegion } from '../../src/native.ts';
import type { ByteReceiveEvent, ByteSendEvent } from '../../src/ports/transport.ts';
import { createNativeBulkTransport } from '../../src/transports/native-bulk.ts';
import type { DwcpError } from '../../src/util/errors.ts';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  type Pair,
  type PairOptions,
  pairUp as plainPairUp,
} from '../transports/bulk-pair.ts';

/** One way of carrying chunks; every arm passes the same tests, at the size that suits it. */
export interface BulkArm {
  readonly name: string;
  /** Which capability this machine lacks, or false. */
  readonly skip: string | false;
  readonly options: Pick<PairOptions, 'host' | 'rdma'>;
  /** How much is moved where it matters. */
  readonly bytes: number;
  /** So slow that something can be broken meanwhile. */
  readonly bytesPerSec: number;
  /** A limit that this machine reaches with ease. */
  readonly limit: number;
  /** After something was moved: it went this way. */
  readonly check: (pair: Pair) => void;
}

export function bulkSuite(arm: BulkArm): void {
  const test = (name: string, body: () => Promise<void>): void => {
    plainTest(`${arm.name}: ${name}`, { skip: arm.skip }, body);
  };
  const pairUp = (options: PairOptions): Promise<Pair> =>
    plainPairUp({ ...arm.options, ...options });

  test('zero and random pages arrive bit-exact over four streams', async () => {
    const pair = await pairUp({ streams: 4 });
    try {
      const moved = await move(pair, arm.bytes);
      assertEqualMemory(moved);
      const pages = arm.bytes / 4096;
      assert.equal(moved.counters.zeroPages, pages / 4);
      assert.equal(moved.counters.rawPages, (pages * 3) / 4);
      assert.equal(moved.counters.ackedBytes, arm.bytes);
      assert.equal(moved.counters.pendingPages, 0);
      assert.ok(moved.counters.wireBytes < arm.bytes * 0.766, 'zero pages went as bytes');
      assert.equal(pair.source.counters().streams, 4);
      arm.check(pair);
    } finally {
      pair.close();
    }
  });

  test('killing one of four streams mid-way loses nothing', async () => {
    const pair = await pairUp({ streams: 4 });
    try {
      pair.source.setMaxBandwidth(arm.bytesPerSec);
      const moved = await move(pair, arm.bytes, () => {
        const timer = setInterval(() => {
          if (pair.source.counters().chunksSent < arm.bytes / (1.6 * MIB)) return;
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
    const pair = await pairUp({ streams: 2, windowBytes: 65536 });
    try {
      assertEqualMemory(await move(pair, 4 * MIB));
    } finally {
      pair.close();
    }
  });

  test('chunks of a single page over eight streams on one, and on four I/O threads, arrive bit-exact', async () => {
    for (const ioThreads of [1, 4]) {
      const pair = await pairUp({ streams: 8, chunkBytes: 4096, ioThreads });
      try {
        const bytes = arm.bytes / 4;
        const moved = await move(pair, bytes);
        assertEqualMemory(moved);
        const rawPages = (bytes / 4096) * 0.75;
        assert.equal(moved.counters.rawPages, rawPages);
        const { chunksSent, chunksReinjected } = pair.source.counters();
        assert.ok(chunksSent >= rawPages && chunksReinjected === 0, `${chunksSent} chunks`);
      } finally {
        pair.close();
      }
    }
  });

  test('the bandwidth limit is kept within five per cent, and used', async () => {
    const pair = await pairUp({ streams: 4 });
    try {
      const limit = arm.limit;
      pair.source.setMaxBandwidth(limit);
      const { counters, tookMs } = await move(pair, Math.ceil((2 * arm.limit) / MIB) * MIB);
      const rate = (counters.wireBytes / tookMs) * 1000;
      assert.ok(rate < limit * 1.05, `${rate} bytes/s is above the limit`);
      // On a busy machine the last of it is lost to whoever else wants the processor.
      assert.ok(rate > limit * 0.8, `${rate} bytes/s leaves too much of the limit unused`);
    } finally {
      pair.close();
    }
  });

  test('a sender whose peer knows no such transfer fails instead of waiting', async () => {
    const pair = await pairUp({ streams: 1 });
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
    const pair = await pairUp({ streams: 0 });
    const dialler = createNativeBulkTransport();
    try {
      const link = dialler.openLink({ peer: 'x', windowBytes: MIB, chunkBytes: 65536 });
      pair.close();
      await assert.rejects(dialJoined(dialler, link, pair.port, arm.options.host), {
        errno: 'ECONNREFUSED',
      });
    } finally {
      dialler.close();
    }
  });

  test('a carried byte stream arrives in order, with a way back', async () => {
    const pair = await pairUp({ streams: 3 });
    const folder = mkdtempSync(join(tmpdir(), 'dwcp-bulk-'));
    const name = { transferId: 5, epoch: 2 };
    const bytes = randomBytes(arm.bytes / 8);
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
}
