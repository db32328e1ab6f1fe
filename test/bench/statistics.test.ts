import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { benchDocument, measureCase } from '../../bench/harness.ts';
import {
  assertAboveFloor,
  atLeast,
  atMost,
  median,
  pairwise,
  quantile,
  summarize,
} from '../../bench/statistics.ts';

describe('statistics', () => {
  it('take the middle sample, or halve the two middle ones', () => {
    assert.equal(median([9, 1, 5]), 5);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.throws(() => median([]));
  });

  it('put the median between the extremes, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (samples) => {
        const { median: middle, min, max } = summarize(samples);
        const below = samples.filter((sample) => sample <= middle).length;
        const above = samples.filter((sample) => sample >= middle).length;
        assert.ok(min <= middle && middle <= max);
        assert.ok(2 * below >= samples.length && 2 * above >= samples.length);
        assert.equal(median(samples.toReversed()), middle);
      }),
    );
  });

  it('take quantiles by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    assert.equal(quantile(hundred, 0.99), 99);
    assert.equal(quantile(hundred, 1), 100);
    assert.equal(quantile([7], 0.5), 7);
  });

  it('pair neighbours, so that a slow minute hits both sides', () => {
    const peer = pairwise('peer', [100, 10, 90], [50, 5, 45]);
    assert.deepEqual(peer.ratio, { samples: [2, 2, 2], median: 2 });
    assert.throws(() => pairwise('peer', [1, 2], [1]));
    assert.throws(() => pairwise('peer', [1], [0]), /not a ratio/);
  });

  it('meet a target from its own side', () => {
    assert.equal(atLeast('ratio', 0.95, 0.94).met, false);
    assert.equal(atLeast('ratio', 0.95, 0.95).met, true);
    assert.equal(atMost('downtime', 60, 61).met, false);
  });
});

describe('the floor', () => {
  const floor = { name: 'memcpy/2', value: 5e9 };

  it('refuses a throughput that memory cannot carry', () => {
    assert.throws(() => assertAboveFloor('tcp', [2e9, 6e9], true, floor), /beats its floor memcpy/);
    assertAboveFloor('tcp', [2e9, 5e9], true, floor);
  });

  it('refuses a time shorter than the shortest possible', () => {
    assert.throws(() => assertAboveFloor('scan', [0.4], false, { name: 'syscall', value: 0.5 }));
  });

  it('is itself a measurement', () => {
    assert.throws(() => assertAboveFloor('tcp', [1], true, { name: 'memcpy', value: Number.NaN }));
  });
});

describe('a case', () => {
  const caseOf = (figure: () => number, order: string[] = []) =>
    measureCase({
      ...{ case: 'planted', unit: 'bytes/s', higherIsBetter: true, repetitions: 3, warmups: 1 },
      floor: { name: 'memcpy/2', value: 100 },
      ours: contender('ours', figure, order),
      peers: [contender('peer', () => 10, order)],
      targets: (_ours, [peer]) => [atLeast('ratio', 0.95, peer?.ratio.median ?? 0)],
      onProgress: () => {},
    });

  it('runs both sides in turns and leaves the warm-up out', async () => {
    const order: string[] = [];
    let runs = 0;
    const result = await caseOf(() => (runs++ === 0 ? 99 : 20), order);
    assert.deepEqual(order, ['ours', 'peer', 'ours', 'peer', 'ours', 'peer', 'ours', 'peer']);
    assert.deepEqual(result.ours, { samples: [20, 20, 20], median: 20, min: 20, max: 20 });
    assert.deepEqual(result.peers[0]?.ratio, { samples: [2, 2, 2], median: 2 });
    assert.equal(result.targets[0]?.met, true);
  });

  it('fails whole when one planted run is impossible', async () => {
    let runs = 0;
    await assert.rejects(
      caseOf(() => (++runs === 3 ? 101 : 20)),
      /beats its floor/,
    );
  });

  it('goes into a document that names machine and commit', () => {
    const document = benchDocument('planted', []);
    assert.deepEqual(Object.keys(document), ['name', 'commit', 'machine', 'results']);
    assert.deepEqual(Object.keys(document.machine), ['cpu', 'cores', 'kernel']);
    assert.ok(document.machine.cores > 0);
    assert.match(document.commit, /^[0-9a-f]{40}(?:-dirty)?$|^unknown$/);
  });
});

function contender(name: string, figure: () => number, order: string[]) {
  return {
    name,
    run: () => {
      order.push(name);
      return Promise.resolve(figure());
    },
  };
}
