import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onWorld, received, SECOND_US, send, streamsOf, ups, World } from './links-world.ts';

onWorld(
  'two nodes find each other once, with every bulk stream, and talk both ways',
  async (world) => {
    const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    assert.deepEqual(
      [a, b].map((node) => node.reports.map(({ type, peer }) => `${type} ${peer}`)),
      [['linkUp b'], ['linkUp a']],
    );
    assert.ok([a, b].every((node) => ups(node)[0]?.peerRestarted === false));
    for (let count = 0; count < 20; count += 1) {
      send(a, `a${count}`);
      send(b, `b${count}`);
    }
    await world.run(5000);
    assert.deepEqual(
      received(b),
      Array.from({ length: 20 }, (_, index) => `a${index}`),
    );
    assert.deepEqual(
      received(a),
      Array.from({ length: 20 }, (_, index) => `b${index}`),
    );
    assert.equal(world.network.connections(), 4, 'one control channel and three streams');
  },
);

onWorld('a quiet link stays up, and its health is measured', async (world) => {
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
  await world.run(12 * SECOND_US);
  assert.deepEqual([a.reports.length, b.reports.length], [1, 1]);
  const link = a.samples.filter((sample) => sample.type === 'link').at(-1);
  assert.ok(link?.type === 'link' && link.counters.streams === 3);
  assert.ok(link.rttUs !== null && link.rttUs >= 1000 && link.rttUs < 20_000, `${link.rttUs} us`);
  const streams = new Set(b.samples.map((sample) => sample.type === 'stream' && sample.stream));
  assert.equal(streams.size, 4);
});

onWorld(
  'a cut wire is noticed by both within six seconds and mended when it heals',
  async (world) => {
    const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    world.network.cut('a', 'b');
    await world.run(6.5 * SECOND_US);
    for (const node of [a, b]) {
      const last = node.reports.at(-1);
      assert.ok(last?.type === 'linkDown' && last.error.code === 'ERR_DWCP_PEER_UNREACHABLE');
    }
    world.network.repair('a', 'b');
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    assert.deepEqual([ups(a).length, ups(b).length], [2, 2]);
    assert.ok(ups(a)[1]?.peerRestarted === false && ups(b)[1]?.peerRestarted === false);
  },
);

onWorld('lost streams come back while the link stays up', async (world) => {
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  world.network.resetNewest('a', 'b', 2);
  await world.run(5000);
  assert.equal(streamsOf(a), 1);
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  assert.deepEqual([a.reports.length, b.reports.length], [1, 1]);
});

onWorld('a restarted peer is told apart from a reconnected one, whoever dials', async (world) => {
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  await world.crash('b');
  await world.run(SECOND_US);
  const b2 = world.start('b', ['a']);
  await world.until(() => streamsOf(a) === 3 && streamsOf(b2) === 3);
  assert.deepEqual(
    ups(a).map(({ peerRestarted }) => peerRestarted),
    [false, true],
  );
  await world.crash('a');
  await world.run(SECOND_US);
  const a2 = world.start('a', ['b']);
  await world.until(() => streamsOf(a2) === 3 && streamsOf(b2) === 3);
  assert.equal(ups(b2).at(-1)?.peerRestarted, true);
});

onWorld('a peer that is not there is dialled for ever, and told once', async (world) => {
  const a = world.start('a', ['b']);
  await world.run(10 * SECOND_US);
  assert.deepEqual(
    a.reports.map((report) => report.type === 'linkDown' && report.error.code),
    ['ERR_DWCP_PEER_UNREACHABLE'],
  );
  const b = world.start('b', ['a']);
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
});

onWorld('a node that is slow to take its messages loses none of them', async (world) => {
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'], { mailboxLimit: 1 })];
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  for (let count = 0; count < 50; count += 1) send(a, `a${count}`);
  await world.until(() => received(b).length === 50);
  assert.deepEqual(
    received(b),
    Array.from({ length: 50 }, (_, index) => `a${index}`),
  );
});

onWorld('a link does not dial while reports wait for its node', async (world) => {
  let isDeaf = true;
  const a = world.start('a', ['b'], { isDeaf: () => isDeaf });
  await world.run(10 * SECOND_US);
  assert.deepEqual([a.dials, a.reports.length], [1, 0], 'the first failure is not taken');
  isDeaf = false;
  await world.run(10 * SECOND_US);
  assert.ok(a.dials > 1, `${a.dials} dials`);
  assert.deepEqual(
    a.reports.map(({ type }) => type),
    ['linkDown'],
  );
  const b = world.start('b', ['a']);
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
});

