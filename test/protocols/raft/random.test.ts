/** Random schedules: loss, doubles, reordering, crashes that lose unsynced writes, new members. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Schedule } from './choices.ts';
import { Network } from './network.ts';

const someSchedule: fc.Arbitrary<Schedule> = fc.record({
  seed: fc.nat(2 ** 31 - 1),
  length: fc.integer({ min: 1000, max: 6000 }),
});

test('no schedule breaks an invariant, and when it heals the group goes on', () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(someSchedule, (schedule) => {
      const network = new Network({ voters: 3, joiners: 2, schedule });
      network.runChaos();
      assert.ok(network.makesProgress(20_000_000), 'no progress within 20 s after healing');
      for (const [type, count] of network.seen) seen.set(type, (seen.get(type) ?? 0) + count);
    }),
    { numRuns: 40 },
  );
  for (const type of ['snapshotChunk', 'restore', 'timeoutNow', 'readIndexReply', 'compact']) {
    assert.ok((seen.get(type) ?? 0) > 0, `${type} never happened`);
  }
});
