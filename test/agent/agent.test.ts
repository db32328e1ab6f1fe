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
import type { StartNodeOptions } from '../../src/node.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { FakeNode } from './fake-node.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

const MODE_RULES = {
  ...{ nearMs: 10, farMs: 50, wideBytesPerSec: 125e6, hysteresis: 0.2, confidence: 0.7 },
  ...{ samples: 10, minStayMs: 60_000, coolDownMs: 30_000, maxPerMinute: 2 },
};

test('an agent serves its node, refuses a foreign certificate, and stops whole', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'dwcp-agent-'));
  try {
    const identity = await issueNode(await createAuthority(), 'a');
    const config: AgentConfig = {
      id: 'a',
      listen: LOOPBACK,
      bulkPort: 7001,
      peers: [{ id: 'b', address: { host: '127.0.0.1', port: 1 } }],
      group: { voters: ['a'] },
      dataDir: join(directory, 'data'),
      identity: saveNode(directory, identity),
      admin: { listen: LOOPBACK, operators: [] },
      metrics: { listen: LOOPBACK },
      link: {
        mode: 'datacenter',
        modeRules: MODE_RULES,
        encryption: 'on',
        cipher: 'aes-128-gcm',
        streams: 'auto',
        chunkBytes: 65_536,
        windowBytes: 2 ** 21,
        congestionControl: 'reno',
        transport: 'auto',
        requireTransport: false,
        maxBandwidth: 5000,
      },
      migrations: {
        ...{ concurrent: 3, resumeGraceMs: 9, allowPostcopy: true },
        ...{ maxCpuPercent: 50, maxBandwidth: 700 },
      },
      cache: null,
      qemu: { binary: 'qemu-system-x86_64', args: [], env: {} },
      log: { level: 'info' },
    };
    const node = new FakeNode();
    const started: StartNodeOptions[] = [];
    const parts: AgentParts = {
      startNode: (options) => {
        started.push(options);
        return Promise.resolve(node);
      },
      makeGuest: () => assert.fail('no guest was asked for'),
      logger: pino({ level: 'silent' }),
    };
    await assert.rejects(
      runAgent({ ...config, id: 'c' }, parts),
      (error) => error instanceof DwcpError && /"a", not "c"/.test(error.message),
    );
    const agent = await runAgent(config, parts);
    const { peers, identity: _files, dataDir, logger, ...told } = started[0] ?? assert.fail();
    assert.deepEqual(peers, [{ id: 'b', host: '127.0.0.1', port: 1 }]);
    assert.ok(dataDir === config.dataDir && logger === parts.logger);
    assert.deepEqual(told, {
      ...{
        id: 'a',
        listen: LOOPBACK,
        bulkPort: 7001,
        linkMode: 'datacenter',
        linkModeRules: MODE_RULES,
        streams: 'auto',
        chunkBytes: 65_536,
      },
      ...{ windowBytes: 2 ** 21, congestionControl: 'reno', maxBandwidth: 5000 },
      ...{ transport: 'auto', requireTransport: false },
      ...{ encryption: 'on', cipher: 'aes-128-gcm' },
      ...{ maxConcurrentMigrations: 3, resumeGraceMs: 9, allowPostcopy: true, maxCpuPercent: 50 },
      ...{ migrationBandwidth: 700, qemu: config.qemu, group: { voters: ['a'] } },
    });
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
