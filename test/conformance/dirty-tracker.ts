import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MemoryGuest } from '../../src/hypervisors/memory/guest.ts';
import { mapGuestMemory } from '../../src/hypervisors/memory/memory.ts';
import { memoryGuest } from '../../src/hypervisors/memory-guest.ts';
import { createPageSet, createTracker, digestPages, type NativeRegion } from '../../src/native.ts';
import type { DirtyTracker, DirtyTrackingBackend } from '../../src/ports/memory.ts';
import { PAGE_DIGEST_BYTES } from '../../src/ports/memory.ts';
import { promised } from '../../src/util/promised.ts';

const MEMORY_BYTES = 32 * 2 ** 20;
const PAGES = MEMORY_BYTES / 4096;
const WRITES_FOR_MS = 300;

export interface TrackedGuest {
  readonly guest: MemoryGuest;
  readonly region: NativeRegion;
  readonly tracker: DirtyTracker;
}

/** A guest that writes 20 MiB a second, and the tracker of its writes. */
export async function withTrackedGuest(
  backend: DirtyTrackingBackend,
  work: (tracked: TrackedGuest) => Promise<void>,
): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'dwcp-tracker-'));
  const options = { name: 'tracked', memoryBytes: MEMORY_BYTES, dirtyBytesPerSec: 20 * 2 ** 20 };
  const guest = (await memoryGuest(options).open({ dataDir })) as MemoryGuest;
  const region = mapGuestMemory(guest.process);
  try {
    const address = BigInt(guest.process.address);
    const tracker = createTracker({ backend, pid: guest.process.pid, address, region });
    try {
      assert.equal(tracker.backend, backend);
      await work({ guest, region, tracker });
    } finally {
      tracker.close();
    }
  } finally {
    region.close();
    await promised<void>((done) => guest.kill(done));
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** The rules of a dirty tracker; every back-end that a kernel has passes the same ones. */
export function dirtyTrackerConformance(backend: DirtyTrackingBackend): void {
  const timeout = 120_000;

  test(`${backend} misses no page that a guest wrote`, { timeout }, () =>
    withTrackedGuest(backend, async ({ guest, region, tracker }) => {
      const dirty = createPageSet(PAGES);
      assert.equal(tracker.scan(dirty).dirtyPages, PAGES, 'the first scan returns every page');
      await promised<void>((done) => guest.pause(done));
      dirty.clear();
      tracker.scan(dirty);
      const before = digestPages(region, 0, PAGES);
      await promised<void>((done) => guest.unfence(done));
      await delay(WRITES_FOR_MS);
      await promised<void>((done) => guest.pause(done));
      dirty.clear();
      tracker.scan(dirty);
      const changed = changedPages(before, digestPages(region, 0, PAGES));
      const missed = changed.filter((page) => !dirty.has(page));
      assert.deepEqual(missed, [], 'pages that were written and not found');
      assert.ok(changed.length > 100, `the guest wrote (${changed.length} pages)`);
      dirty.clear();
      assert.equal(tracker.scan(dirty).dirtyPages, 0, 'a parked guest writes nothing');
    }),
  );

  test(`${backend} loses no write that comes while it scans`, { timeout }, () =>
    withTrackedGuest(backend, async ({ guest, region, tracker }) => {
      const dirty = createPageSet(PAGES);
      tracker.scan(dirty);
      await promised<void>((done) => guest.pause(done));
      dirty.clear();
      tracker.scan(dirty);
      dirty.clear();
      const before = digestPages(region, 0, PAGES);
      await promised<void>((done) => guest.unfence(done));
      // All scans of this while add to one set: a page that none of them found was lost between two.
      const endMs = performance.now() + WRITES_FOR_MS;
      while (performance.now() < endMs) {
        tracker.scan(dirty);
        await delay(0);
      }
      await promised<void>((done) => guest.pause(done));
      tracker.scan(dirty);
      const changed = changedPages(before, digestPages(region, 0, PAGES));
      assert.deepEqual(
        changed.filter((page) => !dirty.has(page)),
        [],
        'pages that no scan found',
      );
      assert.ok(changed.length > 100, `the guest wrote (${changed.length} pages)`);
    }),
  );

  // The memory outlives the process, and a re-hash looks at nothing else.
  if (backend === 'rehash') return;
  test(`${backend} says so when the process is gone`, { timeout }, () =>
    withTrackedGuest(backend, async ({ guest, tracker }) => {
      tracker.scan(createPageSet(PAGES));
      await promised<void>((done) => guest.kill(done));
      assert.throws(() => tracker.scan(createPageSet(PAGES)), { code: 'ERR_DWCP_NATIVE' });
    }),
  );
}

export function changedPages(before: Uint8Array, now: Uint8Array): readonly number[] {
  const bytes = PAGE_DIGEST_BYTES;
  return Array.from({ length: before.length / bytes }, (_, page) => page).filter(
    (page) =>
      Buffer.compare(
        before.subarray(page * bytes, (page + 1) * bytes),
        now.subarray(page * bytes, (page + 1) * bytes),
      ) !== 0,
  );
}
