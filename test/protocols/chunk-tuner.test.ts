import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkTuner } from '../../src/protocols/link/chunk-tuner.ts';
import { settingsOf } from '../../src/protocols/link/mode-settings.ts';

const AUTO = { streams: 'auto', congestionControl: 'auto', chunkBytes: 'auto' } as const;
const INTERNET = settingsOf('internet', AUTO).chunk;
const KIB = 1024;
const SECOND_US = 1_000_000;

interface Way {
  readonly streams: number;
  readonly lossShare: number;
  readonly bytesPerSec: (chunkBytes: number) => number;
}

/** The sizes that a link had, of which the last is where it settled. */
function settle(way: Way, seconds = 25): number[] {
  const tuner = new ChunkTuner(INTERNET);
  const sizes = [tuner.chunkBytes];
  for (let second = 0; second < seconds; second += 1) {
    const { streams, lossShare } = way;
    const bytesPerSec = way.bytesPerSec(tuner.chunkBytes);
    const size = tuner.step({ nowUs: second * SECOND_US, bytesPerSec, lossShare, streams });
    if (size !== null) sizes.push(size);
  }
  return sizes;
}

test('a chunk is what a stream carries in a tenth of a second, less where segments are lost', () => {
  const wan = (lossShare: number): Way => ({ streams: 8, lossShare, bytesPerSec: () => 12.5e6 });
  assert.equal(settle(wan(0.001)).at(-1), 128 * KIB);
  assert.equal(settle(wan(0.02)).at(-1), 64 * KIB);
  assert.equal(settle(wan(0.05)).at(-1), 32 * KIB);
});

test('a size that costs goodput is taken back, and not tried again at once', () => {
  const sizes = settle({
    ...{ streams: 8, lossShare: 0 },
    bytesPerSec: (chunkBytes) => (chunkBytes < 256 * KIB ? 9e6 : 12.5e6),
  });
  assert.deepEqual(sizes, [256 * KIB, 128 * KIB, 256 * KIB]);
});

test('whatever the way, the size stays in its bounds and settles near the best of all sizes', () => {
  const ways = fc.record({
    streams: fc.integer({ min: 1, max: 128 }),
    lossShare: fc.double({ min: 0, max: 0.1, noNaN: true }),
    wire: fc.integer({ min: 1e5, max: 1e9 }),
    /** What each chunk costs besides its bytes. */
    perChunkUs: fc.integer({ min: 0, max: 200 }),
  });
  fc.assert(
    fc.property(ways, ({ streams, lossShare, wire, perChunkUs }) => {
      const bytesPerSec = (chunkBytes: number): number =>
        chunkBytes / (chunkBytes / wire + (perChunkUs * 1e-6) / streams);
      const sizes = settle({ streams, lossShare, bytesPerSec });
      for (const size of sizes) {
        assert.ok(size >= INTERNET.minBytes && size <= INTERNET.maxBytes && size % 4096 === 0);
      }
      const best = bytesPerSec(INTERNET.maxBytes);
      const start = bytesPerSec(INTERNET.startBytes);
      const last = bytesPerSec(sizes.at(-1) ?? 0);
      assert.ok(last >= 0.94 * start, `${last} of ${start}`);
      assert.ok(sizes.length < 6, 'it settles');
      if (perChunkUs === 0) assert.ok(last >= 0.99 * best);
    }),
  );
});
