import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import { inTurn } from '../../src/util/in-turn.ts';

test('each item is asked for after the one before it was answered', () => {
  const waiting: (() => void)[] = [];
  const asked: number[] = [];
  const ask = (item: number, done: Completion<number>): void => {
    asked.push(item);
    waiting.push(() => done(succeeded(item * 10)));
  };
  let answers: unknown = null;
  inTurn([1, 2], ask, (outcome) => {
    answers = outcome;
  });
  assert.deepEqual(asked, [1]);
  waiting.shift()?.();
  assert.deepEqual(asked, [1, 2]);
  assert.equal(answers, null);
  waiting.shift()?.();
  assert.deepEqual(answers, succeeded([10, 20]));
});

test('the first failure is the answer, and nothing more is asked for', () => {
  const error = new DwcpError('ERR_DWCP_STORAGE', 'no');
  const asked: number[] = [];
  let answer: unknown = null;
  inTurn(
    [1, 2, 3],
    (item, done: Completion<void>) => {
      asked.push(item);
      done(item === 2 ? failed(error) : succeeded(undefined));
    },
    (outcome) => {
      answer = outcome;
    },
  );
  assert.deepEqual(asked, [1, 2]);
  assert.deepEqual(answer, failed(error));
});
