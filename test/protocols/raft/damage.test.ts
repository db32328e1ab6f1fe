/** A damaged end of the log: whom such a replica elects, and when it may lead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { founder } from '../../../src/protocols/raft/fresh.ts';
import { createRaft } from '../../../src/protocols/raft/raft.ts';
import type { Effect, Message, Raft, Restored } from '../../../src/protocols/raft/types.ts';
import { followersOf, statusOf, withLeader } from './network.ts';

const SECOND = 1_000_000;

/** One noop of term 1 is left; up to four more entries of term 1 may have been behind it. */
const damaged: Restored = {
  ...founder([1, 2, 3]),
  hardState: { term: 1, vote: null, commit: 0 },
  entries: [{ kind: 'noop', index: 1, term: 1 }],
  damagedIndex: 5,
};

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

function asked(
  restored: Restored,
  type: 'preVoteRequest' | 'voteRequest',
  last: { lastIndex: number; lastTerm: number },
  unanimous: boolean = false,
): string {
  const addressed = { from: 2, to: 1, term: 4, ...last };
  const message: Message =
    type === 'preVoteRequest'
      ? { type, ...addressed }
      : { type, ...addressed, transfer: false, unanimous };
  const effects = alone(restored).step({ type: 'message', message, nowUs: 1_000_000 });
  const [pre] = sent(effects, 'preVoteReply');
  if (pre !== undefined) return `${pre.granted}${pre.damaged ? ', damaged' : ''}`;
  return `${sent(effects, 'voteReply')[0]?.granted}`;
}

test('a damaged log votes for one that reaches where it may have ended, else only with all others', () => {
  const shorter = { lastIndex: 4, lastTerm: 1 };
  const longer = { lastIndex: 5, lastTerm: 1 };
  const newer = { lastIndex: 2, lastTerm: 2 };
  assert.equal(asked(damaged, 'preVoteRequest', shorter), 'true, damaged');
  assert.equal(asked(damaged, 'preVoteRequest', longer), 'true');
  assert.equal(asked(damaged, 'preVoteRequest', newer), 'true');
  assert.equal(asked(damaged, 'voteRequest', shorter), 'false');
  assert.equal(asked(damaged, 'voteRequest', shorter, true), 'true');
  assert.equal(asked(damaged, 'voteRequest', longer), 'true');
  assert.equal(asked(damaged, 'voteRequest', newer), 'true');
});

test('what a damaged log still has is above every vote, whoever else would give one', () => {
  const nothing = { lastIndex: 0, lastTerm: 0 };
  assert.equal(asked(damaged, 'preVoteRequest', nothing), 'false');
  assert.equal(asked(damaged, 'voteRequest', nothing, true), 'false');
});

test('a longer log of an older term does not reach what may have been lost in a newer one', () => {
  const restored = { ...damaged, hardState: { term: 3, vote: null, commit: 0 } };
  const old = { lastIndex: 9, lastTerm: 1 };
  assert.equal(asked(restored, 'voteRequest', old), 'false');
  assert.equal(asked({ ...restored, damagedTerm: 1 }, 'voteRequest', old), 'true');
});

test('a damaged vote never votes, and never stands', () => {
  const restored = { ...damaged, damagedIndex: null, voteDamaged: true };
  const last = { lastIndex: 9, lastTerm: 9 };
  assert.equal(asked(restored, 'preVoteRequest', last), 'false');
  assert.equal(asked(restored, 'voteRequest', last, true), 'false');
  const effects = alone(restored).step({ type: 'timer', id: 'election', nowUs: 1_000_000 });
  assert.deepEqual(
    effects.map(({ type }) => type),
    ['setTimer'],
  );
});

test('a damaged replica stands only when all voters granted, and says so', () => {
  const raft = alone(damaged);
  const nowUs = 1_000_000;
  raft.step({ type: 'timer', id: 'election', nowUs });
  const reply = (from: number): Message => ({
    type: 'preVoteReply',
    ...{ from, to: 1, term: 2, granted: true, damaged: false },
  });
  raft.step({ type: 'message', message: reply(2), nowUs });
  assert.equal(raft.status().role, 'preCandidate');
  const effects = raft.step({ type: 'message', message: reply(3), nowUs });
  assert.equal(raft.status().role, 'candidate');
  assert.deepEqual(
    sent(effects, 'voteRequest').map(({ to, unanimous }) => [to, unanimous]),
    [
      [2, true],
      [3, true],
    ],
  );
  const vote = (from: number, granted: boolean): Message => ({
    type: 'voteReply',
    ...{ from, to: 1, term: 2, granted },
  });
  raft.step({ type: 'persisted', token: 1, nowUs });
  raft.step({ type: 'message', message: vote(2, true), nowUs });
  assert.equal(raft.status().role, 'candidate');
  raft.step({ type: 'message', message: vote(3, true), nowUs });
  assert.equal(raft.status().role, 'leader');
});

