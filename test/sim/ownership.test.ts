import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkOwnership, type RunInterval } from '../../sim/checkers/ownership.ts';

const run = (
  host: string,
  epoch: number,
  fromUs: number,
  toUs: number | null,
  instance: string = `${host}-${epoch}`,
): RunInterval => ({ vm: 'vm1', instance, host, epoch, fromUs, toUs });

test('one owner after the other is fine, also when they touch', () => {
  const moves = [run('a', 1, 0, 10), run('b', 2, 10, 20), run('a', 3, 25, null)];
  assert.deepEqual(checkOwnership(moves), { verdict: 'ok' });
  assert.equal(checkOwnership([...moves].reverse()).verdict, 'ok');
});

test('a pause that ends on the same host under the same epoch is fine', () => {
  assert.equal(checkOwnership([run('a', 1, 0, 10), run('a', 1, 12, null)]).verdict, 'ok');
});

test('two VMs may run at once', () => {
  const other = { ...run('b', 1, 0, null), vm: 'vm2' };
  assert.equal(checkOwnership([run('a', 1, 0, null), other]).verdict, 'ok');
});

test('two running instances are a violation, however far apart they began', () => {
  const first = run('a', 1, 0, null);
  const second = run('b', 2, 1_000, 1_001);
  const result = checkOwnership([run('a', 1, 5, 6), second, first]);
  assert.equal(result.verdict, 'violation');
  assert.match(result.witness?.reason ?? '', /two instances of vm1 ran at 1000 us/);
  const copies = [run('a', 1, 0, 9, 'copy-1'), run('a', 1, 8, 10, 'copy-2')];
  assert.equal(checkOwnership(copies).verdict, 'violation');
});

test('an epoch that goes back, or that two hosts used, is a violation', () => {
  assert.equal(checkOwnership([run('a', 2, 0, 1), run('b', 1, 2, 3)]).verdict, 'violation');
  assert.equal(checkOwnership([run('a', 1, 0, 1), run('b', 1, 2, 3)]).verdict, 'violation');
});
