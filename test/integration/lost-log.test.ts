/** An agent that cannot write its log any more ends, for its supervisor to start it again. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';

let cluster: DemoCluster;

before(async () => {
  cluster = await startDemoCluster({ settings: { log: { level: 'warn' } } });
  await client('c').startGuest('memory', 'vm', { memoryBytes: 8 * 2 ** 20 });
});

after(() => cluster.stop());

function client(node: string): AdminClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

function configOf(node: string): string {
  return join(cluster.directory, `${node}.yaml`);
}

function agentPid(node: string): number {
  const pid = readdirSync('/proc').find((entry) => {
    return (
      /^\d+$/.test(entry) && commandLine(entry).endsWith(`agent --json --config ${configOf(node)} `)
    );
  });
  assert.ok(pid !== undefined, `the agent of ${node} runs`);
  return Number(pid);
}

/** Empty when it ended meanwhile. */
function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

async function guestOperations(): Promise<number> {
  const guest = (await client('c').guests()).find(({ name }) => name === 'vm');
  assert.equal(guest?.state, 'running');
  return guest.workload?.operations ?? 0;
}

test('an agent whose log cannot be written ends, its guest runs on, and it comes back to it', async () => {
  const before = await guestOperations();
  const ended = cluster.exited('c');
  // Files of this process may not grow any more, as on a disk without room.
  execFileSync('prlimit', ['--pid', String(agentPid('c')), '--fsize=1:1']);
  for (const name of ['one', 'two', 'three']) {
    await client('a').startGuest('memory', name, { memoryBytes: 2 ** 20 });
  }
  await ended;
  await cluster.restart('c');
  const again = await guestOperations();
  assert.ok(again > before, `it worked on: ${before}, then ${again}`);
  const { group } = await client('c').status();
  assert.deepEqual(group.voters, ['a', 'b', 'c']);
});
