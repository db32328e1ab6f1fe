/** Nodes on this host's kernel: their group's log on files, their links over TLS. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { saveNode } from '../../src/identity/files.ts';
import { type DwcpNode, memoryGuest, type StartNodeOptions, startNode } from '../../src/index.ts';

const MEMORY_BYTES = 4 * 2 ** 20;
let directory = '';
let options: StartNodeOptions;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dwcp-start-'));
  const identity = saveNode(join(directory, 'a'), await issueNode(await createAuthority(), 'a'));
  const listen = { host: '127.0.0.1', port: 0 };
  options = { id: 'a', listen, peers: [], dataDir: join(directory, 'data'), identity };
});

after(() => rmSync(directory, { recursive: true, force: true }));

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 2000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never happened: ${what}`);
}

async function endGuests(node: DwcpNode): Promise<void> {
  for (const { pid } of node.guests()) process.kill(pid, 'SIGKILL');
  await until(() => node.guests().length === 0, 'no guest is left');
}

test('a node that is its own group owns its guests at once, and still after a restart', async () => {
  const first = await startNode(options);
  await first.adopt(memoryGuest({ name: 'vm1', memoryBytes: MEMORY_BYTES }));
  const owner = { vm: 'vm1', owner: 'a', epoch: 1, movingTo: null };
  assert.deepEqual(first.owners(), [owner]);
  const { leader, problem, voters } = first.group();
  assert.deepEqual({ leader, problem, voters }, { leader: 'a', problem: null, voters: ['a'] });
  await first.stop();
  const second = await startNode(options);
  try {
    await until(() => second.owners().length === 1, 'the log is applied again');
    assert.deepEqual(second.owners(), [owner]);
    assert.ok(second.group().term > 1, 'another term of the same log');
    await assert.rejects(second.adopt(memoryGuest({ name: 'vm1', memoryBytes: MEMORY_BYTES })), {
      code: 'ERR_DWCP_GUEST_STATE',
    });
  } finally {
    await endGuests(second);
    await second.stop();
  }
});

test('a node without its group says what is missing, and of another group it is refused', async () => {
  const peers = [
    { id: 'b', host: '127.0.0.1', port: 1 },
    { id: 'c', host: '127.0.0.1', port: 1 },
  ];
  const lonely = { ...options, peers, dataDir: join(directory, 'lonely') };
  const node = await startNode(lonely);
  await until(() => (node.group().problem ?? '').includes('b'), 'the missing hosts are named');
  assert.equal(node.group().leader, null);
  assert.deepEqual(node.group().voters, ['a', 'b', 'c']);
  await node.stop();
  const group = { voters: ['a', 'b'] };
  await assert.rejects(startNode({ ...lonely, group }), (error) => {
    assert.match(String(error), /founded in the group of a, b, c/);
    return (error as { code?: string }).code === 'ERR_DWCP_CONFIG';
  });
  await (await startNode(lonely)).stop();
});
