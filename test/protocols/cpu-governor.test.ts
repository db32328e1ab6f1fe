import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuGovernor } from '../../src/protocols/migration/cpu-governor.ts';

const SECOND_US = 1_000_000;

/** A host whose CPU time follows what it sends, as fast as it may; answers its share per second. */
function shares(
  governor: CpuGovernor,
  cpuUsPerByte: (second: number) => number,
  seconds: number,
): number[] {
  let cap = 0;
  return Array.from({ length: seconds }, (_, second) => {
    const cost = cpuUsPerByte(second);
    const sentBytes = Math.min(cap === 0 ? Number.MAX_VALUE : cap, SECOND_US / cost);
    const cpuUs = sentBytes * cost;
    cap = governor.step({ elapsedUs: SECOND_US, cpuUs, sentBytes });
    return (cpuUs / SECOND_US) * 100;
  });
}

test('after one interval sending stays at the limit', () => {
  const used = shares(new CpuGovernor(25), () => 0.001, 10);
  assert.equal(used[0], 100);
  for (const share of used.slice(1)) assert.ok(Math.abs(share - 25) < 1, `${used}`);
});

test('a byte that becomes dearer is noticed within a few intervals', () => {
  const used = shares(new CpuGovernor(25), (second) => (second < 5 ? 0.001 : 0.003), 20);
  assert.ok((used[5] ?? 0) > 70, 'the first interval could not know');
  for (const share of used.slice(12)) assert.ok(Math.abs(share - 25) < 3, `${used}`);
});

test('an idle host learns nothing and is not held back for what else it did', () => {
  const governor = new CpuGovernor(10);
  assert.equal(governor.step({ elapsedUs: SECOND_US, cpuUs: SECOND_US, sentBytes: 1000 }), 0);
});

test('however little is allowed, a migration does not stand still', () => {
  const governor = new CpuGovernor(1);
  const sample = { elapsedUs: SECOND_US, cpuUs: SECOND_US, sentBytes: 2 ** 20 };
  assert.equal(governor.step(sample), 2 ** 20);
});
