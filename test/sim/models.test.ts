import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogRecovery } from '../../sim/checkers/log-recovery.ts';
import { calmPlan, type FaultPlan, type SimDisk, type SimHost, World } from '../../sim/index.ts';
import type { RaftLog } from '../../src/ports/raft-log.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import type { Restored } from '../../src/protocols/raft/types.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const quiet = (): void => {};

function worldOf(hosts: number, plan: FaultPlan = calmPlan, seed: number = 1): World {
  const names = Array.from({ length: hosts }, (_, index) => `h${index}`);
  const world = new World({ seed, plan, hosts: names, clients: [] });
  world.network.plan = plan.network;
  return world;
}

function pair(world: World): readonly [SimHost, SimHost, unknown[]] {
  const [a, b] = world.hosts as [SimHost, SimHost];
  const got: unknown[] = [];
  b.on('inbox', (message: unknown) => got.push(message));
  return [a, b, got];
}

function sendMany(world: World, from: SimHost, count: number): void {
  for (let index = 0; index < count; index += 1) {
    world.schedule(world.nowUs + index, 'test', 'send', null, () => from.send('h1/inbox', index));
  }
}

test('a calm network delivers everything once, in order, late', () => {
  const world = worldOf(2);
  const [a, , got] = pair(world);
  sendMany(world, a, 100);
  world.run(400);
  assert.deepEqual(got, []);
  world.run(10_000);
  assert.deepEqual(
    got,
    Array.from({ length: 100 }, (_, index) => index),
  );
});

test('loss, duplication and reordering happen about as often as the plan says', () => {
  const network = { ...calmPlan.network, reorderMaxUs: 50_000 };
  const drawn = (change: object): readonly number[] => {
    const world = worldOf(2, { ...calmPlan, network: { ...network, ...change } });
    const [a, , got] = pair(world);
    sendMany(world, a, 1_000);
    world.run(1_000_000);
    return got as number[];
  };
  const lossy = drawn({ lossPermyriad: 2_000 });
  assert.ok(lossy.length > 700 && lossy.length < 900, `${lossy.length}`);
  const doubled = drawn({ duplicatePermyriad: 2_000 });
  assert.ok(doubled.length > 1_100 && doubled.length < 1_300, `${doubled.length}`);
  const shuffled = drawn({ reorderPermyriad: 2_000 });
  assert.equal(shuffled.length, 1_000);
  assert.notDeepEqual(
    shuffled,
    [...shuffled].sort((x, y) => x - y),
  );
});

test('a one-way partition silences one direction, also for what is under way', () => {
  const world = worldOf(2);
  const [a, b, got] = pair(world);
  const back: unknown[] = [];
  a.on('inbox', (message: unknown) => back.push(message));
  a.send('h1/inbox', 'under way');
  world.network.cut([0], true, 1);
  a.send('h1/inbox', 'cut');
  b.send('h0/inbox', 'the other way');
  world.run(10_000);
  assert.deepEqual([got, back], [[], ['the other way']]);
  world.network.cut([0], true, -1);
  a.send('h1/inbox', 'healed');
  world.run(20_000);
  assert.deepEqual(got, ['healed']);
});

test('a clog holds messages back and then lets all of them through', () => {
  const world = worldOf(2);
  const [a, , got] = pair(world);
  world.network.clog(0, 1, 1);
  sendMany(world, a, 3);
  world.run(1_000_000);
  assert.deepEqual(got, []);
  world.network.clog(0, 1, -1);
  world.run(1_000_001);
  assert.deepEqual(got, [0, 1, 2]);
});

test('nothing reaches a host that is down, and a late message reaches the restarted one', () => {
  const world = worldOf(2);
  const [a, b, got] = pair(world);
  b.crash();
  a.send('h1/inbox', 'lost');
  world.run(10_000);
  a.send('h1/inbox', 'late');
  b.restart();
  b.on('inbox', (message: unknown) => got.push(message));
  world.run(20_000);
  assert.deepEqual(got, ['late']);
});

function diskWorld(seed: number): readonly [World, SimHost, SimDisk] {
  const world = worldOf(1, calmPlan, seed);
  const [host] = world.hosts as [SimHost];
  return [world, host, host.disk];
}

function contentAfterCrash(host: SimHost): string | null {
  host.crash();
  host.restart();
  const state = host.disk.durableState()['f'];
  return state === undefined ? null : new TextDecoder().decode(state);
}

