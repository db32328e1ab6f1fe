/** A link is tuned while pages move: nothing is lost, doubled or out of place, and it says how far it came. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertEqualMemory, MIB, move, type Pair, pairUp } from './bulk-pair.ts';

const TUNINGS = [
  {
    congestionControl: 'cubic',
    chunkBytes: 16 * 1024,
    unreadTimeoutMs: 30_000,
    unsentBytes: 64 * 1024,
  },
  { congestionControl: 'reno', chunkBytes: MIB, unreadTimeoutMs: 15_000, unsentBytes: 64 * 1024 },
  {
    congestionControl: 'cubic',
    chunkBytes: 64 * 1024,
    unreadTimeoutMs: 20_000,
    unsentBytes: 64 * 1024,
  },
] as const;

async function withPair(streams: number, work: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await pairUp({ streams });
  try {
    await work(pair);
  } finally {
    pair.close();
  }
}

test('chunks change their size while they move, and every page arrives once', async () => {
  await withPair(8, async (pair) => {
    let count = 0;
    pair.source.setMaxBandwidth(200 * MIB);
    const timer = setInterval(() => {
      const tuning = TUNINGS[count % TUNINGS.length] ?? TUNINGS[0];
      assert.equal(pair.source.tune(tuning), null);
      assert.equal(pair.target.tune(tuning), null);
      count += 1;
    }, 5);
    try {
      const moved = await move(pair, 64 * MIB);
      assert.ok(count > 10, `${count} changes`);
      assertEqualMemory(moved);
      const { chunksSent, chunksReinjected } = pair.source.counters();
      const { chunksLanded, chunksDuplicate } = pair.target.counters();
      assert.deepEqual([chunksReinjected, chunksDuplicate], [0, 0]);
      assert.equal(chunksLanded, chunksSent);
    } finally {
      clearInterval(timer);
    }
  });
});

test('a change is effective on a stream once a chunk named after it is acknowledged there', async () => {
  await withPair(4, async (pair) => {
    await move(pair, 8 * MIB);
    assert.equal(pair.source.tune({ ...TUNINGS[0], chunkBytes: 64 * 1024 }), null);
    const before = pair.source.tuning();
    assert.deepEqual([before.streams, before.effectiveStreams], [4, 0]);
    assert.equal(before.chunkBytes, 64 * 1024);
    await move(pair, 64 * MIB, () => {}, 43);
    const after = pair.source.tuning();
    assert.ok(after.effectiveStreams >= 1 && after.effectiveUs > 0, JSON.stringify(after));
    for (const { congestionControl } of pair.source.lanes().lanes) {
      assert.equal(congestionControl, 'cubic');
    }
  });
});

test('an algorithm that the kernel lacks is told by its errno, and the rest is tuned all the same', async () => {
  await withPair(2, async (pair) => {
    const unknown = 'nonesuch' as 'reno';
    const answer = pair.source.tune({ ...TUNINGS[0], congestionControl: unknown });
    assert.equal(answer, 'ENOENT');
    assert.equal(pair.source.tuning().chunkBytes, TUNINGS[0].chunkBytes);
    assert.ok(pair.source.lanes().lanes.every((lane) => lane.congestionControl === 'reno'));
  });
});

test('the kernel tells of the way: round trips, and how long there was something to send', async () => {
  await withPair(2, async (pair) => {
    await move(pair, 64 * MIB);
    const facts = pair.source.pathFacts();
    assert.equal(facts.streams, 2);
    assert.ok(facts.rttUs > 0 && facts.busyUs > 0, JSON.stringify(facts));
    assert.ok(facts.segmentsSent > 0 && facts.ackedBytes > 48 * MIB, JSON.stringify(facts));
  });
});
