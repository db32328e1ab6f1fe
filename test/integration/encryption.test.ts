/** Two nodes on this host: what their operators declare about the network between them, and what becomes of it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { type IdentityFiles, saveNode } from '../../src/identity/files.ts';
import {
  type DwcpNode,
  type MigrationReceipt,
  memoryGuest,
  type StartNodeOptions,
  startNode,
} from '../../src/index.ts';

type Trust = Pick<StartNodeOptions, 'encryption' | 'cipher'> & {
  readonly trustedNetwork?: boolean;
};

const NOWHERE = { host: '127.0.0.1', port: 1 };
let directory = '';
let identities: Readonly<Record<'a' | 'b', IdentityFiles>>;
let run = 0;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dwcp-encryption-'));
  const authority = await createAuthority();
  const keys = async (id: string): Promise<IdentityFiles> =>
    saveNode(join(directory, id), await issueNode(authority, id));
  identities = { a: await keys('a'), b: await keys('b') };
});

after(() => rmSync(directory, { recursive: true, force: true }));

interface Two {
  readonly a: DwcpNode;
  readonly b: DwcpNode;
  /** What both wrote to their logs. */
  readonly logged: readonly string[];
  stop(): Promise<void>;
}

async function two(ofA: Trust, ofB: Trust): Promise<Two> {
  run += 1;
  const logged: string[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => logged.push(line) });
  const start = (id: 'a' | 'b', peer: string, at: typeof NOWHERE, trust: Trust) => {
    const { trustedNetwork, ...rest } = trust;
    return startNode({
      ...{ id, identity: identities[id], listen: { host: '127.0.0.1', port: 0 }, logger, ...rest },
      peers: [{ id: peer, ...at, trustedNetwork }],
      dataDir: join(directory, `${id}-${run}`),
    });
  };
  const b = await start('b', 'a', NOWHERE, ofB);
  const a = await start('a', 'b', { host: '127.0.0.1', port: b.address.controlPort }, ofA);
  const stop = async (): Promise<void> => {
    for (const node of [a, b]) {
      for (const { pid } of node.guests()) process.kill(pid, 'SIGKILL');
      await node.stop();
    }
  };
  return { a, b, logged, stop };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!condition()) {
    assert.ok(performance.now() < endMs, `never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function moved({ a, b }: Two): Promise<MigrationReceipt> {
  await until(() => [a, b].every((node) => node.peers()[0]?.connected === true), 'the link stands');
  await until(() => a.group().leader !== null, 'the group has a leader');
  const name = `vm${run}`;
  await a.adopt(memoryGuest({ name, memoryBytes: 16 * 2 ** 20, dirtyBytesPerSec: 2 ** 20 }));
  return a.migrate(name, { to: 'b' }).done;
}

function underway({ a, b }: Two): unknown[] {
  return [a, b].map((node) => node.peers()[0]?.encryption);
}

/** Encryption as both nodes report it, and how often they warned that there is none. */
const CASES: readonly (readonly [string, Trust, Trust, string, number])[] = [
  ['nobody said anything', {}, {}, 'aes-128-gcm', 0],
  ['one trusts the network, the other one does not', { encryption: 'off' }, {}, 'aes-128-gcm', 1],
  [
    'one wants long keys, the other one trusts this peer alone',
    { trustedNetwork: true },
    { cipher: 'aes-256-gcm' },
    'aes-256-gcm',
    1,
  ],
  [
    'a word about the peer stands above the one about all',
    { encryption: 'off', trustedNetwork: false },
    { encryption: 'off' },
    'aes-128-gcm',
    1,
  ],
  ['both trust it', { encryption: 'off' }, { trustedNetwork: true }, 'off', 2],
];

for (const [what, ofA, ofB, wanted, warnings] of CASES) {
  test(`${what}: guests travel under ${wanted}, verified, and both nodes say so`, async () => {
    const nodes = await two(ofA, ofB);
    try {
      const receipt = await moved(nodes);
      assert.equal(receipt.verified, true);
      assert.deepEqual(underway(nodes), [wanted, wanted]);
      for (const node of [nodes.a, nodes.b]) {
        const [peer] = node.peers();
        assert.deepEqual(
          [peer?.framesForged, peer?.framesReplayed, peer?.chunksCorrupt],
          [0, 0, 0],
        );
      }
      const told = nodes.logged.filter((line) => line.includes('guests travel unencrypted'));
      assert.equal(told.length, warnings);
    } finally {
      await nodes.stop();
    }
  });
}
