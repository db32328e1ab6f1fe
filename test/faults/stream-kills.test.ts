/** Streams die at random moments; `DWCP_STREAM_KILLS_SEED` replays a run. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BulkStream } from '../../src/ports/transport.ts';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  type Pair,
  pairUp,
} from '../transports/bulk-pair.ts';
import { tcpProxy } from './tcp-proxy.ts';

const seed = Number(process.env['DWCP_STREAM_KILLS_SEED'] ?? Date.now() % 1_000_000);
const REPETITIONS = 60;

/** A hash of seed and count: the same draws on every machine. */
class Draw {
  readonly #seed: number;
  #count = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  below(bound: number): number {
    this.#count += 1;
    const digest = createHash('sha256').update(`${this.#seed} ${this.#count}`).digest();
    return digest.readUInt32LE(0) % bound;
  }
}

/** Asks after every turn of the event loop, so that nothing rests while a transfer runs. */
function whenever(due: () => boolean, act: () => void): () => void {
  let stopped = false;
  const look = (): void => {
    if (stopped) return;
    if (due()) act();
    else setImmediate(look);
  };
  look();
  return () => {
    stopped = true;
  };
}

/** Closes one of the link's streams at either end, but never the last one. */
function killOne(pair: Pair, draw: Draw): void {
  const streams: readonly BulkStream[] = draw.below(2) === 0 ? pair.streams : pair.accepted;
  const alive = streams.filter((stream) => stream.info() !== null);
  if (alive.length > 1) alive[draw.below(alive.length)]?.close();
}

test(`pages survive streams killed at random moments, ${REPETITIONS} times, seed ${seed}`, async () => {
  let reinjected = 0;
  let killed = 0;
  for (let index = 0; index < REPETITIONS; index++) {
    const draw = new Draw(seed * 1000 + index);
    const streams = 2 + draw.below(5);
    const windowBytes = draw.below(3) === 0 ? 128 * 1024 : 2 * MIB;
    const pair = await pairUp({ streams, windowBytes, chunkBytes: 64 * 1024 });
    const stops: (() => void)[] = [];
    try {
      pair.source.setMaxBandwidth((50 + draw.below(300)) * MIB);
      const moved = await move(pair, (2 + draw.below(6)) * MIB, () => {
        for (let kills = 1 + draw.below(streams - 1); kills > 0; kills--) {
          const at = draw.below(60);
          stops.push(
            whenever(
              () => pair.source.counters().chunksSent >= at,
              () => killOne(pair, draw),
            ),
          );
        }
      });
      assertEqualMemory(moved);
      reinjected += pair.source.counters().chunksReinjected;
      killed += streams - pair.source.counters().streams;
    } catch (cause) {
      throw new Error(`repetition ${index} of seed ${seed}`, { cause });
    } finally {
      for (const stop of stops) stop();
      pair.close();
    }
  }
  assert.ok(killed >= 50, `only ${killed} streams were killed`);
  assert.ok(reinjected > 0, 'no kill ever hit a chunk on its way');
});

test('what a killed stream had on its way goes over the others', async () => {
  const pair = await pairUp({ streams: 2 });
  // Swallows what comes after the join and a little more: those chunks are lost for certain.
  const proxy = await tcpProxy(pair.port, (_bytes, offset) => offset < 200_000);
  try {
    const doomed = await dialJoined(pair.dialling, pair.source, proxy.port);
    const moved = await move(pair, 32 * MIB, () => {
      whenever(
        () => proxy.swallowedBytes() > 0,
        () => doomed.close(),
      );
    });
    assertEqualMemory(moved);
    assert.ok(pair.source.counters().chunksReinjected > 0);
    assert.equal(pair.source.counters().streams, 2);
  } finally {
    proxy.close();
    pair.close();
  }
});

test('a carried byte stream survives its streams, one after the other', async () => {
  const pair = await pairUp({ streams: 4, windowBytes: MIB, chunkBytes: 64 * 1024 });
  const proxy = await tcpProxy(pair.port, (_bytes, offset) => offset < 300_000);
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-kills-'));
  const name = { transferId: 5, epoch: 2 };
  const bytes = Buffer.alloc(24 * MIB);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
  const received: Buffer[] = [];
  const sink = createServer((socket) =>
    socket.on('data', (piece) => received.push(piece as Buffer)),
  );
  try {
    const doomed = await dialJoined(pair.dialling, pair.source, proxy.port);
    const connectPath = join(folder, 'target');
    await new Promise<void>((resolve) => sink.listen(connectPath, resolve));
    const windowBytes = MIB;
    await new Promise<void>((resolve, reject) => {
      pair.target.receiveBytes({ ...name, connectPath, windowBytes }, (event) => {
        if (event.type === 'failed') reject(event.error);
      });
      const listenPath = join(folder, 'source');
      pair.source.sendBytes({ ...name, listenPath, windowBytes }, (event) => {
        if (event.type === 'drained') resolve();
        else if (event.type === 'failed') reject(event.error);
      });
      whenever(
        () => proxy.swallowedBytes() > 0,
        () => doomed.close(),
      );
      // A stream dies whenever the next quarter has left, most of it being on its way.
      const local = connect(listenPath);
      const quarterBytes = bytes.length / 4;
      for (let quarter = 0; quarter < 4; quarter++) {
        const piece = bytes.subarray(quarter * quarterBytes, (quarter + 1) * quarterBytes);
        local.write(piece, () => {
          if (quarter < 3) pair.streams[quarter]?.close();
        });
      }
      local.end();
    });
    const whole = (): number => received.reduce((sum, piece) => sum + piece.length, 0);
    while (whole() < bytes.length) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(Buffer.concat(received).equals(bytes), 'bytes differ');
    assert.equal(pair.source.counters().streams, 1);
    assert.ok(pair.source.counters().chunksReinjected > 0);
  } finally {
    sink.close();
    proxy.close();
    pair.close();
    rmSync(folder, { recursive: true });
  }
});
