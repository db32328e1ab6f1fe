/** Snapshots: cut where the log says, sent in chunks, taken up where they were left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { followersOf, type Network, statusOf, withLeader } from './network.ts';
import type { TestHost } from './test-host.ts';

const SECOND = 1_000_000;

/** A follower so far behind that its entries are compacted everywhere, still cut off. */
function withStraggler(): { network: Network; leader: TestHost; straggler: TestHost } {
  const { network, leader } = withLeader({ limits: { snapshotChunkBytes: 2 } });
  const [straggler] = followersOf(network, leader);
  assert.ok(straggler !== undefined);
  network.isolate(straggler.id);
  for (let count = 0; count < 30; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(20_000);
  }
  network.run(200_000);
  assert.ok(statusOf(leader).firstIndex > statusOf(straggler).lastIndex + 1);
  return { network, leader, straggler };
}

function chunksTo(network: Network, id: number, from = 0): readonly number[] {
  return network.carried
    .slice(from)
    .flatMap((message) =>
      message.type === 'snapshotChunk' && message.to === id ? [message.offset] : [],
    );
}

/** Runs until about half of the snapshot is durable at the straggler. */
function halfWay(network: Network, straggler: TestHost): void {
  network.cut.clear();
  assert.ok(network.run(SECOND, () => straggler.disk.receivedBytes >= 20));
}

test('replicas cut at the same indices and get the same bytes', () => {
  const { network, leader } = withLeader();
  for (let count = 0; count < 30; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(20_000);
  }
  network.run(200_000);
  const names = [...network.hosts.values()].map((host) => {
    const { index, digest } = statusOf(host).snapshot;
    return `${index}:${digest}`;
  });
  assert.equal(new Set(names).size, 1);
  assert.equal(statusOf(leader).snapshot.index % 8, 0);
  const { firstIndex, snapshot } = statusOf(leader);
  assert.equal(firstIndex, snapshot.index - 1, 'two entries are kept below it');
});

test('a straggler gets the snapshot in order, chunk by chunk, and then the log', () => {
  const { network, leader, straggler } = withStraggler();
  network.cut.clear();
  network.run(2 * SECOND);
  const offsets = chunksTo(network, straggler.id);
  assert.deepEqual(
    offsets,
    [...offsets].sort((a, b) => a - b),
  );
  assert.equal(new Set(offsets).size, offsets.length, 'none twice');
  assert.equal(statusOf(straggler).commitIndex, statusOf(leader).commitIndex);
  assert.deepEqual(straggler.machine, leader.machine);
});

test('another leader goes on where the first one stopped', () => {
  const { network, leader, straggler } = withStraggler();
  halfWay(network, straggler);
  leader.crash(0);
  const before = network.carried.length;
  assert.ok(network.run(3 * SECOND, () => network.leader !== null && network.leader !== leader));
  network.run(2 * SECOND);
  const offsets = chunksTo(network, straggler.id, before);
  assert.ok((offsets[0] ?? 0) >= 20, `went on at ${offsets[0]}`);
  assert.equal(statusOf(straggler).snapshot.digest, straggler.disk.snapshot.digest);
  assert.deepEqual(straggler.machine, network.leader?.machine);
});

test('a straggler that restarts goes on with what its disk has', () => {
  const { network, leader, straggler } = withStraggler();
  halfWay(network, straggler);
  straggler.crash(0);
  network.run(50_000);
  const before = network.carried.length;
  network.boot(straggler.id);
  network.run(2 * SECOND);
  const offsets = chunksTo(network, straggler.id, before);
  assert.ok((offsets[0] ?? 0) >= 20, `went on at ${offsets[0]}`);
  assert.deepEqual(straggler.machine, leader.machine);
});

test('a snapshot in use outlives a newer one, and goes when nobody reads it', () => {
  const { network, leader, straggler } = withStraggler();
  halfWay(network, straggler);
  const { index } = statusOf(leader).snapshot;
  network.isolate(straggler.id);
  for (let count = 0; count < 10; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(10_000);
  }
  assert.ok(statusOf(leader).snapshot.index > index);
  assert.equal(leader.disk.files.size, 2, 'the one being sent and the newest');
  assert.ok(statusOf(leader).firstIndex <= index + 1, 'with the entries that follow it');
  network.cut.clear();
  network.run(2 * SECOND);
  assert.equal(statusOf(straggler).commitIndex, statusOf(leader).commitIndex);
  assert.equal(leader.disk.files.size, 1);
});

test('bytes that do not match their digest are thrown away, and asked for again', () => {
  const { network, leader, straggler } = withStraggler();
  halfWay(network, straggler);
  straggler.disk.corruptReceived();
  network.run(3 * SECOND);
  const zeros = chunksTo(network, straggler.id).filter((offset) => offset === 0);
  assert.equal(zeros.length, 2, 'it began anew once');
  assert.deepEqual(straggler.machine, leader.machine);
});
