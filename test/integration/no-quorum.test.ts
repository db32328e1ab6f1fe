/** Two of three agents dead: what runs goes on, nothing starts or moves, and everybody is told why. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { DwcpError } from '../../src/util/errors.ts';

const MEMORY_BYTES = 8 * 2 ** 20;
let cluster: DemoCluster;

before(async () => {
  cluster = await startDemoCluster();
  await client('a').startGuest('memory', 'vm', { memoryBytes: MEMORY_BYTES });
});

after(() => cluster.stop());

function client(node: string): AdminClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

async function operations(): Promise<number> {
  const guest = (await client('a').guests()).find(({ name }) => name === 'vm');
  assert.equal(guest?.state, 'running');
  return guest.workload?.operations ?? 0;
}

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    if (await condition()) return;
    await delay(50);
  }
  assert.fail(`never happened: ${what}`);
}

function refusal(...missing: readonly string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof DwcpError);
    assert.equal(error.code, 'ERR_DWCP_NO_QUORUM', error.message);
    for (const host of missing) assert.match(error.message, new RegExp(`\\b${host}\\b`));
    return true;
  };
}

test('an agent without a majority keeps its guest, starts and moves nothing, and says whom it misses', async () => {
  await Promise.all([cluster.crash('b'), cluster.crash('c')]);
  await until(async () => {
    const { leader, problem } = (await client('a').status()).group;
    return (
      leader === null &&
      problem === 'no majority: b, c are not heard, and 1 of 3 hosts are not enough'
    );
  }, 'status names who is missing');
  const first = await operations();
  const starting = client('a').startGuest('memory', 'more', { memoryBytes: MEMORY_BYTES });
  await assert.rejects(starting, refusal('b', 'c'));
  assert.deepEqual(
    (await client('a').guests()).map(({ name }) => name),
    ['vm'],
  );
  await assert.rejects(
    client('a').migrate('vm', { to: 'b' }, () => {}),
    refusal('b', 'c'),
  );
  await until(async () => (await operations()) > first, 'the guest works on');
});

test('once one of them is back everything works again', async () => {
  await cluster.restart('b');
  await until(async () => {
    const { group, peers } = await client('a').status();
    return group.leader !== null && peers.some(({ id, connected }) => id === 'b' && connected);
  }, 'a majority');
  await client('a').startGuest('memory', 'more', { memoryBytes: MEMORY_BYTES });
  await client('a').migrate('vm', { to: 'b' }, () => {});
  assert.deepEqual(
    (await client('b').guests()).map(({ name }) => name),
    ['vm'],
  );
});
