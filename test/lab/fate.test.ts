import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { link, type WanShape } from '../../bench/lab/profiles.ts';
import { type Wan, withWan } from '../../bench/lab/wan.ts';
import { throwDatagrams } from './datagrams.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root';
const UNLIMITED = { rateBitsPerSec: 0, roundTripMs: 2 };
const LIMIT = { timeout: 30_000 };

function onLink<T>(shape: WanShape, work: (wan: Wan) => Promise<T>, seed = 1): Promise<T> {
  return withWan({ profile: shape, seed }, work);
}

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0));
}

function missing(numbers: readonly number[], count: number): readonly number[] {
  const came = new Set(numbers);
  return Array.from({ length: count }, (_, number) => number).filter((each) => !came.has(each));
}

/** How many runs of neighbours. */
function runs(numbers: readonly number[]): number {
  return numbers.filter((number, index) => numbers[index - 1] !== number - 1).length;
}

describe('a packet on a link of the lab', { skip: needsRoot }, () => {
  it('keeps its place in spite of jitter, unless asked otherwise', LIMIT, async () => {
    await onLink(link({ ...UNLIMITED, jitterMs: 40 }), async (wan) => {
      const kept = await throwDatagrams(wan, 500);
      assert.equal(kept.length, 500);
      assert.ok(isAscending(kept));
      await wan.set({ reorder: true });
      const mixed = await throwDatagrams(wan, 500);
      assert.equal(mixed.length, 500);
      assert.ok(!isAscending(mixed), 'nothing overtook');
    });
  });

  it('is lost again by the same seed, and not by another', LIMIT, async () => {
    const shape = link({ ...UNLIMITED, lossPercent: 5 });
    const lostBy = (seed: number) =>
      onLink(shape, async (wan) => missing(await throwDatagrams(wan, 2000), 2000), seed);
    const first = await lostBy(7);
    assert.ok(first.length > 50 && first.length < 150, `${first.length} of 2000 at 5 %`);
    assert.deepEqual(await lostBy(7), first);
    assert.notDeepEqual(await lostBy(8), first);
  });

  it('is lost along with its neighbours where losses come in bursts', LIMIT, async () => {
    const shape = link({ ...UNLIMITED, lossPercent: 10, burstPackets: 10 });
    await onLink(shape, async (wan) => {
      const lost = missing(await throwDatagrams(wan, 6000), 6000);
      const { ab } = await wan.stats();
      assert.equal(ab.lostPackets, lost.length);
      assert.equal(ab.lostRuns, runs(lost));
      // 60 bursts or so: five deviations are 4.5 % of loss and two thirds of a burst's length.
      assert.ok(lost.length > 300 && lost.length < 900, `${lost.length} lost`);
      const length = lost.length / runs(lost);
      assert.ok(length > 5 && length < 17, `${length} a burst`);
    });
    await onLink(link({ ...UNLIMITED, lossPercent: 10 }), async (wan) => {
      const lost = missing(await throwDatagrams(wan, 3000), 3000);
      const length = lost.length / runs(lost);
      assert.ok(length < 1.4, `${length} in a row by chance`);
    });
  });

  it('does not meet the bad time of a second ago', LIMIT, async () => {
    // 0.1 ms a packet: bad times of 1 ms. The sender pauses for 5 ms after each 50 datagrams.
    const shape = link({ ...UNLIMITED, rateBitsPerSec: 120e6, lossPercent: 40, burstPackets: 10 });
    await onLink({ ...shape, queueBytes: 2 ** 20 }, async (wan) => {
      const came = new Set(await throwDatagrams(wan, 3000));
      const before = Array.from({ length: 59 }, (_, index) => index * 50 + 49);
      const alike = before.filter((number) => came.has(number) === came.has(number + 1)).length;
      // By chance 52 % of the pairs; nearly all, did bad times outlive a pause.
      assert.ok(alike > 12 && alike < 48, `${alike} of 59 pairs around a pause were alike`);
    });
  });

  it('survives a bad time that takes only some of its packets', LIMIT, async () => {
    const shape = link({
      ...UNLIMITED,
      lossPercent: 10,
      burstPackets: 40,
      badLossPercent: 50,
    });
    await onLink(shape, async (wan) => {
      const lost = missing(await throwDatagrams(wan, 6000), 6000);
      assert.ok(lost.length > 200 && lost.length < 1100, `${lost.length} lost`);
      const length = lost.length / runs(lost);
      assert.ok(length > 1.4 && length < 3, `${length} in a row, at even chances`);
    });
  });

  it('is dropped at the end of a full queue, and only there', LIMIT, async () => {
    const shape = link({ rateBitsPerSec: 100e3, roundTripMs: 2, queueBytes: 20_000 });
    await onLink(shape, async (wan) => {
      // 50 at once, 40 ms of wire time each; in some tens of ms not two of them leave.
      const came = await throwDatagrams(wan, 50, 500);
      const { ab } = await wan.stats();
      assert.equal(ab.queueDrops, 50 - came.length);
      assert.ok(came.length >= 40 && came.length <= 44, `${came.length} of 50`);
      assert.deepEqual(came.slice(0, 40), [...Array(40).keys()], 'the first come first');
      assert.ok(ab.queueBytesMax <= 20_000 && ab.queueBytesMax > 19_500);
    });
  });

  it('is lost while the link is cut, in the direction that is', LIMIT, async () => {
    await onLink(link(UNLIMITED), async (wan) => {
      await wan.set({ cut: true }, 'ab');
      assert.deepEqual(await throwDatagrams(wan, 20), []);
      assert.equal((await wan.stats()).ab.cutDrops, 20);
      await wan.set({ cut: true }, 'ba');
      await wan.set({ cut: false }, 'ab');
      assert.equal((await throwDatagrams(wan, 20)).length, 20);
    });
  });

  it('finds a link that a refused change left as it was', LIMIT, async () => {
    await onLink(link(UNLIMITED), async (wan) => {
      await assert.rejects(wan.set({ lossPercent: 100, roundTripMs: -1 }), /roundTripMs=-1/);
      await assert.rejects(wan.set({ lossPercent: 60, burstPackets: 1.1 }), /burstPackets/);
      assert.equal((await throwDatagrams(wan, 20)).length, 20);
    });
  });
});
