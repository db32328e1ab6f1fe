import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planSend } from '../../src/protocols/link/send-policy.ts';

const MIB = 2 ** 20;

test('on a way of unknown rate what is below a mebibyte goes raw, the rest encoded', () => {
  assert.equal(planSend({ bytes: MIB - 1, bytesPerSec: null }).like, 'datacenter');
  assert.equal(planSend({ bytes: MIB, bytesPerSec: null }).like, 'internet');
});

test('where the rate is known it decides, not the size alone', () => {
  const wide = planSend({ bytes: 1024 * MIB, bytesPerSec: 1e9 });
  assert.deepEqual([wide.like, wide.codec], ['datacenter', { kind: 'raw' }]);
  const narrow = planSend({ bytes: MIB / 2, bytesPerSec: 1e6 });
  assert.deepEqual([narrow.like, narrow.codec], ['internet', { kind: 'adaptive' }]);
  assert.match(narrow.reason, /raw 524\.3 ms, encoded 319\.6 ms/);
});

test('a transfer that is over before encoding would begin goes raw on any way', () => {
  assert.equal(planSend({ bytes: 4096, bytesPerSec: 1e6 }).like, 'datacenter');
});
