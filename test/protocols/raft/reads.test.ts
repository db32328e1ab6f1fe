/** Reads by the guarantee that their caller names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Effect } from '../../../src/protocols/raft/types.ts';
import { Violation } from './checkers.ts';
import { followersOf, Network, statusOf, withLeader } from './network.ts';

function answerTo(network: Network, requestId: number): Effect | undefined {
  return network.answers.find((effect) => 'requestId' in effect && effect.requestId === requestId);
}

function guaranteeOf(network: Network, requestId: number): string {
  const answer = answerTo(network, requestId);
  return answer?.type === 'readReady' ? answer.guarantee : (answer?.type ?? 'none');
}

test('a linearizable read costs a round, on the leader and on a follower', () => {
  const { network, leader } = withLeader();
  const [follower] = followersOf(network, leader);
  assert.ok(follower !== undefined);
  const reads = [leader.id, follower.id].map((id) => network.read(id, 'linearizable'));
  assert.deepEqual(
    reads.map((id) => guaranteeOf(network, id)),
    ['none', 'none'],
  );
  network.run(20_000);
  assert.deepEqual(
    reads.map((id) => guaranteeOf(network, id)),
    ['linearizable', 'linearizable'],
  );
});

test('reads that come while a round is under way share the next one', () => {
  const { network, leader } = withLeader();
  const before = network.carried.length;
  const reads = Array.from({ length: 8 }, () => network.read(leader.id, 'linearizable'));
  network.run(10_000);
  assert.ok(reads.every((id) => guaranteeOf(network, id) === 'linearizable'));
  const heartbeats = network.carried.slice(before).filter(({ type }) => type === 'heartbeat');
  assert.ok(heartbeats.length <= 6, `${heartbeats.length} heartbeats for 8 reads`);
});

test('a lease read is answered in the step that asks, without a message', () => {
  const { network, leader } = withLeader();
  const before = network.carried.length;
  assert.equal(guaranteeOf(network, network.read(leader.id, { maxDriftPpm: 200 })), 'lease');
  assert.equal(network.carried.length, before);
  assert.equal(guaranteeOf(network, network.read(leader.id, 'stale')), 'stale');
  for (const maxDriftPpm of [-1, 1_000_000, Number.NaN]) {
    assert.notEqual(guaranteeOf(network, network.read(leader.id, { maxDriftPpm })), 'lease');
  }
});

test('a lease ends with the last confirmed round: later it is a linearizable read', () => {
  const { network, leader } = withLeader();
  network.isolate(leader.id);
  network.run(149_000);
  assert.equal(statusOf(leader).role, 'leader');
  const read = network.read(leader.id, { maxDriftPpm: 200_000 });
  assert.equal(guaranteeOf(network, read), 'none');
  network.run(300_000);
  assert.equal(guaranteeOf(network, read), 'readRejected', 'it lost its office first');
});

test('a lease is never used again in a term once leadership was handed over', () => {
  const { network, leader } = withLeader();
  const [heir] = followersOf(network, leader);
  assert.ok(heir !== undefined);
  // The hand-over is on its way for ever: it may still arrive.
  network.cut.add(`${leader.id}>${heir.id}`);
  network.input(leader.id, { type: 'transferLeadership', to: heir.id });
  const read = network.read(leader.id, { maxDriftPpm: 0 });
  assert.notEqual(guaranteeOf(network, read), 'lease');
  network.run(20_000);
  assert.equal(guaranteeOf(network, read), 'linearizable');
});

test('a new leader answers no read before it has committed in its term', () => {
  const { network, leader } = withLeader();
  network.propose(leader.id, Uint8Array.of(1));
  network.run(100_000);
  leader.crash(0);
  assert.ok(network.run(2_000_000, () => network.leader !== null));
  const next = network.leader;
  assert.ok(next !== null);
  const { commitIndex, lastIndex } = statusOf(next);
  assert.ok(commitIndex < lastIndex, 'its own entry is under way');
  const reads = [{ maxDriftPpm: 0 }, 'linearizable' as const].map((guarantee) =>
    network.read(next.id, guarantee),
  );
  assert.deepEqual(
    reads.map((id) => guaranteeOf(network, id)),
    ['none', 'none'],
  );
  network.run(50_000);
  for (const id of reads) {
    const answer = answerTo(network, id);
    assert.ok(answer?.type === 'readReady' && answer.index >= lastIndex);
  }
});

test('more reads than the bound are refused, not kept', () => {
  const { network, leader } = withLeader();
  network.isolate(leader.id);
  const reads = Array.from({ length: 12 }, () => network.read(leader.id, 'linearizable'));
  const refused = reads.filter((id) => {
    const answer = answerTo(network, id);
    return answer?.type === 'readRejected' && answer.code === 'tooManyReads';
  });
  assert.equal(refused.length, 4);
});

/**
 * The leader's clock runs slow and is cut off from the rest, whose clocks run fast; it is asked for
 * lease reads all the while, as the rest elect another leader and commit.
 */
function staleReads(driftPpm: number, declaredPpm: number): number {
  let stale = 0;
  for (let offsetUs = 0; offsetUs < 50_000; offsetUs += 5_000) {
    const network = new Network({
      ...{ voters: 3, joiners: 0 },
      clock: (id, timeUs) => Math.floor(timeUs * (1 + ((id === 1 ? -1 : 1) * driftPpm) / 1e6)),
    });
    network.input(1, { type: 'campaign' });
    network.run(500_000 + offsetUs);
    assert.equal(network.leader?.id, 1);
    network.isolate(1);
    try {
      for (let at = 0; at < 150; at += 1) {
        network.run(2_000);
        const { leader } = network;
        if (leader !== null && leader.id !== 1) network.propose(leader.id, Uint8Array.of(at));
        network.read(1, { maxDriftPpm: declaredPpm });
      }
    } catch (error) {
      assert.ok(error instanceof Violation && error.checker === 'linearizable reads');
      stale += 1;
    }
  }
  return stale;
}

test('lease reads stay linearizable up to the declared drift, and break beyond it', () => {
  assert.equal(staleReads(150_000, 150_000), 0);
  assert.ok(staleReads(400_000, 0) > 0, 'clocks that drift more than declared make stale reads');
});
