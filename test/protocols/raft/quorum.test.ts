/** Quorums against a twin that is too dumb to be wrong: it tries every subset and every future. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EMPTY_CONFIGURATION, votersOnly } from '../../../src/protocols/raft/configuration.ts';
import { describe } from '../../../src/protocols/raft/describe.ts';
import { committedIndex, voteResult } from '../../../src/protocols/raft/quorum.ts';
import type { Configuration } from '../../../src/protocols/raft/types.ts';

const someIds = fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { maxLength: 6 });
const someConfiguration: fc.Arbitrary<Configuration> = fc
  .tuple(someIds, someIds)
  .map(([voters, outgoing]) => ({ ...votersOnly(voters), votersOutgoing: new Set(outgoing) }));
const someAcked = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 0, max: 9 })))
  .map((pairs) => new Map(pairs));
const someVotes = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 7 }), fc.boolean()))
  .map((pairs) => new Map(pairs));

/** Every half that is not empty has more members inside `group` than outside. */
function isQuorum(configuration: Configuration, group: ReadonlySet<number>): boolean {
  return [configuration.voters, configuration.votersOutgoing]
    .filter((half) => half.size > 0)
    .every((half) => [...half].filter((id) => group.has(id)).length * 2 > half.size);
}

function dumbCommitted(configuration: Configuration, acked: ReadonlyMap<number, number>): number {
  const everybody = [...configuration.voters, ...configuration.votersOutgoing];
  if (everybody.length === 0) return Number.POSITIVE_INFINITY;
  for (let index = 9; index > 0; index -= 1) {
    const group = new Set(everybody.filter((id) => (acked.get(id) ?? 0) >= index));
    if (isQuorum(configuration, group)) return index;
  }
  return 0;
}

function dumbVote(configuration: Configuration, votes: ReadonlyMap<number, boolean>): string {
  const everybody = [...new Set([...configuration.voters, ...configuration.votersOutgoing])];
  const open = everybody.filter((id) => !votes.has(id));
  const wins = new Set<boolean>();
  for (let future = 0; future < 1 << open.length; future += 1) {
    const yes = everybody.filter((id) => {
      const place = open.indexOf(id);
      return place < 0 ? votes.get(id) === true : (future >> place) % 2 === 1;
    });
    wins.add(isQuorum(configuration, new Set(yes)));
  }
  if (wins.size === 2) return 'pending';
  return wins.has(true) ? 'won' : 'lost';
}

test('the committed index is the highest that a majority of each half has', () => {
  fc.assert(
    fc.property(someConfiguration, someAcked, (configuration, acked) => {
      assert.equal(committedIndex(configuration, acked), dumbCommitted(configuration, acked));
    }),
    { numRuns: 500 },
  );
});

test('a vote is won or lost as soon as no future vote can change it, and not before', () => {
  fc.assert(
    fc.property(someConfiguration, someVotes, (configuration, votes) => {
      assert.equal(voteResult(configuration, votes), dumbVote(configuration, votes));
    }),
    { numRuns: 300 },
  );
});

test('the twin is no echo: it refuses a count that takes half for a majority', () => {
  const half = (c: Configuration, acked: ReadonlyMap<number, number>): number =>
    [...c.voters].map((id) => acked.get(id) ?? 0).sort((a, b) => b - a)[(c.voters.size - 1) >> 1] ??
    0;
  const found = fc.check(
    fc.property(someConfiguration, someAcked, (configuration, acked) => {
      assert.equal(half(configuration, acked), dumbCommitted(configuration, acked));
    }),
    { numRuns: 500 },
  );
  assert.ok(found.failed);
});

test('nobody constrains nothing', () => {
  assert.equal(committedIndex(EMPTY_CONFIGURATION, new Map()), Number.POSITIVE_INFINITY);
  assert.equal(voteResult(EMPTY_CONFIGURATION, new Map()), 'won');
});

test('a description shows one bar per voter and a question mark for silence', () => {
  const acked = new Map([
    [1, 101],
    [3, 99],
  ]);
  const lines = [
    '       idx',
    'xx>    101    (id=1)',
    '?        0    (id=2)',
    'x>      99    (id=3)',
  ];
  assert.equal(describe(votersOnly([3, 1, 2]), acked), `${lines.join('\n')}\n`);
  assert.equal(describe(EMPTY_CONFIGURATION, acked), '<empty majority quorum>');
  assert.match(
    describe({ ...votersOnly([1]), votersOutgoing: new Set([2]) }, acked),
    /id=1.*\n.*id=2/,
  );
});
