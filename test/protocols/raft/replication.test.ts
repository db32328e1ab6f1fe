/** The log: what is counted, how far it may run ahead, and how it comes together again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { founder } from '../../../src/protocols/raft/fresh.ts';
import { createRaft } from '../../../src/protocols/raft/raft.ts';
import type { Input, Raft } from '../../../src/protocols/raft/types.ts';
import { followersOf, Network, statusOf, withLeader } from './network.ts';

/** Steps one core through a life; every write is durable at once. */
function driven(raft: Raft): (nowUs: number, input: Input) => void {
  return (nowUs, input) => {
    for (const effect of raft.step({ ...input, nowUs })) {
      if (effect.type === 'persist') raft.step({ type: 'persisted', token: effect.token, nowUs });
    }
  };
}

test("an older term's entry is committed only under one of the leader's own", () => {
  const raft = createRaft({
    id: 1,
    random: { below: () => 0 },
    restored: {
      ...founder([1, 2, 3]),
      hardState: { term: 2, vote: 1, commit: 0 },
      entries: [{ kind: 'noop', index: 1, term: 2 }],
    },
  });
  const step = driven(raft);
  const say = (message: object): void =>
    step(200_000, { type: 'message', message: { from: 2, to: 1, ...message } as never });
  step(0, { type: 'start' });
  step(200_000, { type: 'timer', id: 'election' });
  say({ type: 'preVoteReply', term: 3, granted: true });
  say({ type: 'voteReply', term: 3, granted: true });
  assert.equal(raft.status().role, 'leader');
  const reply = { type: 'appendReply', term: 3, round: 0, refused: null };
  say({ ...reply, matchIndex: 1 });
  assert.equal(raft.status().commitIndex, 0, 'index 1 is on a majority, but of term 2');
  say({ ...reply, matchIndex: 2 });
  assert.equal(raft.status().commitIndex, 2);
});

test('a leader does not count its own entry before its own disk has it', () => {
  const { network, leader } = withLeader();
  const [near, far] = followersOf(network, leader);
  assert.ok(near !== undefined && far !== undefined);
  network.isolate(far.id);
  network.stalled.add(leader.id);
  const { commitIndex } = statusOf(leader);
  network.propose(leader.id, Uint8Array.of(1));
  network.run(100_000);
  assert.equal(statusOf(near).stableIndex, commitIndex + 1);
  assert.equal(statusOf(leader).commitIndex, commitIndex);
  network.stalled.clear();
  network.run(50_000);
  assert.equal(statusOf(leader).commitIndex, commitIndex + 1);
});

test('what runs ahead is bounded: the window per follower, and all that is not committed', () => {
  const { network, leader } = withLeader();
  const [near, far] = followersOf(network, leader);
  for (const host of [near, far]) network.cut.add(`${host?.id}>${leader.id}`);
  let taken = 0;
  for (let count = 0; count < 60; count += 1) {
    network.propose(leader.id, new Uint8Array(20));
    if (network.answers.at(-1)?.type === 'proposed') taken += 1;
  }
  const refusal = network.answers.at(-1);
  assert.ok(refusal?.type === 'proposalRejected' && refusal.code === 'uncommittedLimit');
  const { uncommittedBytes, peers } = statusOf(leader);
  assert.ok(taken > 5 && uncommittedBytes <= 600, `${taken} taken, ${uncommittedBytes} bytes`);
  for (const { inflightMessages, inflightBytes } of peers) {
    assert.ok(inflightMessages <= 3 && inflightBytes < 400 + 200);
  }
  network.cut.clear();
  network.run(1_000_000);
  assert.equal(statusOf(leader).uncommittedBytes, 0);
  network.propose(leader.id, new Uint8Array(300));
  const tooLarge = network.answers.at(-1);
  assert.ok(tooLarge?.type === 'proposalRejected' && tooLarge.code === 'tooLarge');
});

