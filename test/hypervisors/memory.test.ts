import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { memoryGuest, memoryHypervisor } from '../../src/hypervisors/memory-guest.ts';
import { allThreadsStopped, freeze, isAlive } from '../../src/hypervisors/process-fence.ts';
import type { Guest, OutgoingMigration, WorkloadReport } from '../../src/ports/hypervisor.ts';
import type { BulkLink } from '../../src/ports/transport.ts';
import type { Completion } from '../../src/util/errors.ts';

const MEMORY_BYTES = 32 * 2 ** 20;
const dataDir = mkdtempSync(join(tmpdir(), 'dwcp-memory-'));
const hypervisor = memoryHypervisor({ dataDir });

after(async () => {
  await ask<readonly string[]>((done) => hypervisor.removeOrphans(new Set(), done));
  rmSync(dataDir, { recursive: true, force: true });
});

function ask<T>(start: (done: Completion<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error)));
  });
}

function startGuest(dirtyBytesPerSec: number): Promise<Guest> {
  const options = { name: 'worker', memoryBytes: MEMORY_BYTES, dirtyBytesPerSec };
  return memoryGuest(options).open({ dataDir });
}

async function report(guest: Guest): Promise<WorkloadReport> {
  const workload = await ask<WorkloadReport | null>((done) => guest.workload(done));
  assert.ok(workload !== null, 'a running guest reports');
  return workload;
}

test('a frozen guest stands still, shows the gap to itself, and keeps its invariant', async () => {
  const guest = await startGuest(10 * 2 ** 20);
  await ask<void>((done) => freeze(guest.reference, done));
  assert.equal(await ask((done) => guest.state(done)), 'fenced');
  assert.ok(allThreadsStopped(guest.reference));
  await delay(150);
  await ask<void>((done) => guest.unfence(done));
  await delay(50);
  const workload = await report(guest);
  assert.ok(workload.longestGapMs >= 140, `the guest saw ${workload.longestGapMs} ms`);
  assert.equal(workload.invariantHeld, true);
  await ask<void>((done) => guest.kill(done));
});

for (const afterMs of [0, 1, 5]) {
  test(`an abort ${afterMs} ms after the stop began leaves the guest running`, async () => {
    const guest = await startGuest(10 * 2 ** 20);
    const sender = { send: () => {}, close: () => {}, counters: () => ({}) };
    const link = { sendPages: () => sender } as unknown as BulkLink;
    const outgoing = await ask<OutgoingMigration>((done) =>
      guest.openOutgoing(
        {
          ...{ transferId: 1, epoch: 2, migrationId: 'm1', maxDowntimeMs: 300 },
          ...{ profile: 'v3', endpoint: {}, link, onFailure: () => {} },
        },
        done,
      ),
    );
    outgoing.stopAndCopy(() => {});
    if (afterMs > 0) await delay(afterMs);
    await ask<void>((done) => outgoing.abort(done));
    await delay(100);
    assert.equal(await ask((done) => guest.state(done)), 'running');
    const { operations } = await report(guest);
    await delay(50);
    assert.ok((await report(guest)).operations > operations, 'it works');
    await ask<void>((done) => guest.kill(done));
  });
}

test('a guest outlives its agent and is adopted again, but only as the same process', async () => {
  const guest = await startGuest(0);
  const { reference } = guest;
  guest.detach();
  assert.ok(isAlive(reference));
  const adopted = await ask<Guest>((done) => hypervisor.adopt(reference, done));
  // A guest that was started this instant may not have finished its first one.
  const deadlineMs = performance.now() + 5_000;
  while ((await report(adopted)).operations === 0) {
    assert.ok(performance.now() < deadlineMs, 'the adopted guest works');
    await delay(5);
  }
  const other = { ...reference, startTicks: reference.startTicks + 1 };
  await assert.rejects(
    ask<Guest>((done) => hypervisor.adopt(other, done)),
    { code: 'ERR_DWCP_GUEST_FAILED' },
  );
  await ask<void>((done) => adopted.kill(done));
  assert.ok(!isAlive(reference), 'killed means gone');
});

test('orphans are found and removed, except those that are still wanted', async () => {
  const [kept, orphan] = [await startGuest(0), await startGuest(0)];
  const keep = new Set([kept.reference.socketPath]);
  const removed = await ask<readonly string[]>((done) => hypervisor.removeOrphans(keep, done));
  assert.deepEqual(removed, [orphan.reference.socketPath]);
  assert.ok(isAlive(kept.reference));
  assert.ok(!isAlive(orphan.reference));
  await ask<void>((done) => kept.kill(done));
});
