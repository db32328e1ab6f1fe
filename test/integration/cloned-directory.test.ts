/** An old copy of a data directory is found out by the log of the group, and its agent ends. */
import assert from 'node:assert/strict';
import { cpSync, renameSync, rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';

const ENDS_WITHIN_MS = 20_000;
let cluster: DemoCluster;

before(async () => {
  cluster = await startDemoCluster();
});
after(() => cluster.stop());

function client(node: string): AdminClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

async function heardOfTheGroup(node: string): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    const { leader, appliedIndex } = (await client(node).status()).group;
    if (leader !== null && appliedIndex > 0) return;
    await delay(50);
  }
  assert.fail(`${node} never heard of the group`);
}

test('an agent on an old copy of its data directory ends, and the group goes on', async () => {
  const directory = cluster.dataDirs[2] ?? '';
  await heardOfTheGroup('c');
  await cluster.crash('c');
  cpSync(directory, `${directory}-copy`, { recursive: true });
  await cluster.restart('c');
  await client('a').startGuest('memory', 'vm', { memoryBytes: 4 * 2 ** 20 });
  // The original lives on: a guest of it starts only after this life of it is in the log.
  await client('c').startGuest('memory', 'unknown-to-the-copy', { memoryBytes: 4 * 2 ** 20 });
  await cluster.crash('c');
  rmSync(directory, { recursive: true });
  renameSync(`${directory}-copy`, directory);
  await cluster.restart('c');
  const timeout = delay(ENDS_WITHIN_MS, 'it runs on', { ref: false });
  assert.equal(await Promise.race([cluster.exited('c').then(() => 'ended'), timeout]), 'ended');
  await client('a').migrate('vm', { to: 'b' }, () => {});
});
