import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { AdminClient } from '../../src/agent/admin-client.ts';
import { type AdminService, startAdminService } from '../../src/agent/admin-service.ts';
import { createAuthority, issueNode, type NodeIdentity } from '../../src/identity/authority.ts';
import { bestTracking } from '../../src/native.ts';
import type { MigrationProgress } from '../../src/node.ts';
import { DwcpError, type ErrorCode } from '../../src/util/errors.ts';
import { FakeNode, RECEIPT, STATUS } from './fake-node.ts';

const node = new FakeNode();
let service: AdminService;
let operator: NodeIdentity;
let other: NodeIdentity;
let stranger: NodeIdentity;

before(async () => {
  const authority = await createAuthority();
  operator = await issueNode(authority, 'operator');
  other = await issueNode(authority, 'b');
  stranger = await issueNode(await createAuthority(), 'operator');
  service = await startAdminService({
    node,
    listen: { host: '127.0.0.1', port: 0 },
    identity: await issueNode(authority, 'a'),
    operators: ['operator'],
    makeGuest: (_kind, name) => ({
      kind: 'memory',
      name,
      open: () => Promise.reject(new Error('the fake node opens nothing')),
    }),
  });
});
beforeEach(() => {
  node.calls.length = 0;
  node.refusal = null;
});
after(() => service.close());

async function asked<T>(
  identity: NodeIdentity,
  ask: (client: AdminClient) => Promise<T>,
  expectedNode: string | null = 'a',
): Promise<T> {
  const address = { host: '127.0.0.1', port: service.port };
  const client = new AdminClient({ address, identity, expectedNode });
  try {
    return await ask(client);
  } finally {
    client.close();
  }
}

function coded(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof DwcpError && error.code === code;
}

test('status, guests and migrations cross the wire unchanged', async () => {
  const status = await asked(operator, (client) => client.status());
  assert.equal(status.node, 'a');
  assert.equal(status.bulkPort, 7001);
  assert.deepEqual(status.guests, node.guestList);
  assert.deepEqual(status.peers, node.peerList);
  assert.deepEqual(status.contentCache, node.cache);
  assert.equal(status.dirtyTracking, bestTracking());
  assert.deepEqual(await asked(operator, (client) => client.guests()), node.guestList);
  assert.deepEqual(await asked(operator, (client) => client.migrations()), node.migrationList);
});

test('a migration streams its progress and ends with the receipt', async () => {
  const seen: MigrationProgress[] = [];
  const receipt = await asked(operator, (client) =>
    client.migrate('vm1', { to: 'b', maxDowntimeMs: 50 }, (progress) => seen.push(progress)),
  );
  assert.deepEqual(receipt, RECEIPT);
  assert.equal(seen.length, 1);
  assert.deepEqual(seen[0]?.etaMs, STATUS.etaMs);
  assert.deepEqual(node.calls, [['migrate', 'vm1', { to: 'b', maxDowntimeMs: 50 }]]);
});

test('a failed migration arrives as its own coded error with its hint', async () => {
  node.refusal = new DwcpError('ERR_DWCP_NO_ROOM', 'b lacks 3 GiB', { hint: 'Free memory on b.' });
  await assert.rejects(
    asked(operator, (client) => client.migrate('vm1', { to: 'b' }, () => {})),
    (error) =>
      error instanceof DwcpError &&
      error.code === 'ERR_DWCP_NO_ROOM' &&
      error.message === 'b lacks 3 GiB' &&
      error.hint === 'Free memory on b.',
  );
});

test('acts reach the node, the claim with the name in the certificate', async () => {
  await asked(operator, async (client) => {
    assert.deepEqual(await client.claim('vm1'), { guest: 'vm1', epoch: 2, resumed: true });
    await client.cancel('m1');
    await client.setMaxBandwidth('b', 1e6);
    await client.limitMigration('m1', 2e6);
    assert.equal((await client.startGuest('memory', 'vm1', {})).pid, 42);
  });
  assert.deepEqual(node.calls, [
    ['claim', 'vm1', 'operator'],
    ['cancel', 'm1'],
    ['setMaxBandwidth', 'b', 1e6],
    ['setMigrationBandwidth', 'm1', 2e6],
    ['adopt', 'vm1'],
  ]);
  await assert.rejects(
    asked(operator, (client) => client.cancel('nope')),
    coded('ERR_DWCP_MIGRATION_UNKNOWN'),
  );
  await assert.rejects(
    asked(operator, (client) => client.setMaxBandwidth('nope', 1)),
    coded('ERR_DWCP_PEER_UNKNOWN'),
  );
});

test('a node that is no operator is refused, also for a migration', async () => {
  await assert.rejects(
    asked(other, (client) => client.status()),
    coded('ERR_DWCP_IDENTITY'),
  );
  await assert.rejects(
    asked(other, (client) => client.migrate('vm1', { to: 'b' }, () => {})),
    coded('ERR_DWCP_IDENTITY'),
  );
  assert.deepEqual(node.calls, []);
});

test("a certificate of another authority and an agent's wrong name are refused by TLS", async () => {
  await assert.rejects(
    asked(stranger, (client) => client.status()),
    coded('ERR_DWCP_PEER_UNREACHABLE'),
  );
  await assert.rejects(
    asked(operator, (client) => client.status(), 'c'),
    coded('ERR_DWCP_PEER_UNREACHABLE'),
  );
});
