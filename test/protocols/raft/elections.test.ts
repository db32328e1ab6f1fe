/** Who leads, for how long, and what deposes a leader. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { founder } from '../../../src/protocols/raft/fresh.ts';
import { createRaft } from '../../../src/protocols/raft/raft.ts';
import type { Effect, Message, Raft, Restored, Role } from '../../../src/protocols/raft/types.ts';
import { followersOf, statusOf, withLeader } from './network.ts';

const SECOND = 1_000_000;

function alone(restored: Restored): Raft {
  const raft = createRaft({ id: 1, restored, random: { below: () => 0 } });
  raft.step({ type: 'start', nowUs: 0 });
  return raft;
}

function sent<T extends Message['type']>(
  effects: readonly Effect[],
  type: T,
): readonly Extract<Message, { type: T }>[] {
  return effects.flatMap((effect) =>
    effect.type === 'send' && effect.message.type === type
      ? [effect.message as Extract<Message, { type: T }>]
      : [],
  );
}

test('a replica that was cut off comes back without deposing the leader', () => {
  const { network, leader } = withLeader();
  const { term } = statusOf(leader);
  const [lonely] = followersOf(network, leader);
  assert.ok(lonely !== undefined);
  network.isolate(lonely.id);
  network.run(3 * SECOND);
  assert.equal(statusOf(lonely).role satisfies Role, 'preCandidate');
  network.cut.clear();
  network.run(SECOND);
  assert.deepEqual(
    [...network.hosts.values()].map((host) => [statusOf(host).term, statusOf(host).leader]),
    [1, 2, 3].map(() => [term, leader.id]),
  );
});

test('a leader that no majority answers steps down, and the rest elect another', () => {
  const { network, leader } = withLeader();
  network.isolate(leader.id);
  network.run(300_000);
  assert.equal(statusOf(leader).role, 'follower');
  assert.ok(network.run(SECOND, () => network.leader !== null));
  assert.notEqual(network.leader?.id, leader.id);
});

test('a campaign that nobody asked for is not heard while the leader is', () => {
  const { network, leader } = withLeader();
  const { term } = statusOf(leader);
  for (const host of network.hosts.values()) {
    network.input(host.id, {
      type: 'message',
      message: {
        type: 'voteRequest',
        ...{ from: 9, to: host.id, term: term + 10, lastIndex: 99, lastTerm: 99 },
        ...{ transfer: false, unanimous: false },
      },
    });
  }
  assert.deepEqual(
    [...network.hosts.values()].map((host) => statusOf(host).term),
    [term, term, term],
  );
});

test('a leader whose disk stalls hands over and steps down', () => {
  const { network, leader } = withLeader();
  network.stalled.add(leader.id);
  network.propose(leader.id, Uint8Array.of(1));
  assert.ok(network.run(SECOND, () => network.leader !== null && network.leader !== leader));
  assert.ok(
    network.answers.some(
      (effect) => effect.type === 'roleChanged' && /stalled/.test(effect.reason),
    ),
  );
  network.stalled.clear();
  assert.ok(network.makesProgress(5 * SECOND));
});

test('leadership goes where it is sent, without an election time-out between', () => {
  const { network, leader } = withLeader();
  const [heir] = followersOf(network, leader);
  assert.ok(heir !== undefined);
  const from = network.timeUs;
  network.input(leader.id, { type: 'transferLeadership', to: heir.id });
  assert.equal(
    network.propose(leader.id, Uint8Array.of(1)) > 0 && network.answers.at(-1)?.type,
    'proposalRejected',
  );
  assert.ok(network.run(SECOND, () => network.leader === heir));
  assert.ok(network.timeUs - from < 10_000, `${network.timeUs - from} us`);
  network.run(SECOND);
  const ended = network.answers.find(({ type }) => type === 'transferEnded');
  assert.deepEqual(ended, {
    type: 'transferEnded',
    to: heir.id,
    ok: true,
    reason: 'it leads now',
  });
});

test('a transfer to a replica that is gone ends, and proposals are taken again', () => {
  const { network, leader } = withLeader();
  const [gone] = followersOf(network, leader);
  assert.ok(gone !== undefined);
  gone.crash(0);
  network.propose(leader.id, Uint8Array.of(1));
  network.input(leader.id, { type: 'transferLeadership', to: gone.id });
  network.run(SECOND);
  assert.equal(network.leader, leader);
  const ended = network.answers.find(({ type }) => type === 'transferEnded');
  assert.ok(ended?.type === 'transferEnded' && !ended.ok);
  network.propose(leader.id, Uint8Array.of(2));
  assert.equal(network.answers.at(-1)?.type, 'proposed');
});

test('a vote is remembered across a restart, and counts for nobody before it is durable', () => {
  const candidate = (from: number): Message => ({
    type: 'voteRequest',
    ...{ from, to: 1, term: 1, lastIndex: 0, lastTerm: 0 },
    ...{ transfer: false, unanimous: false },
  });
  const raft = alone(founder([1, 2, 3]));
  const effects = raft.step({ type: 'message', message: candidate(2), nowUs: 1 });
  const persist = effects[0];
  assert.ok(persist?.type === 'persist' && persist.hardState.vote === 2);
  const reply = effects.find(({ type }) => type === 'send');
  assert.ok(reply?.type === 'send' && reply.after === persist.token);
  const again = alone({ ...founder([1, 2, 3]), hardState: persist.hardState });
  const answer = again.step({ type: 'message', message: candidate(3), nowUs: 1_000_000 });
  assert.deepEqual(
    sent(answer, 'voteReply').map(({ granted }) => granted),
    [false],
  );
});

test('a restarted replica protects the leader that it may have promised a lease', () => {
  const restored = { ...founder([1, 2, 3]), hardState: { term: 4, vote: null, commit: 0 } };
  const raft = alone(restored);
  const message: Message = {
    type: 'voteRequest',
    ...{ from: 2, to: 1, term: 5, lastIndex: 9, lastTerm: 4 },
    ...{ transfer: false, unanimous: false },
  };
  raft.step({ type: 'message', message, nowUs: 149_999 });
  assert.equal(raft.status().term, 4);
  raft.step({ type: 'message', message, nowUs: 150_000 });
  assert.equal(raft.status().term, 5);
});

test('a write that fails ends this life: nothing is said, everything is refused', () => {
  const { network, leader } = withLeader();
  network.input(leader.id, { type: 'persistFailed', reason: 'EIO' });
  assert.equal(statusOf(leader).halted, 'EIO');
  network.answers.length = 0;
  network.propose(leader.id, Uint8Array.of(1));
  network.read(leader.id, 'stale');
  assert.deepEqual(
    network.answers.map((effect) => ('code' in effect ? effect.code : effect.type)),
    ['halted', 'halted'],
  );
  const before = network.carried.length;
  network.run(2 * SECOND);
  assert.ok(network.carried.slice(before).every(({ from }) => from !== leader.id));
  assert.notEqual(network.leader, leader);
});
