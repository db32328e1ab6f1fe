import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import type { MigrationProgress, MigrationReceipt } from '../../src/node.ts';

const MIB = 2 ** 20;
const SIZE_BYTES = 128 * MIB;

let cluster: DemoCluster;
let a: AdminClient;
let b: AdminClient;

before(async () => {
  cluster = await startDemoCluster({
    settings: {
      link: { streams: 2, chunkBytes: '256KiB', congestionControl: 'reno' },
      migrations: { concurrent: 2, maxBandwidth: '40MiB/s' },
    },
  });
  const [first, second] = [cluster.clients.get('a'), cluster.clients.get('b')];
  assert.ok(first && second);
  [a, b] = [first, second];
  await until(async () => (await a.status()).peers.every(({ connected }) => connected));
  for (const name of ['vm1', 'vm2', 'vm3']) {
    await a.startGuest('memory', name, {
      ...{ memoryBytes: SIZE_BYTES, dirtyBytesPerSec: 0, zeroShare: 0 },
    });
  }
});

after(() => cluster.stop());

async function until(condition: () => Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < endMs, 'not in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface Move {
  readonly id: Promise<string>;
  readonly done: Promise<MigrationReceipt>;
  readonly seen: MigrationProgress[];
}

function move(guest: string, maxBandwidth?: number): Move {
  const seen: MigrationProgress[] = [];
  let tellId: (id: string) => void = () => {};
  const id = new Promise<string>((resolve) => {
    tellId = resolve;
  });
  const options = { to: 'b', ...(maxBandwidth === undefined ? {} : { maxBandwidth }) };
  const done = a.migrate(guest, options, (progress) => {
    seen.push(progress);
    tellId(progress.migrationId);
  });
  return { id, done, seen };
}

async function limitOfLink(): Promise<number | undefined> {
  return (await a.status()).peers.find(({ id }) => id === 'b')?.maxBandwidth;
}

test('both sides report the congestion control that the kernel gave', async () => {
  for (const [client, peer] of [
    [a, 'b'],
    [b, 'a'],
  ] as const) {
    const status = (await client.status()).peers.find(({ id }) => id === peer);
    assert.equal(status?.congestionControl, 'reno');
    assert.equal(status?.problem, null);
    await until(
      async () => (await client.status()).peers.find(({ id }) => id === peer)?.streams === 2,
    );
  }
});

test('a migration keeps to its limit, one more than allowed is refused, and a lifted limit acts at once', async () => {
  // 128 MiB at 16 MiB/s would take 8 s.
  const first = move('vm1', 16 * MIB);
  const id = await first.id;
  const second = move('vm2');
  await second.id;
  await assert.rejects(move('vm3').done, { code: 'ERR_DWCP_LIMIT' });
  await until(async () => first.seen.some(({ ackedBytes }) => ackedBytes > 8 * MIB));
  // One bucket: the lower limit of the two holds for both.
  assert.equal(await limitOfLink(), 16 * MIB);
  const running = (await a.migrations()).filter(({ phase }) => phase === 'precopy');
  assert.equal(running.length, 2);
  const limitedRate = running.reduce((sum, each) => sum + each.goodputBytesPerSec, 0);
  assert.ok(limitedRate < 24 * MIB, `${limitedRate / MIB} MiB/s`);
  await a.limitMigration(id, 0);
  assert.equal(await limitOfLink(), 40 * MIB, 'the other keeps the default of the agent');
  await a.limitMigration(await second.id, 0);
  const liftedMs = Date.now();
  const receipts = await Promise.all([first.done, second.done]);
  assert.ok(Date.now() - liftedMs < 4000, 'it went on at the old pace');
  assert.ok(receipts.every(({ verified }) => verified === true));
  assert.equal(await limitOfLink(), 0, 'limits end with their migrations');
  await assert.rejects(a.limitMigration(id, 1), { code: 'ERR_DWCP_MIGRATION_UNKNOWN' });
  // Fits the message, not the bucket: refused, and the agent lives.
  await assert.rejects(a.limitMigration(id, 2 ** 60), { code: 'ERR_DWCP_USAGE' });
  await assert.rejects(a.setMaxBandwidth('b', 2 ** 60), { code: 'ERR_DWCP_USAGE' });
  await assert.rejects(move('vm3', 2 ** 60).done, { code: 'ERR_DWCP_USAGE' });
});

test('a limit can be lowered while a migration runs, and only where it sends', async () => {
  const third = move('vm3', 64 * MIB);
  const id = await third.id;
  await a.limitMigration(id, 4 * MIB);
  await assert.rejects(b.limitMigration(id, 1), { code: 'ERR_DWCP_MIGRATION_UNKNOWN' });
  await until(async () => third.seen.some(({ maxBandwidth }) => maxBandwidth === 4 * MIB));
  const before = third.seen.at(-1)?.ackedBytes ?? 0;
  const startMs = Date.now();
  await until(async () => Date.now() - startMs > 1000);
  const rate = ((third.seen.at(-1)?.ackedBytes ?? 0) - before) / ((Date.now() - startMs) / 1000);
  assert.ok(rate < 8 * MIB, `${rate / MIB} MiB/s`);
  await a.cancel(id);
  await assert.rejects(third.done, { code: 'ERR_DWCP_CANCELLED' });
  const guests = await a.guests();
  assert.deepEqual(
    guests.map(({ name, state }) => [name, state]),
    [['vm3', 'running']],
  );
});
