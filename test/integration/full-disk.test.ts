/** A real file system without a byte left, under real agents: the move fails by name, the guest works on. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { DwcpError } from '../../src/util/errors.ts';

const DWCP = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const needsRoot = process.getuid?.() === 0 ? false : 'mounting a small disk needs root';
let cluster: DemoCluster;

before(async () => {
  cluster = await startDemoCluster({
    settings: { qemu: { binary: '/nowhere/qemu-system-x86_64' } },
  });
  await client('a').startGuest('memory', 'vm', { memoryBytes: 16 * 2 ** 20 });
  while (!(await client('a').status()).peers.every((peer) => peer.connected)) await delay(20);
});

after(() => cluster.stop());

function client(node: string): AdminClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

/** For as long as it takes, the data directory of `node` lies on a full disk. */
async function withFullDisk(node: string, use: () => Promise<void>): Promise<void> {
  const path = join(cluster.directory, node, 'data');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path]);
  try {
    assert.throws(() => writeFileSync(join(path, 'everything'), Buffer.alloc(2 ** 20)), /ENOSPC/);
    await use();
  } finally {
    execFileSync('umount', [path]);
  }
}

async function operations(): Promise<number> {
  let guest = (await client('a').guests()).find(({ name }) => name === 'vm');
  // The error may be here before the group has noted the abort: until then a fenced guest stays fenced.
  for (let attempt = 0; guest?.state !== 'running' && attempt < 100; attempt += 1) {
    await delay(50);
    guest = (await client('a').guests()).find(({ name }) => name === 'vm');
  }
  assert.equal(guest?.state, 'running');
  assert.equal(guest.workload?.invariantHeld, true);
  return guest.workload.operations;
}

function migrate(): Promise<{ readonly status: number | null; readonly stderr: string }> {
  const config = join(cluster.directory, 'a.yaml');
  const args = [DWCP, 'migrate', 'vm', '--to', 'b', '--config', config];
  return new Promise((resolve) => {
    const env = { ...process.env, DWCP_NO_SETUP: '1' };
    const child = execFile(process.execPath, args, { env }, (_, __, stderr) =>
      resolve({ status: child.exitCode, stderr }),
    );
  });
}

async function assertRefused(node: string): Promise<void> {
  const first = await operations();
  const { status, stderr } = await migrate();
  assert.equal(status, 1, stderr);
  assert.match(stderr, /error ERR_DWCP_STORAGE: .*ENOSPC/);
  assert.match(stderr, new RegExp(join(cluster.directory, node, 'data')));
  assert.match(stderr, /Free some space/);
  while ((await operations()) === first) await delay(50);
}

test('a destination without a byte left refuses the guest', { skip: needsRoot }, () =>
  withFullDisk('b', () => assertRefused('b')),
);

test('a source that cannot note its fence keeps the guest', { skip: needsRoot }, () =>
  withFullDisk('a', () => assertRefused('a')),
);

test('a new guest on a full disk is refused, and is not left running', { skip: needsRoot }, () =>
  withFullDisk('c', async () => {
    const starting = client('c').startGuest('memory', 'more', { memoryBytes: 2 ** 20 });
    await assert.rejects(starting, (error: unknown) => {
      assert.ok(error instanceof DwcpError);
      assert.equal(error.code, 'ERR_DWCP_STORAGE');
      assert.match(error.message, /ENOSPC/);
      return true;
    });
    assert.deepEqual(await client('c').guests(), []);
  }),
);

test('a host without QEMU says so, and how to get one', async () => {
  const starting = client('a').startGuest('qemu', 'other', { args: ['-m', '64'] });
  await assert.rejects(starting, (error: unknown) => {
    assert.ok(error instanceof DwcpError);
    assert.equal(error.code, 'ERR_DWCP_QEMU_MISSING');
    assert.match(error.message, /\/nowhere\/qemu-system-x86_64/);
    assert.match(error.hint ?? '', /qemu-system-x86.*qemu\.binary/);
    return true;
  });
});

test('with room again the next attempt succeeds', async () => {
  const { status, stderr } = await migrate();
  assert.equal(status, 0, stderr);
  const [guest] = await client('b').guests();
  assert.equal(guest?.state, 'running');
});