onWorld('a link takes no channel while reports wait for its node', async (world) => {
  let isDeaf = false;
  const a = world.start('a', ['b']);
  const b = world.start('b', ['a'], { isDeaf: () => isDeaf });
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  isDeaf = true;
  world.network.reset('a', 'b');
  await world.run(5 * SECOND_US);
  assert.equal(ups(a).length, 1);
  isDeaf = false;
  await world.until(() => ups(a).length === 2 && ups(b).length === 2);
  assert.deepEqual(
    b.reports.map(({ type }) => type),
    ['linkUp', 'linkDown', 'linkUp'],
  );
});

onWorld('a blocked bulk port is told by both sides, and that it was opened', async (world) => {
  world.network.blockBulk('a', 'b');
  const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
  await world.run(15 * SECOND_US);
  const [told, toldByB] = [a, b].map((node) =>
    node.reports.flatMap((report) => (report.type === 'linkTrouble' ? [report.error] : [])),
  );
  assert.equal(told?.length, 1, 'the same reason is told once');
  assert.match(told?.[0]?.message ?? '', /b answers, but no bulk stream to its port 40\d+ stands/);
  assert.match(told?.[0]?.message ?? '', /cannot reach b:40\d+/);
  assert.match(told?.[0]?.hint ?? '', /TCP port 40\d+ of b/);
  assert.match(toldByB?.[0]?.message ?? '', /no bulk stream of it arrived at our port 40\d+/);
  assert.equal(ups(a).length + ups(b).length, 0);
  world.network.openBulk('a', 'b');
  await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
  assert.deepEqual([ups(a).length, ups(b).length], [1, 1]);
});

onWorld(
  'a bulk port that is blocked later is told, and that streams stand again',
  async (world) => {
    const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    world.network.blockBulk('a', 'b');
    world.network.resetNewest('a', 'b', 3);
    await world.run(10 * SECOND_US);
    world.network.openBulk('a', 'b');
    await world.run(10 * SECOND_US);
    for (const node of [a, b]) {
      const told = node.reports.map((report) =>
        report.type === 'linkTrouble' ? report.error !== null : report.type,
      );
      assert.deepEqual(told, ['linkUp', true, false]);
    }
  },
);

onWorld('a node that is not in the configuration is turned away', async (world) => {
  const [a, c] = [world.start('a', []), world.start('Z', ['a'])];
  await world.run(3 * SECOND_US);
  assert.equal(a.reports.length, 0);
  assert.ok(c.reports.every(({ type }) => type === 'linkDown'));
});

test('a node stopped at any instant leaves no connection and no timer behind', async () => {
  for (let instant = 0; instant < 32; instant += 1) {
    const world = new World();
    world.start('a', ['b']);
    world.start('b', ['a']);
    await world.run((instant >> 2) * 1000);
    // No turn in between, so that what just arrived is still queued when the node stops.
    world.clock.advance(((instant >> 1) % 2) * 1000);
    await world.crash(instant % 2 === 0 ? 'a' : 'b');
    await world.run(3000);
    assert.equal(world.network.connections(), 0, `instant ${instant}`);
    await world.stop();
    await world.run(6 * SECOND_US);
    assert.equal(world.clock.armed, 0, `instant ${instant}`);
  }
});

onWorld(
  'every session has keys of its own: the same on both sides, each way another, none ever again',
  async (world) => {
    const [a, b] = [world.start('a', ['b']), world.start('b', ['a'])];
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    world.network.cut('a', 'b');
    await world.run(6.5 * SECOND_US);
    world.network.repair('a', 'b');
    await world.until(() => streamsOf(a) === 3 && streamsOf(b) === 3);
    await world.crash('b');
    const again = world.start('b', ['a']);
    await world.until(() => streamsOf(a) === 3 && streamsOf(again) === 3);
    const turned = [...b.keys, ...again.keys].map((keys) => keys && [keys[1], keys[0]]);
    assert.deepEqual(a.keys, turned);
    assert.equal(a.keys.length, 3);
    assert.equal(new Set(a.keys.flat()).size, 6, 'a key was used twice');
    assert.ok(a.keys.flat().every((key) => key !== null && !/^0+$/.test(key)));
  },
);