test('appends do not wait for the answers of those before them', () => {
  const { network, leader } = withLeader({ limits: { inflightMessages: 64, inflightBytes: 9999 } });
  const before = network.carried.length;
  for (let count = 0; count < 5; count += 1) network.propose(leader.id, Uint8Array.of(count));
  const appends = network.carried
    .slice(before)
    .filter((message) => message.type === 'appendRequest' && message.entries.length > 0);
  assert.equal(appends.length, 10, 'five to each follower, in the same instant');
  network.run(50_000);
  assert.equal(statusOf(leader).commitIndex, statusOf(leader).lastIndex);
});

test('commands of one step share a write and a message', () => {
  const { network, leader } = withLeader({
    limits: { messageBytes: 9999, uncommittedBytes: 9999, inflightBytes: 9999 },
  });
  const before = network.carried.length;
  const writes = network.seen.get('persist') ?? 0;
  const commands = Array.from({ length: 20 }, (_, at) => ({
    requestId: 1_000 + at,
    data: Uint8Array.of(at),
  }));
  network.input(leader.id, { type: 'propose', commands });
  assert.equal((network.seen.get('persist') ?? 0) - writes, 1);
  const appends = network.carried.slice(before).filter(({ type }) => type === 'appendRequest');
  assert.deepEqual(
    appends.map((message) => (message.type === 'appendRequest' ? message.entries.length : 0)),
    [20, 20],
  );
});

test('a log that went another way is brought back in a few messages, however long it is', () => {
  const { network, leader } = withLeader({ limits: { uncommittedBytes: 99_999 } });
  network.isolate(leader.id);
  for (let count = 0; count < 100; count += 1) network.propose(leader.id, Uint8Array.of(1));
  assert.ok(network.run(2_000_000, () => network.leader !== null && network.leader !== leader));
  const next = network.leader;
  assert.ok(next !== null);
  network.run(200_000);
  const before = network.carried.length;
  network.cut.clear();
  network.run(500_000);
  assert.equal(statusOf(leader).lastIndex, statusOf(next).lastIndex);
  assert.equal(statusOf(leader).commitIndex, statusOf(next).commitIndex);
  const refusals = network.carried
    .slice(before)
    .filter((message) => message.type === 'appendReply' && message.refused !== null);
  assert.ok(refusals.length <= 3, `${refusals.length} refusals for 100 entries`);
});

test('a promise that a damaged log cannot keep is withdrawn, and the entries are sent again', () => {
  const { network, leader } = withLeader();
  const [follower] = followersOf(network, leader);
  assert.ok(follower !== undefined);
  for (let count = 0; count < 4; count += 1) network.propose(leader.id, Uint8Array.of(count));
  network.run(100_000);
  const { lastIndex } = statusOf(follower);
  follower.crash(0);
  follower.disk.damageFrom(3);
  network.boot(follower.id);
  assert.equal(statusOf(follower).lastIndex, 2);
  network.run(1_000_000);
  assert.equal(network.leader, leader);
  assert.equal(statusOf(follower).lastIndex, lastIndex);
  assert.equal(statusOf(follower).commitIndex, statusOf(leader).commitIndex);
});

test('a kept tail that ends below the snapshot is left aside: the snapshot covers it', () => {
  const snapshot = { ...founder([1]).snapshot, index: 10, term: 2, sizeBytes: 1, digest: 'd' };
  const raft = createRaft({
    id: 1,
    random: { below: () => 0 },
    restored: {
      ...founder([1]),
      hardState: { term: 2, vote: 1, commit: 12 },
      snapshot,
      compacted: { index: 7, term: 1 },
      entries: [{ kind: 'noop', index: 8, term: 2 }],
      appliedIndex: 10,
      damagedIndex: 12,
    },
  });
  const { firstIndex, lastIndex, commitIndex } = raft.status();
  assert.deepEqual(
    { firstIndex, lastIndex, commitIndex },
    {
      firstIndex: 11,
      lastIndex: 10,
      commitIndex: 10,
    },
  );
});

test('a group of one commits when its disk has it', () => {
  const network = new Network({ voters: 1, joiners: 0 });
  assert.ok(network.makesProgress(2_000_000));
});
