/** The log and the window against twins that are plain arrays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Inflights } from '../../../src/protocols/raft/inflights.ts';
import { RaftLog } from '../../../src/protocols/raft/log.ts';
import type { Entry } from '../../../src/protocols/raft/types.ts';

const someTerms = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 12 });

function entriesOf(terms: readonly number[], from: number): readonly Entry[] {
  return [...terms]
    .sort((a, b) => a - b)
    .map((term, at) => ({ kind: 'noop', index: from + at, term }));
}

test('appending, truncating and compacting a log is what it is on an array', () => {
  const someStep = fc.record({
    op: fc.constantFrom('append', 'append', 'truncate', 'compact', 'stable'),
    at: fc.nat(15),
  });
  fc.assert(
    fc.property(someTerms, fc.array(someStep, { maxLength: 30 }), (terms, steps) => {
      const log = new RaftLog({ index: 0, term: 0 }, entriesOf(terms, 1));
      let twin = [{ index: 0, term: 0 }, ...entriesOf(terms, 1)];
      let stable = terms.length;
      for (const { op, at } of steps) {
        const last = twin.at(-1) ?? { index: 0, term: 0 };
        const first = twin[0]?.index ?? 0;
        if (op === 'append') {
          const entry: Entry = { kind: 'noop', index: last.index + 1, term: last.term + (at % 2) };
          log.append([entry]);
          twin.push(entry);
        }
        if (op === 'truncate' && at > first && at <= last.index) {
          log.truncate(at);
          twin = twin.filter(({ index }) => index < at);
          stable = Math.min(stable, at - 1);
        }
        if (op === 'compact' && at >= first && at <= stable) {
          log.compact(at);
          twin = twin.filter(({ index }) => index >= at);
        }
        if (op === 'stable') {
          stable = last.index;
          log.stableIndex = stable;
        }
      }
      const last = twin.at(-1);
      assert.equal(log.lastIndex, last?.index);
      assert.equal(log.lastTerm, last?.term);
      assert.equal(log.firstIndex, (twin[0]?.index ?? 0) + 1);
      assert.equal(log.stableIndex, stable);
      for (let index = 0; index < 30; index += 1) {
        const expected = twin.find((each) => each.index === index)?.term ?? null;
        assert.equal(log.termAt(index), expected);
      }
    }),
    { numRuns: 200 },
  );
});

test('where two logs may agree is never below where they do', () => {
  fc.assert(
    fc.property(someTerms, someTerms, someTerms, (shared, ours, theirs) => {
      const common = entriesOf(shared, 1);
      const above = (terms: readonly number[], add: number): readonly Entry[] =>
        entriesOf(
          terms.map((term) => term * 2 + add + 10),
          common.length + 1,
        );
      const leader = new RaftLog({ index: 0, term: 0 }, [...common, ...above(ours, 0)]);
      const follower = new RaftLog({ index: 0, term: 0 }, [...common, ...above(theirs, 1)]);
      let next = leader.lastIndex + 1;
      let messages = 0;
      // The dialogue of probe and refusal, until the follower finds what stands before the entries.
      for (;;) {
        const previous = next - 1;
        const term = leader.termAt(previous) ?? -1;
        messages += 1;
        if (follower.matches(previous, term)) break;
        const hint = follower.agreement(previous, term);
        next = leader.agreement(hint.index, hint.term).index + 1;
        assert.ok(next - 1 < previous, 'every refusal moves it');
      }
      assert.equal(next - 1, Math.min(common.length, leader.lastIndex));
      assert.ok(messages <= 2 + new Set([...ours, ...theirs]).size, `${messages} messages`);
    }),
    { numRuns: 300 },
  );
});

test('a slice stays within its bytes, but never is empty where there is an entry', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(50), { minLength: 1, maxLength: 10 }),
      fc.nat(200),
      (sizes, bytesMax) => {
        const entries = sizes.map<Entry>((size, at) => ({
          ...{ kind: 'command', index: at + 1, term: 1 },
          data: new Uint8Array(size),
        }));
        const log = new RaftLog({ index: 0, term: 0 }, entries);
        const slice = log.slice(1, log.lastIndex, bytesMax);
        const bytes = (count: number): number =>
          sizes.slice(0, count).reduce((sum, size) => sum + size + 24, 0);
        assert.deepEqual(slice, entries.slice(0, slice.length));
        assert.ok(slice.length === 1 || bytes(slice.length) <= bytesMax);
        assert.ok(slice.length === sizes.length || bytes(slice.length + 1) > bytesMax);
      },
    ),
  );
});

test('a window counts what was sent and not acknowledged, in messages and in bytes', () => {
  const someStep = fc.record({ free: fc.boolean(), bytes: fc.nat(40), at: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(someStep, { maxLength: 40 }), (steps) => {
      const window = new Inflights(4, 100);
      let twin: { index: number; bytes: number }[] = [];
      let last = 0;
      for (const { free, bytes, at } of steps) {
        if (free) {
          window.freeThrough(at);
          twin = twin.filter(({ index }) => index > at);
        } else if (!window.isFull) {
          last += 1;
          window.add(last, bytes);
          twin.push({ index: last, bytes });
        }
        const sum = twin.reduce((total, flight) => total + flight.bytes, 0);
        assert.equal(window.messages, twin.length);
        assert.equal(window.bytes, sum);
        assert.equal(window.isFull, twin.length >= 4 || sum >= 100);
      }
    }),
  );
});
