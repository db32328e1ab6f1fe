/** What a replica's durable log gives back, and what it makes of a crash. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calmPlan, type SimHost, World } from '../../sim/index.ts';
import type { Entry, Restored } from '../../src/protocols/raft/types.ts';
import {
  ask,
  command,
  founding,
  type OpenLog,
  open,
  opened,
  persist,
  print,
  snapshotOf,
} from './log-rig.ts';
import { TestDisk } from './test-disk.ts';

const state = (term: number, vote: number | null = null, commit: number = 0) => ({
  term,
  vote,
  commit,
});

function fresh(): { readonly disk: TestDisk; readonly log: OpenLog } {
  const disk = new TestDisk();
  return { disk, log: opened(open(disk, () => disk.run())) };
}

function again(disk: TestDisk): Restored {
  return opened(open(disk, () => disk.run())).restored;
}

test('a new log starts from the founding state, however often it is opened', () => {
  const { disk, log } = fresh();
  assert.deepEqual(log.restored, founding);
  assert.deepEqual(again(disk), founding);
});

test('every kind of entry, the term, the vote and the commit come back', () => {
  const { disk, log } = fresh();
  const voters = new Set([1, 2, 9_007_199_254_740_991]);
  const entries: readonly Entry[] = [
    { kind: 'noop', index: 1, term: 3 },
    { kind: 'command', index: 2, term: 3, data: Uint8Array.from({ length: 2000 }, (_, at) => at) },
    {
      kind: 'configuration',
      index: 3,
      term: 3,
      configuration: {
        ...{ voters, votersOutgoing: new Set([1]), learners: new Set<number>() },
        ...{ learnersNext: new Set([4, 5]), autoLeave: true },
      },
    },
    { kind: 'command', index: 4, term: 4, data: new Uint8Array() },
  ];
  assert.equal(log.write(persist(state(4, 3, 2), entries)), undefined);
  const restored = again(disk);
  assert.deepEqual(restored.entries, entries);
  assert.deepEqual(restored.hardState, state(4, 3, 2));
  assert.equal(restored.damagedIndex, null);
});

test('an entry replaces everything from its index on', () => {
  const { disk, log } = fresh();
  log.write(
    persist(
      state(1),
      [1, 2, 3, 4].map((index) => command(index, 1)),
    ),
  );
  log.write(persist(state(2), [command(3, 2)]));
  assert.equal(print(again(disk).entries), '1@1 2@1 3@2');
});

test('writes that wait while a sync runs share the next one', () => {
  const { disk, log } = fresh();
  disk.counts.clear();
  const order: number[] = [];
  for (let index = 1; index <= 50; index += 1) {
    log.log.write(persist(state(0), [command(index, 0, 'x')]), () => order.push(index));
  }
  disk.run();
  assert.deepEqual(
    order,
    Array.from({ length: 50 }, (_, at) => at + 1),
  );
  // The first alone, the other 49 together, and one for the file that grew meanwhile.
  assert.ok((disk.counts.get('fdatasync') ?? 0) <= 4, `${disk.counts.get('fdatasync')} syncs`);
  assert.equal(again(disk).entries.length, 50);
});

test('a term is durable before an entry of it is written', () => {
  const { disk, log } = fresh();
  const before = disk.copy();
  log.write(persist(state(7, 1), [command(1, 7)]));
  const segment = 'raft/000000000001.log';
  const torn = disk.copy();
  torn.files.set(segment, before.files.get(segment) ?? new Uint8Array());
  assert.deepEqual(again(torn).hardState, state(7, 1));
  torn.files.set(segment, disk.files.get(segment) ?? new Uint8Array());
  torn.files.set('raft/state', before.files.get('raft/state') ?? new Uint8Array());
  assert.equal(again(torn).voteDamaged, true);
});

test('segments follow one another, and compaction drops those that only hold what is compacted', () => {
  const { disk, log } = fresh();
  const segments = (): string[] => [...disk.files.keys()].filter((name) => name.endsWith('.log'));
  for (let index = 1; index <= 40; index += 1) {
    log.write(persist(state(1, null, index - 1), [command(index, 1, 'x'.repeat(300))]));
  }
  assert.ok(segments().length >= 4, segments().join(' '));
  const data = new TextEncoder().encode('state of the machine');
  const snapshot = snapshotOf(35, 1, data);
  assert.equal(
    ask<void>(
      () => disk.run(),
      (done) => log.log.saveSnapshot(snapshot, data, done),
    ),
    undefined,
  );
  assert.equal(print(again(disk).entries), '36@1 37@1 38@1 39@1 40@1');
  log.write({ type: 'compact', throughIndex: 30, throughTerm: 1, snapshotIndex: 35 });
  const restored = again(disk);
  assert.deepEqual(restored.compacted, { index: 30, term: 1 });
  assert.deepEqual(restored.snapshot, snapshot);
  assert.equal(restored.entries[0]?.index, 31);
  assert.equal(restored.appliedIndex, 35);
  assert.ok(segments().length <= 3, segments().join(' '));
  assert.ok(!segments().includes('raft/000000000001.log'));
});

test('a snapshot is received in pieces, goes on after a restart, and replaces the log', () => {
  const { disk, log } = fresh();
  const run = (): void => disk.run();
  log.write(persist(state(2), [command(1, 1), command(2, 1)]));
  const data = Uint8Array.from({ length: 3000 }, (_, at) => at * 7);
  const snapshot = snapshotOf(20, 2, data);
  const chunk = (to: OpenLog, offset: number): unknown =>
    to.write({
      type: 'persistSnapshotChunk',
      ...{ token: 1, snapshot, offset, data: data.slice(offset, offset + 1000) },
    });
  chunk(log, 0);
  chunk(log, 1000);
  const next = opened(open(disk, run));
  const { partialSnapshot } = next.restored;
  assert.deepEqual(partialSnapshot?.snapshot, snapshot);
  // What the last write said was synced before it.
  assert.equal(partialSnapshot?.receivedBytes, 1000);
  chunk(next, 1000);
  chunk(next, 2000);
  assert.equal(
    ask<boolean>(run, (done) => next.log.verifySnapshot(snapshot, done)),
    true,
  );
  assert.equal(next.write(persist(state(2, null, 20), [command(21, 2)], snapshot)), undefined);
  const restored = again(disk);
  assert.deepEqual(restored.snapshot, snapshot);
  assert.equal(restored.compacted, null);
  assert.equal(restored.partialSnapshot, null);
  assert.equal(print(restored.entries), '21@2');
  const part = ask<Uint8Array>(run, (done) => next.log.readSnapshot(snapshot, 990, 20, done));
  assert.deepEqual(part, data.slice(990, 1010));
});

test('received bytes that are not what their name says are told', () => {
  const { disk, log } = fresh();
  const data = new TextEncoder().encode('the right bytes');
  const snapshot = snapshotOf(20, 2, data);
  const wrong = new TextEncoder().encode('the wrong bytes');
  log.write({ type: 'persistSnapshotChunk', token: 1, snapshot, offset: 0, data: wrong });
  const verify = (): unknown =>
    ask<boolean>(
      () => disk.run(),
      (done) => log.log.verifySnapshot(snapshot, done),
    );
  assert.equal(verify(), false);
  log.write({ type: 'discardSnapshot', snapshot, received: true });
  assert.equal(disk.files.has('raft/partial'), false);
  log.write({ type: 'persistSnapshotChunk', token: 2, snapshot, offset: 0, data });
  assert.equal(verify(), true);
});

test('after one write failed nothing completes well any more', () => {
  const { disk, log } = fresh();
  disk.errno = 'ENOSPC';
  const refused = log.write(persist(state(0), [command(1, 0)]));
  assert.ok(refused instanceof Error && refused.code === 'ERR_DWCP_STORAGE');
  assert.equal(refused.errno, 'ENOSPC');
  assert.match(refused.message, /raft\/000000000001\.log, offset \d+/);
  disk.errno = null;
  assert.ok(log.write(persist(state(0), [command(1, 0)])) instanceof Error);
  assert.equal(again(disk).entries.length, 0);
});

test('a closed log has done what was asked before, and does nothing more', () => {
  const { disk, log } = fresh();
  const answers: string[] = [];
  log.log.write(persist(state(0), [command(1, 0)]), ({ ok }) => answers.push(`write ${ok}`));
  log.log.close(({ ok }) => answers.push(`close ${ok}`));
  log.log.write(persist(state(0), [command(2, 0)]), (outcome) =>
    answers.push(outcome.ok ? 'written' : outcome.error.code),
  );
  disk.run();
  assert.deepEqual(answers, ['write true', 'close true', 'ERR_DWCP_CLOSED']);
  assert.equal(print(again(disk).entries), '1@0');
});

function simulated(seed: number): readonly [SimHost, () => void] {
  const world = new World({ seed, plan: calmPlan, hosts: ['h'], clients: [] });
  const [host] = world.hosts;
  assert.ok(host);
  return [host, () => world.run(world.nowUs + 1_000_000)];
}

test('power lost in the middle of a batch: what was acknowledged is there, the rest whole or not at all', () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 150; seed += 1) {
    const [host, run] = simulated(seed);
    const log = opened(open(host.disk, run));
    log.write(persist(state(1), [command(1, 1), command(2, 1)]));
    const big = [3, 4, 5].map((index) => command(index, 1, 'y'.repeat(250)));
    log.log.write(persist(state(1, null, 2), big), () => {});
    host.world.run(host.world.nowUs + 400 + 5 * seed);
    host.crash();
    host.restart();
    const { restored } = opened(open(host.disk, run));
    const entries = print(restored.entries);
    assert.match(entries, /^1@1 2@1(?: 3@1 4@1 5@1)?$/);
    if (restored.damagedIndex !== null) assert.ok(restored.damagedIndex >= 3);
    seen.add(`${restored.entries.length} ${restored.damagedIndex === null}`);
    const damaged = opened(open(host.disk, run));
    assert.equal(damaged.restored.damagedIndex, restored.damagedIndex, 'it is not forgotten');
    damaged.write(persist(state(2), [command(restored.entries.length + 1, 2)]));
    const healed = opened(open(host.disk, run)).restored;
    assert.equal(healed.damagedIndex, null);
    assert.equal(healed.entries.length, restored.entries.length + 1);
  }
  assert.deepEqual([...seen].sort(), ['2 false', '2 true', '5 true']);
});

test('a write that lands elsewhere is never taken for what belongs there', () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 120; seed += 1) {
    const [host, run] = simulated(seed);
    const log = opened(open(host.disk, run));
    const lost = 1 + (seed % 6);
    for (let index = 1; index <= 6; index += 1) {
      if (index === lost) host.disk.misdirected = 1;
      log.write(persist(state(1), [command(index, 1, `entry ${index}`.repeat(30))]));
    }
    const result = open(host.disk, run);
    if (result instanceof Error) {
      assert.match(result.message, /raft\/.*offset \d+/);
      seen.add('refused');
      continue;
    }
    const { entries, damagedIndex, voteDamaged } = result.restored;
    const whole = [1, 2, 3, 4, 5, 6].map((index) => command(index, 1, `entry ${index}`.repeat(30)));
    assert.deepEqual(entries, whole.slice(0, entries.length));
    // Without a trace at its place, nobody can miss the very last write.
    const isSilent = entries.length < 6 && damagedIndex === null && !voteDamaged;
    if (isSilent) assert.equal(lost, 6, `seed ${seed}`);
    seen.add(isSilent ? 'the last one is missing' : damagedIndex === null ? 'whole' : 'damaged');
  }
  assert.ok(seen.has('refused'), [...seen].join(', '));
});

test('after a failed sync the next life writes again what only the kernel remembers', () => {
  // The file need not grow: the sync that fails is the batch's own, or the vote's.
  const roomy = { growthBytesMin: 8192 };
  for (let seed = 1; seed <= 20; seed += 1) {
    const [host, run] = simulated(seed);
    const log = opened(open(host.disk, run, roomy));
    log.write(persist(state(1), [command(1, 1)]));
    host.disk.fsyncFails = 1;
    const vote = seed % 2 === 0 ? state(1) : state(2, 3);
    assert.ok(log.write(persist(vote, [command(2, 1)])) instanceof Error);
    host.disk.fsyncFails = 0;
    // The process starts again; the machine, with its memory, goes on.
    const read = opened(open(host.disk, run, roomy)).restored;
    host.crash();
    host.restart();
    const { restored } = opened(open(host.disk, run, roomy));
    assert.equal(print(restored.entries), print(read.entries), `seed ${seed}`);
    assert.deepEqual(restored.hardState, read.hardState);
  }
});
