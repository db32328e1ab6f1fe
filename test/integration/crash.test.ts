/** Real agents killed with SIGKILL while a real guest moves: it runs in one place, and a move goes on or ends. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoClient, type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import type { GuestStatus, MigrationPhase } from '../../src/node.ts';

const GUEST = 'vm';
const MEMORY_BYTES = 128 * 2 ** 20;
/** The first round then takes seconds: room for a kill in its middle. */
const SLOW_BYTES_PER_SEC = 40 * 2 ** 20;
/** Longer than an agent takes to start. */
const RESUME_GRACE_MS = 4000;

let cluster: DemoCluster;

before(async () => {
  cluster = await startDemoCluster({
    settings: { migrations: { resumeGraceMs: RESUME_GRACE_MS } },
  });
  await linked('a', 'b');
  const options = { memoryBytes: MEMORY_BYTES, dirtyBytesPerSec: 5 * 2 ** 20 };
  await client('a').startGuest('memory', GUEST, options);
});

after(() => cluster.stop());

function client(node: string): DemoClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

async function linked(from: string, to: string): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    const { peers } = await client(from).status();
    if (peers.some((peer) => peer.id === to && peer.connected)) return;
    await delay(50);
  }
  assert.fail(`${from} did not find ${to}`);
}

async function guestAt(node: string): Promise<GuestStatus | undefined> {
  return (await client(node).guests()).find((guest) => guest.name === GUEST);
}

async function arrived(node: string): Promise<GuestStatus> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const guest = await guestAt(node);
    if (guest?.state === 'running' && (await guestAt('a')) === undefined) return guest;
    await delay(50);
  }
  assert.fail(`the guest did not come to run at ${node}`);
}

/** Starts a slow move a -> b and kills `victim` once a quarter of the memory was acknowledged. */
async function killInPrecopy(victim: string): Promise<MigrationPhase> {
  let phase: MigrationPhase = 'preflight';
  let killing: Promise<void> | null = null;
  const moving = client('a').migrate(
    GUEST,
    { to: 'b', maxBandwidth: SLOW_BYTES_PER_SEC },
    (progress) => {
      if (killing !== null || progress.ackedBytes < MEMORY_BYTES / 4) return;
      phase = progress.phase;
      killing = cluster.crash(victim);
    },
  );
  await assert.rejects(moving);
  assert.ok(killing !== null, 'the kill came before the end');
  await killing;
  return phase;
}

test('a destination that stays away leaves the guest at the source, which hardly notices', async () => {
  assert.equal(await killInPrecopy('b'), 'precopy');
  const guest = await guestAt('a');
  assert.equal(guest?.state, 'running');
  assert.ok((guest?.workload?.longestGapMs ?? Infinity) < 1000, 'the gap is under a second');
  assert.equal(guest?.workload?.invariantHeld, true);
  await cluster.restart('b');
  await linked('a', 'b');
  assert.equal(await guestAt('b'), undefined, 'the orphan of the attempt is gone');
});

test('a source killed in pre-copy comes back to its running guest, and its move goes on', async () => {
  const before = (await guestAt('a'))?.workload?.operations ?? 0;
  assert.equal(await killInPrecopy('a'), 'precopy');
  await cluster.restart('a');
  const moved = await arrived('b');
  assert.ok((moved.workload?.operations ?? 0) > before, 'it worked on without its agent');
  assert.equal(moved.workload?.invariantHeld, true);
  assert.equal(await guestAt('a'), undefined);
});

test('the next move succeeds', async () => {
  const receipt = await client('b').migrate(GUEST, { to: 'a', maxBandwidth: 0 }, () => {});
  assert.equal(receipt.verified, true);
  const moved = await guestAt('a');
  assert.equal(moved?.state, 'running');
  assert.equal(moved?.workload?.invariantHeld, true);
  assert.equal(await guestAt('b'), undefined);
});