test('a whole log that a damaged voter and itself would elect still asks all', () => {
  const whole = { ...damaged, damagedIndex: null };
  const raft = alone(whole);
  const nowUs = 1_000_000;
  raft.step({ type: 'timer', id: 'election', nowUs });
  const reply = (from: number, isDamaged: boolean): Message => ({
    type: 'preVoteReply',
    ...{ from, to: 1, term: 2, granted: true, damaged: isDamaged },
  });
  raft.step({ type: 'message', message: reply(2, true), nowUs });
  assert.equal(raft.status().role, 'preCandidate');
  const effects = raft.step({ type: 'message', message: reply(3, false), nowUs });
  assert.deepEqual(
    sent(effects, 'voteRequest').map(({ unanimous }) => unanimous),
    [false, false],
  );
});

test('a log shorter than what its leader heard acknowledged lost its end: it says so and is brought up', () => {
  const raft = alone({ ...damaged, damagedIndex: null });
  const message = { from: 2, to: 1, term: 2, round: 1 } as const;
  const nowUs = 1_000_000;
  const effects = raft.step({
    type: 'message',
    message: { type: 'heartbeat', ...message, commit: 5 },
    nowUs,
  });
  const [reply] = sent(effects, 'appendReply');
  assert.equal(reply?.refused?.damaged, true);
  assert.equal(reply.refused.hintIndex, 0, 'nothing above what is committed is certain');
  const entries = [2, 3, 4, 5].map((index) => ({ kind: 'noop', index, term: 2 }) as const);
  raft.step({
    type: 'message',
    message: {
      type: 'appendRequest',
      ...message,
      ...{ previousIndex: 1, previousTerm: 1, entries, commit: 5 },
    },
    nowUs,
  });
  const again = raft.step({
    type: 'message',
    message: { type: 'heartbeat', ...message, commit: 5 },
    nowUs,
  });
  assert.deepEqual(sent(again, 'appendReply'), [], 'it is whole again');
});

test('a group of three that all came back with a torn end goes on', () => {
  const { network, leader } = withLeader();
  for (let count = 0; count < 4; count += 1) network.propose(leader.id, Uint8Array.of(count));
  network.run(100_000);
  const { highestCommitted } = network.checkers;
  for (const host of network.hosts.values()) {
    host.crash(0);
    host.disk.tear(3);
  }
  for (const id of network.hosts.keys()) network.boot(id);
  assert.ok(network.makesProgress(20 * SECOND));
  assert.ok(network.checkers.highestCommitted > highestCommitted);
});

test('two torn replicas wait for the third: it may hold what they lost', () => {
  const { network, leader } = withLeader();
  network.propose(leader.id, Uint8Array.of(1));
  network.run(100_000);
  for (const host of network.hosts.values()) host.crash(0);
  const [first, second, third] = [...network.hosts.values()];
  assert.ok(first && second && third);
  for (const host of [first, second]) {
    host.disk.tear(1);
    network.boot(host.id);
  }
  network.run(10 * SECOND);
  assert.equal(network.leader, null);
  network.boot(third.id);
  assert.ok(network.makesProgress(20 * SECOND));
});

test('one damaged and one intact log that is longer: the intact one leads, nothing is lost', () => {
  const { network, leader } = withLeader();
  const [intact, late] = followersOf(network, leader);
  assert.ok(intact && late);
  network.isolate(late.id);
  for (let count = 0; count < 4; count += 1) network.propose(leader.id, Uint8Array.of(count));
  network.run(100_000);
  const { highestCommitted } = network.checkers;
  for (const host of network.hosts.values()) host.crash(0);
  // The last synced record of one of the two that hold what was acknowledged is flipped.
  leader.disk.damageFrom(highestCommitted);
  network.cut.clear();
  network.boot(leader.id);
  network.boot(late.id);
  network.run(10 * SECOND);
  assert.equal(network.leader, null, 'the two that do not hold it elect nobody');
  network.boot(intact.id);
  assert.ok(network.run(5 * SECOND, () => network.leader !== null));
  assert.equal(network.leader, intact);
  assert.ok(network.makesProgress(20 * SECOND));
  assert.equal(statusOf(leader).commitIndex >= highestCommitted, true);
});

test('a damaged log is whole again once it equals a leader of a later term', () => {
  const raft = alone(damaged);
  const append: Message = {
    type: 'appendRequest',
    ...{ from: 2, to: 1, term: 2, previousIndex: 1, previousTerm: 1, commit: 1, round: 1 },
    entries: [{ kind: 'noop', index: 2, term: 2 }],
  };
  raft.step({ type: 'message', message: append, nowUs: 1 });
  raft.step({ type: 'persisted', token: 1, nowUs: 2 });
  const message: Message = {
    type: 'preVoteRequest',
    ...{ from: 3, to: 1, term: 3, lastIndex: 2, lastTerm: 2 },
  };
  const effects = raft.step({ type: 'message', message, nowUs: 1_000_000 });
  assert.deepEqual(
    sent(effects, 'preVoteReply').map(({ granted, damaged: isDamaged }) => [granted, isDamaged]),
    [[true, false]],
  );
});