test('what was synced survives every crash; what was not survives by sectors or not at all', () => {
  const unsynced = new Set<string | null>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const [world, host, disk] = diskWorld(seed);
    disk.writeAt('f', 0, bytes('a'.repeat(512)), quiet);
    disk.fdatasync('f', quiet);
    disk.syncDir(quiet);
    world.run(10_000);
    disk.writeAt('f', 0, bytes('b'.repeat(1_024)), quiet);
    world.run(20_000);
    const content = contentAfterCrash(host) ?? '';
    assert.match(content, /^(?:a{512}|b{512})(?:b{512}|\0{512})?$/);
    unsynced.add(content.replace(/(.)\1*/g, '$1'));
  }
  assert.ok(unsynced.size >= 3, [...unsynced].join(' '));
});

test('a name lasts only once its directory was synced', () => {
  const seen = new Set<boolean>();
  for (let seed = 1; seed <= 20; seed += 1) {
    const [world, host, disk] = diskWorld(seed);
    disk.writeAt('g', 0, bytes('new'), quiet);
    disk.fdatasync('g', quiet);
    disk.rename('g', 'f', quiet);
    world.run(10_000);
    seen.add(contentAfterCrash(host) === 'new');
    const [again, sameHost, synced] = diskWorld(seed);
    synced.writeAt('g', 0, bytes('new'), quiet);
    synced.fdatasync('g', quiet);
    synced.rename('g', 'f', quiet);
    synced.syncDir(quiet);
    again.run(10_000);
    assert.equal(contentAfterCrash(sameHost), 'new');
  }
  assert.equal(seen.size, 2);
});

test('after a failed sync the data is lost, whatever a later sync answers', () => {
  const [world, host, disk] = diskWorld(3);
  disk.writeAt('f', 0, bytes('old'), quiet);
  disk.fdatasync('f', quiet);
  disk.syncDir(quiet);
  world.run(10_000);
  disk.fsyncFails = 1;
  const answers: boolean[] = [];
  disk.writeAt('f', 0, bytes('new'), quiet);
  disk.fdatasync('f', ({ ok }) => answers.push(ok));
  world.run(20_000);
  disk.fsyncFails = 0;
  disk.fdatasync('f', ({ ok }) => answers.push(ok));
  world.run(30_000);
  assert.deepEqual(answers, [false, true]);
  assert.equal(contentAfterCrash(host), 'old');
});

test('a full disk refuses writes, a stalled one answers when it goes on, a rotten bit stays', () => {
  const [world, host, disk] = diskWorld(1);
  const answers: string[] = [];
  disk.full = 1;
  disk.writeAt('f', 0, bytes('x'), (outcome) =>
    answers.push(outcome.ok ? 'ok' : `${outcome.error.errno}`),
  );
  world.run(10_000);
  disk.full = 0;
  disk.stall(1);
  disk.writeAt('f', 0, bytes('abc'), () => answers.push('written'));
  disk.fdatasync('f', quiet);
  disk.syncDir(quiet);
  world.run(1_000_000);
  assert.deepEqual(answers, ['ENOSPC']);
  disk.stall(-1);
  world.run(1_010_000);
  assert.deepEqual(answers, ['ENOSPC', 'written']);
  assert.equal(disk.rot(), true);
  const rotten = contentAfterCrash(host);
  assert.equal(rotten?.length, 3);
  assert.notEqual(rotten, 'abc');
});

test('a crash drops what the disk was asked for', () => {
  const [world, host, disk] = diskWorld(1);
  disk.writeAt('f', 0, bytes('x'), () => assert.fail('a completion of a dead process'));
  host.crash();
  world.run(10_000);
  assert.equal(world.violation, null);
});

test('a log that ends before what it said is durable is told, unless it says so itself', () => {
  const recovery = new LogRecovery();
  const founding = founder([1]);
  const opened = (entries: Restored['entries'], damagedIndex: number | null = null) =>
    recovery.opened('host-0', { ...founding, entries, damagedIndex });
  const entry = (index: number, term: number) => ({ kind: 'noop', index, term }) as const;
  const log = recovery.watched('host-0', {
    ...({} as RaftLog),
    write: (_, done) => done({ ok: true, value: undefined }),
  });
  const { hardState } = founding;
  const entries = [entry(1, 1), entry(2, 3)];
  assert.equal(opened([]), null);
  log.write({ type: 'persist', token: 1, hardState, snapshot: null, entries }, () => {});
  assert.equal(opened(entries), null);
  assert.match(opened([entry(1, 1)]) ?? '', /had 2:3 on its disk, ends in 1:1/);
  assert.equal(opened([entry(1, 1)], 2), null);
  // Overwritten by a later leader, who need not have had as many.
  assert.equal(opened([entry(1, 4)]), null);
});
