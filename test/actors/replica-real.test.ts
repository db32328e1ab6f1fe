import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type StartedReplica, startReplica } from '../../src/actors/replica-start.ts';
import { type Authority, createAuthority, issueNode } from '../../src/identity/authority.ts';
import { Recorder } from './replica-world.ts';

const NAMES = ['a', 'b', 'c'];
const PATIENCE_MS = 20_000;

describe('replicas over TLS links, with their logs in files', () => {
  const running = new Map<string, StartedReplica>();
  const applications = new Map<string, Recorder>();
  const ports = new Map<string, number>();
  let authority: Authority;
  let directory: string;

  before(async () => {
    authority = await createAuthority();
    directory = await mkdtemp(join(tmpdir(), 'dwcp-replica-'));
    for (const name of NAMES) ports.set(name, await freePort());
    await Promise.all(NAMES.map((name) => start(name)));
  });

  after(async () => {
    await Promise.all([...running.values()].map((replica) => replica.stop()));
    await rm(directory, { recursive: true });
  });

  async function start(name: string): Promise<void> {
    const application = new Recorder();
    applications.set(name, application);
    const at = (id: string): { host: string; port: number } => {
      return { host: '127.0.0.1', port: ports.get(id) ?? 0 };
    };
    const replica = await startReplica({
      ...{ group: 'g', application, dataDir: join(directory, name), listen: at(name) },
      identity: await issueNode(authority, name),
      peers: NAMES.filter((id) => id !== name).map((id) => ({ id, address: at(id) })),
    });
    running.set(name, replica);
  }

  function replicaOf(name: string): StartedReplica {
    const replica = running.get(name);
    assert.ok(replica, `${name} runs`);
    return replica;
  }

  async function propose(name: string, text: string): Promise<string> {
    const command = new TextEncoder().encode(text);
    return new TextDecoder().decode(await replicaOf(name).propose(command, PATIENCE_MS));
  }

  async function stop(name: string): Promise<void> {
    await replicaOf(name).stop();
    running.delete(name);
  }

  it('answer commands of all of them, large ones and many at a time', async () => {
    const large = NAMES.flatMap((name) =>
      Array.from({ length: 20 }, (_, at) => `${name}${at} ${'x'.repeat(60_000)}`),
    );
    const answers = await Promise.all(large.map((text) => propose(text.slice(0, 1), text)));
    const places = answers.map((text) => Number(text.split(' ')[0])).sort((a, b) => a - b);
    assert.deepEqual(
      places,
      large.map((_, at) => at + 1),
    );
  });

  it('go on when one is stopped, and it has everything when it comes back', async () => {
    await propose('a', 'before');
    const leader = (await replicaOf('a').status()).leader ?? 'a';
    await stop(leader);
    const other = NAMES.find((name) => name !== leader) ?? '';
    assert.match(await propose(other, 'meanwhile'), /meanwhile$/);
    await start(leader);
    assert.match(await propose(leader, 'back'), /back$/);
    const { index } = await replicaOf(leader).read({ kind: 'linearizable' }, PATIENCE_MS);
    assert.ok(index > 0);
    const [own, others] = [leader, other].map((name) => applications.get(name)?.commands ?? []);
    assert.deepEqual(own?.slice(-3), ['before', 'meanwhile', 'back']);
    assert.deepEqual(own?.slice(0, others?.length), others);
  });

  it('refuse a directory that another replica uses, or that is of another group', async () => {
    const options = {
      ...{ application: new Recorder(), dataDir: join(directory, 'a'), peers: [] },
      listen: { host: '127.0.0.1', port: 0 },
      identity: await issueNode(authority, 'a'),
    };
    await assert.rejects(startReplica({ ...options, group: 'g' }), { code: 'ERR_DWCP_STORAGE' });
    await stop('a');
    await assert.rejects(startReplica({ ...options, group: 'h' }), /group/);
    await start('a');
    assert.match(await propose('a', 'unharmed'), /unharmed$/);
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
