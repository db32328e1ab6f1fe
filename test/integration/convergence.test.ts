import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoClient, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import type { MigrationProgress } from '../../src/node.ts';

const MIB = 2 ** 20;
async function onCluster(work: (a: DemoClient) => Promise<void>): Promise<void> {
  const cluster = await startDemoCluster({ settings: { link: { streams: 2 } } });
  try {
    const a = cluster.clients.get('a');
    assert.ok(a !== undefined);
    const linked = async (): Promise<boolean> =>
      (await a.status()).peers.some(({ id, connected }) => id === 'b' && connected);
    for (let tries = 0; !(await linked()); tries += 1) {
      assert.ok(tries < 400, 'a and b did not link');
      await delay(50);
    }
    await work(a);
  } finally {
    await cluster.stop();
  }
}

const BUSY = { memoryBytes: 16 * MIB, dirtyBytesPerSec: 200 * MIB, zeroShare: 0 };

test('encoding harder moves a guest whose pages change little but all the time', () =>
  onCluster(async (a) => {
    await a.startGuest('memory', 'vm', BUSY);
    const limits = { maxDowntimeMs: 20, maxBandwidth: 16 * MIB };
    const receipt = await a.migrate('vm', { to: 'b', ...limits }, () => {});
    assert.equal(receipt.verified, true);
    assert.equal(receipt.steps[0], 'encode harder');
  }));

test('a guest that dirties faster than its link carries stays, and the error says what was tried', () =>
  onCluster(async (a) => {
    await a.startGuest('memory', 'vm', BUSY);
    const seen: MigrationProgress[] = [];
    const limits = { maxDowntimeMs: 1, throttlePercentMax: 50, maxBandwidth: 16 * MIB };
    await assert.rejects(
      a.migrate('vm', { to: 'b', profile: 'v1', ...limits }, (progress) => seen.push(progress)),
      (error: Error & { readonly code?: string }) => {
        assert.equal(error.code, 'ERR_DWCP_NOT_CONVERGING', error.message);
        assert.match(error.message, /tried: encode harder: not possible, profile v1 has/);
        assert.match(error.message, /slow the guest down by 25 %: not possible, a memory guest/);
        return true;
      },
    );
    assert.ok(seen.some(({ reason }) => reason.includes('allowed are 1 ms')));
    const [guest] = await a.guests();
    assert.equal(guest?.state, 'running');
    assert.equal(guest?.workload?.invariantHeld, true);
  }));

test('more downtime is taken only up to its ceiling, and the receipt says so', () =>
  onCluster(async (a) => {
    await a.startGuest('memory', 'vm', BUSY);
    const limits = { maxDowntimeMs: 1, maxDowntimeCeilingMs: 20_000, maxBandwidth: 16 * MIB };
    const receipt = await a.migrate('vm', { to: 'b', profile: 'v1', ...limits }, () => {});
    assert.equal(receipt.verified, true);
    assert.match(receipt.steps.at(-1) ?? '', /^\d+ ms of downtime instead of 1 ms$/);
    await assert.rejects(
      a.migrate('vm', { to: 'b', maxDowntimeMs: 500, maxDowntimeCeilingMs: 100 }, () => {}),
      { code: 'ERR_DWCP_USAGE' },
    );
  }));
