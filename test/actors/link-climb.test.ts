import assert from 'node:assert/strict';
import type { dwcp } from '#wire';
import { onWorld, SECOND_US, streamsOf, ups, type World } from './links-world.ts';

const MEGABYTE = 1e6;
/** One stream reaches 100 MB/s, all together 650 MB/s: seven streams are worth it, eight are not. */
const LOAD = { laneBytesPerSec: 100 * MEGABYTE, wireBytesPerSec: 650 * MEGABYTE };

async function startBoth(world: World): Promise<() => number> {
  const a = world.start('a', ['b'], { streams: 'auto' });
  const b = world.start('b', ['a'], { streams: 'auto' });
  await world.until(() => streamsOf(a) === 4 && streamsOf(b) === 4);
  return () => {
    assert.equal(streamsOf(a), streamsOf(b));
    return streamsOf(a);
  };
}

/** The numbers of streams that were seen, sampled when no stream is half open. */
async function watch(world: World, count: () => number, seconds: number): Promise<number[]> {
  const counts: number[] = [];
  for (let passed = 0; passed < seconds; passed += 0.7) {
    await world.run(0.7 * SECOND_US);
    counts.push(count());
  }
  return counts;
}

onWorld('a busy link climbs while a further stream pays, then settles', async (world) => {
  const count = await startBoth(world);
  world.network.load('a', 'b', LOAD);
  const counts = await watch(world, count, 6);
  assert.equal(Math.max(...counts), 8, `${counts}`);
  assert.equal(counts.at(-1), 7, `${counts}`);
});

onWorld('the side that accepts streams climbs for what it sends', async (world) => {
  const count = await startBoth(world);
  world.network.load('b', 'a', LOAD);
  const counts = await watch(world, count, 6);
  assert.equal(Math.max(...counts), 8, `${counts}`);
  assert.equal(counts.at(-1), 7, `${counts}`);
});

onWorld('a link with nothing to send keeps its streams', async (world) => {
  const count = await startBoth(world);
  assert.deepEqual([...new Set(await watch(world, count, 5))], [4]);
});

onWorld('streams lost on the way up come back and the climb goes on', async (world) => {
  const count = await startBoth(world);
  world.network.load('a', 'b', LOAD);
  await world.run(1.4 * SECOND_US);
  world.network.resetNewest('a', 'b', 3);
  await world.run(8 * SECOND_US);
  assert.equal(count(), 7);
});

onWorld('whatever a peer wishes, the number of streams stays within its bounds', async (world) => {
  const a = world.start('a', ['b'], { streams: 'auto' });
  const b = world.start('b', ['a'], { streams: 'auto' });
  await world.until(() => streamsOf(a) === 4 && streamsOf(b) === 4);
  const wish = async (linkLaneWish: dwcp.ILinkLaneWish): Promise<void> => {
    for (let count = 0; count < 100; count += 1) {
      ups(b)[0]?.link.tell({ type: 'send', envelope: { from: 'link', to: 'link', linkLaneWish } });
    }
    await world.run(0.05 * SECOND_US);
  };
  await wish({ add: true });
  assert.deepEqual([streamsOf(a), streamsOf(b)], [64, 64]);
  for (let index = 0; index < 64; index += 1) await wish({ dropStreamIndex: index });
  assert.deepEqual([streamsOf(a), streamsOf(b)], [1, 1]);
  await wish({ dropStreamIndex: 99_999 });
  assert.deepEqual([a.reports.length, b.reports.length], [1, 1]);
});

onWorld('a link with a fixed number of streams grants no wish', async (world) => {
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  const envelope = { from: 'link', to: 'link', linkLaneWish: { add: true } };
  ups(b)[0]?.link.tell({ type: 'send', envelope });
  await world.run(SECOND_US);
  assert.equal(streamsOf(a), 3);
});
