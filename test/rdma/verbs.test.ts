import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { NO_RDMA, RDMA_ADDRESS } from './device.ts';

const CHECK = 'build/rdma/verbs-check';

test('queue pairs of two processes carry bytes both ways, and every failure ends as it should', {
  skip: NO_RDMA,
}, () => {
  const { status, stdout, stderr } = spawnSync(CHECK, [RDMA_ADDRESS ?? '', '64'], {
    encoding: 'utf8',
    timeout: 240_000,
  });
  assert.equal(status, 0, `${stdout}${stderr}`);
  const passed = [...stdout.matchAll(/^ok ([^:]+):/gm)].map(([, name]) => name);
  assert.deepEqual(passed, [
    'both ways',
    'budget',
    'many pairs',
    'peer killed',
    'wrong key',
    'beyond the ring',
    'flush',
    'revoked',
  ]);
  console.log(stdout);
});

test('without an RDMA device the check says so and fails', { skip: NO_RDMA === false }, () => {
  const { status, stderr } = spawnSync(CHECK, [], { encoding: 'utf8', timeout: 60_000 });
  assert.equal(status, 1);
  assert.match(stderr, /RDMA/);
});
