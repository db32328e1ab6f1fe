/** In the lab's guest: programs that are not ours find an RDMA device and move bytes over it. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { labDevice } from './lab-device.ts';

const run = promisify(execFile);
const timeout = 120_000;
const TURNS = '3';

test('its port is active, with the largest MTU', { timeout }, async () => {
  const { stdout } = await run('ibv_devinfo', ['-d', labDevice().name]);
  assert.match(stdout, /PORT_ACTIVE/);
  assert.match(stdout, /active_mtu:\s+4096/);
});

test('the connection manager joins two queue pairs that read and write', { timeout }, async () => {
  const { address } = labDevice();
  const words = ['-a', address, '-C', TURNS];
  const server = spawn('rping', ['-s', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  try {
    while (!(await run('rdma', ['resource', 'show', 'cm_id'])).stdout.includes('LISTEN')) {
      assert.equal(server.exitCode, null, 'rping ended before it listened');
    }
    const { stdout } = await run('rping', ['-c', '-I', address, ...words, '-v']);
    assert.equal(stdout.match(/ping data: rdma-ping-/g)?.length, Number(TURNS));
    await ended;
  } finally {
    server.kill('SIGKILL');
  }
});
