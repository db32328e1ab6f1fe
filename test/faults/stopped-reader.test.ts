import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createPageSet, createRegion, digestPages, fillRegion } from '../../src/native.ts';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  pairUp,
  until,
} from '../transports/bulk-pair.ts';
import { RawPeer } from './raw-peer.ts';

test('a peer that joins and stops reading costs one window of staging and slows nobody else', async () => {
  const windowBytes = 4 * MIB;
  const stuck = await pairUp({ streams: 0, windowBytes, chunkBytes: 256 * 1024 });
  const busy = await pairUp({ streams: 2 });
  try {
    const peer = new RawPeer(stuck.port);
    await peer.join();
    await until(() => stuck.target.counters().streams === 1);
    // The listening side sends, and nobody ever reads.
    const region = createRegion({ name: 'unread', sizeBytes: 64 * MIB, hugePages: false });
    fillRegion(region, 3, 0);
    const pages = createPageSet(region.sizeBytes / 4096);
    pages.addAll();
    const events: string[] = [];
    const sender = stuck.target.sendPages({ transferId: 7, epoch: 1, region }, ({ type }) => {
      events.push(type);
    });
    sender.send(pages);
    await until(() => stuck.target.counters().chunksSent > 0);
    for (let transfer = 0; transfer < 4; transfer++) {
      assertEqualMemory(await move(busy, 16 * MIB, undefined, 60 + transfer));
    }
    const { stagingBytes, chunksSent } = stuck.target.counters();
    assert.ok(stagingBytes <= windowBytes + MIB, `${stagingBytes} bytes are staged`);
    assert.ok(chunksSent <= windowBytes / (256 * 1024));
    assert.deepEqual(events, []);
    // Once it is gone, what it never took goes to the next one.
    peer.close();
    await until(() => stuck.target.counters().streams === 0);
    const landed = createRegion({ name: 'read', sizeBytes: region.sizeBytes, hugePages: false });
    stuck.source.receivePages({ transferId: 7, epoch: 1, region: landed }, () => {});
    await dialJoined(stuck.dialling, stuck.source, stuck.port);
    await until(() => events.length > 0);
    assert.deepEqual(events, ['batchAcked']);
    assert.ok(stuck.target.counters().chunksReinjected > 0);
    const count = region.sizeBytes / 4096;
    assert.ok(Buffer.from(digestPages(landed, 0, count)).equals(digestPages(region, 0, count)));
  } finally {
    busy.close();
    stuck.close();
  }
});

/** A thread of its own, so that it writes on while this one is busy. */
const WRITER = `
  const { createServer } = require('node:net');
  const { parentPort, workerData } = require('node:worker_threads');
  const server = createServer((socket) => socket.write(Buffer.alloc(workerData.bytes, 7)));
  server.listen(workerData.path, () => parentPort.postMessage('listening'));
`;

test('what a local side writes back is bounded while JavaScript is busy', async () => {
  const pair = await pairUp({ streams: 1 });
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-return-'));
  const connectPath = join(folder, 'target');
  const bytes = 32 * MIB;
  const writer = new Worker(WRITER, { eval: true, workerData: { path: connectPath, bytes } });
  try {
    await once(writer, 'message');
    let returnedBytes = 0;
    let batchBytes = 0;
    let largestBatchBytes = 0;
    const options = { transferId: 5, epoch: 2, connectPath, windowBytes: MIB };
    pair.target.receiveBytes(options, (event) => {
      if (event.type !== 'return') return;
      returnedBytes += event.bytes.length;
      // One batch is dealt without a pause, and what waited is one batch.
      if (batchBytes === 0) {
        queueMicrotask(() => {
          batchBytes = 0;
        });
      }
      batchBytes += event.bytes.length;
      largestBatchBytes = Math.max(largestBatchBytes, batchBytes);
    });
    while (returnedBytes < bytes) {
      // Busy: the engine's thread could read a lot meanwhile, and must not.
      const endMs = performance.now() + (returnedBytes < MIB ? 50 : 0);
      while (performance.now() < endMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(returnedBytes, bytes);
    assert.ok(largestBatchBytes <= 512 * 1024, `${largestBatchBytes} bytes waited at one time`);
  } finally {
    await writer.terminate();
    pair.close();
    rmSync(folder, { recursive: true });
  }
});
