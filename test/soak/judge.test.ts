import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Judge } from './judge.ts';

function judged(...beats: readonly (readonly [string, number, number, number?])[]): Judge {
  const judge = new Judge();
  for (const [instance, counter, earliest, latest = earliest] of beats) {
    judge.hear({
      instance,
      counter,
      earliestNs: BigInt(earliest),
      latestNs: BigInt(latest),
    });
  }
  return judge;
}

test('one instance after the other is well, in whatever order their beats are read', () => {
  assert.equal(judged(['x', 1, 10], ['x', 2, 11], ['y', 3, 12], ['y', 9, 20]).violation, null);
  assert.equal(judged(['y', 3, 12], ['x', 1, 10], ['y', 9, 20], ['x', 2, 11]).violation, null);
});

test('an instance that counts after another began is caught', () => {
  const { violation } = judged(['x', 1, 10], ['y', 3, 12], ['x', 2, 13]);
  assert.match(violation ?? '', /ran at once/);
});

test('a count that comes twice is caught even when nobody knows the time', () => {
  const { violation } = judged(['x', 1, 0, 100], ['x', 5, 0, 100], ['y', 5, 0, 100]);
  assert.match(violation ?? '', /two instances counted 5/);
});

test('memory that goes back is caught, in one instance and from one to the next', () => {
  assert.match(judged(['x', 2, 1], ['x', 2, 2]).violation ?? '', /went back/);
  assert.match(judged(['x', 7, 1], ['x', 9, 2], ['y', 8, 3]).violation ?? '', /counted 8/);
  assert.match(judged(['x', 7, 1], ['y', 3, 9]).violation ?? '', /ran at once/);
});

test('beats that may have been said in the right order are no violation', () => {
  assert.equal(judged(['x', 1, 0, 100], ['y', 2, 0, 100], ['y', 3, 90, 100]).violation, null);
});

test('who runs is who surely counted since then', () => {
  const judge = judged(['x', 1, 10], ['y', 2, 20], ['y', 3, 30, 40]);
  assert.deepEqual(judge.runningSince(15n), ['y']);
  assert.deepEqual(judge.runningSince(31n), []);
});
