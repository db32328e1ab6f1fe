import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { AdminClient } from '../../src/agent/admin-client.ts';
import { type AgentParts, runAgent } from '../../src/agent/agent.ts';
import type { AgentConfig } from '../../src/agent/config.ts';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { saveNode } from '../../src/identity/files.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { FakeNode } from './fake-node.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

test('an agent serves its node, refuses a foreign certificate, and stops whole', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'dwcp-agent-'));
  try {
    const identity = await issueNode(await createAuthority(), 'a');
    const config: AgentConfig = {
      id: 'a',
      listen: LOOPBACK,
      peers: [{ id: 'b', address: { host: '127.0.0.1', port: 1 } }],
      dataDir: join(directory, 'data'),
      identity: saveNode(directory, identity),
      admin: { listen: LOOPBACK, operators: [] },
      metrics: { listen: LOOPBACK },
      link: { streams: 2, maxBandwidth: 5000 },
      qemu: { binary: 'qemu-system-x86_64', args: [], env: {} },
      log: { level: 'info' },
    };
    const node = new FakeNode();
    const parts: AgentParts = {
      startNode: () => Promise.resolve(node),
      makeGuest: () => assert.fail('no guest was asked for'),
      logger: pino({ level: 'silent' }),
    };
    await assert.rejects(
      runAgent({ ...config, id: 'c' }, parts),
      (error) => error instanceof DwcpError && /"a", not "c"/.test(error.message),
    );
    const agent = await runAgent(config, parts);
    assert.deepEqual(node.calls, [['setMaxBandwidth', 'b', 5000]]);
    const address = { host: '127.0.0.1', port: agent.adminPort };
    const client = new AdminClient({ address, identity, expectedNode: 'a' });
    assert.equal((await client.status()).node, 'a');
    client.close();
    const health = `http://127.0.0.1:${agent.metricsPort}/health`;
    assert.equal((await fetch(health)).status, 200);
    await agent.stop();
    await assert.rejects(fetch(health));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
