/** Members come and go while the group works. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigurationChange } from '../../../src/protocols/raft/types.ts';
import { followersOf, type Network, statusOf, withLeader } from './network.ts';

const SECOND = 1_000_000;
const add = (id: number): ConfigurationChange => ({ op: 'addVoter', id });
const learn = (id: number): ConfigurationChange => ({ op: 'addLearner', id });
const remove = (id: number): ConfigurationChange => ({ op: 'remove', id });

function lastCode(network: Network): string | undefined {
  const answer = network.answers.findLast(
    ({ type }) => type === 'proposed' || type === 'proposalRejected',
  );
  return answer?.type === 'proposalRejected' ? answer.code : answer?.type;
}

function votersOf(network: Network): readonly number[] {
  const { leader } = network;
  return leader === null ? [] : [...statusOf(leader).configuration.voters];
}

test('three replicas are replaced by three others in one joint change', () => {
  const { network, leader } = withLeader({ joiners: 3 });
  for (let count = 0; count < 20; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(20_000);
  }
  const changes = [add(4), add(5), add(6), remove(1), remove(2), remove(3)];
  network.change(leader.id, changes, true);
  assert.deepEqual([...statusOf(leader).configuration.votersOutgoing], [1, 2, 3]);
  const done = network.run(10 * SECOND, () => {
    const next = network.leader;
    return next !== null && next.id > 3 && statusOf(next).configuration.votersOutgoing.size === 0;
  });
  assert.ok(done, 'the new three lead themselves');
  assert.deepEqual(votersOf(network), [4, 5, 6]);
  for (const id of [1, 2, 3]) network.host(id).crash(0);
  assert.ok(network.makesProgress(5 * SECOND), 'and need nobody of the old three');
});

test('a joint group needs both halves: neither alone commits', () => {
  const { network, leader } = withLeader({ joiners: 2 });
  network.change(leader.id, [learn(4), learn(5)], false);
  network.run(SECOND);
  // Without leaving by itself, so that the group stays joint.
  network.input(leader.id, {
    type: 'changeConfiguration',
    ...{ requestId: 900, mode: 'enterJoint', autoLeave: false },
    changes: [add(4), add(5)],
  });
  network.run(SECOND);
  const [near] = followersOf(network, leader).filter(({ id }) => id <= 3);
  assert.ok(near !== undefined);
  const { commitIndex } = statusOf(leader);
  for (const { id } of network.hosts.values()) {
    if (id !== leader.id && id !== near.id) network.isolate(id);
  }
  network.propose(leader.id, Uint8Array.of(1));
  network.run(100_000);
  assert.equal(statusOf(leader).commitIndex, commitIndex, 'two of three, but two of five');
  network.cut.clear();
  network.run(SECOND);
  assert.ok(statusOf(leader).commitIndex > commitIndex);
  network.input(leader.id, {
    type: 'changeConfiguration',
    ...{ requestId: 901, mode: 'leaveJoint', changes: [], autoLeave: false },
  });
  network.run(SECOND);
  assert.deepEqual(votersOf(network), [1, 2, 3, 4, 5]);
});

test('a learner gets everything, counts for nothing, never stands, and can be promoted', () => {
  const { network, leader } = withLeader({ joiners: 1 });
  for (let count = 0; count < 20; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(20_000);
  }
  network.change(leader.id, [learn(4)], false);
  network.run(2 * SECOND);
  assert.equal(statusOf(network.host(4)).commitIndex, statusOf(leader).commitIndex);
  const followers = followersOf(network, leader).filter(({ id }) => id !== 4);
  for (const { id } of followers) network.isolate(id);
  const { commitIndex } = statusOf(leader);
  network.propose(leader.id, Uint8Array.of(1));
  network.run(100_000);
  assert.equal(statusOf(leader).commitIndex, commitIndex, 'a learner makes no majority');
  network.cut.clear();
  network.isolate(4);
  network.run(2 * SECOND);
  assert.equal(statusOf(network.host(4)).role, 'follower');
  network.cut.clear();
  network.run(SECOND);
  const now = network.leader;
  assert.ok(now !== null);
  network.change(now.id, [add(4)], false);
  network.run(SECOND);
  assert.deepEqual(votersOf(network), [1, 2, 3, 4]);
});

test('a leader that is removed goes on until that is committed, then hands over', () => {
  const { network, leader } = withLeader();
  network.change(leader.id, [remove(leader.id)], false);
  assert.equal(statusOf(leader).role, 'leader');
  assert.ok(network.run(SECOND, () => network.leader !== null && network.leader !== leader));
  network.run(3 * SECOND);
  assert.equal(statusOf(leader).role, 'follower');
  assert.equal(votersOf(network).includes(leader.id), false);
  assert.ok(network.makesProgress(2 * SECOND));
});

test('a second change waits for the first, and the first for a commit of the own term', () => {
  const { network, leader } = withLeader({ joiners: 2 });
  for (const { id } of followersOf(network, leader)) network.isolate(id);
  network.change(leader.id, [learn(4)], false);
  assert.equal(lastCode(network), 'proposed');
  network.change(leader.id, [learn(5)], false);
  assert.equal(lastCode(network), 'changePending');
  network.cut.clear();
  network.run(SECOND);
  const now = network.leader;
  assert.ok(now !== null);
  now.crash(0);
  assert.ok(network.run(3 * SECOND, () => network.leader !== null));
  const next = network.leader;
  assert.ok(next !== null);
  network.change(next.id, [learn(5)], false);
  assert.equal(lastCode(network), 'noCommitInTerm');
  network.run(SECOND);
  network.change(next.id, [learn(5)], false);
  assert.equal(lastCode(network), 'proposed');
});

test('the configuration survives a restart from a snapshot, and a crash takes an unsynced one away', () => {
  const { network, leader } = withLeader({ joiners: 1 });
  network.change(leader.id, [learn(4)], false);
  for (let count = 0; count < 30; count += 1) {
    network.propose(leader.id, Uint8Array.of(count));
    network.run(20_000);
  }
  assert.ok(statusOf(leader).snapshot.index > statusOf(leader).configurationIndex);
  leader.crash(0);
  network.boot(leader.id);
  assert.deepEqual([...statusOf(leader).configuration.learners], [4]);
  network.run(2 * SECOND);
  const now = network.leader;
  assert.ok(now !== null);
  network.stalled.add(now.id);
  for (const { id } of followersOf(network, now)) network.isolate(id);
  network.change(now.id, [remove(4)], false);
  assert.equal(statusOf(now).configuration.learners.size, 0);
  now.crash(0);
  network.boot(now.id);
  assert.deepEqual([...statusOf(now).configuration.learners], [4]);
});
