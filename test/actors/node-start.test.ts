/** Nodes on this host's kernel: their group's log on files, their links over TLS. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { saveNode } from '../../src/identity/files.ts';
import { type DwcpNode, memoryGuest, type StartNodeOptions, startNode } from '../../src/index.ts';
import { NodeDisk } from '../../src/storage/node-disk.ts';
import { DiskStorage } from '../../src/storage/records.ts';

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

test('a data directory of the version before the log keeps its guest, which the log has then', async () => {
  const dataDir = join(directory, 'earlier');
  const earlier = { ...options, dataDir };
  const first = await startNode(earlier);
  await first.adopt(memoryGuest({ name: 'old', memoryBytes: MEMORY_BYTES }));
  const [before] = first.guests();
  await first.stop();
  for (const name of ['owner', 'raft']) rmSync(join(dataDir, name), { recursive: true });
  const second = await startNode(earlier);
  try {
    await until(() => second.owners().length === 1, 'the guest is registered');
    assert.deepEqual(second.owners(), [{ vm: 'old', owner: 'a', epoch: 1, movingTo: null }]);
    assert.deepEqual(
      second.guests().map(({ name, pid }) => [name, pid]),
      [['old', before?.pid]],
    );
    await until(() => readdirSync(join(dataDir, 'unlogged')).length === 0, 'and noted no longer');
  } finally {
    await endGuests(second);
    await second.stop();
  }
});

test('a data directory with unsettled migrations of the version before is refused, and left as it was', async () => {
  for (const kind of ['fence', 'arrival', 'decision', 'claim']) {
    const dataDir = join(directory, `unsettled-${kind}`);
    mkdirSync(join(dataDir, kind), { recursive: true });
    const disk = new NodeDisk(dataDir);
    const records = new DiskStorage(disk);
    await new Promise((done) => records.put(`${kind}/m1`, new TextEncoder().encode('{}'), done));
    await new Promise<void>((done) => disk.close(() => done()));
    await assert.rejects(startNode({ ...options, dataDir }), (error) => {
      assert.match(String(error), new RegExp(`did not settle: ${kind}/m1$`));
      return (error as { code?: string }).code === 'ERR_DWCP_STORAGE';
    });
    assert.deepEqual(readdirSync(dataDir), [kind]);
    assert.equal(readdirSync(join(dataDir, kind)).length, 1);
  }
});
