/** In the lab's guest, whose kernel is older than PAGEMAP_SCAN and has soft-dirty bits. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { test } from 'node:test';
import { allThreadsStopped, freeze } from '../../src/hypervisors/process-fence.ts';
import {
  bestTracking,
  createPageSet,
  createTracker,
  digestPages,
  fillRegion,
  probeWriteTracking,
} from '../../src/native.ts';
import { promised } from '../../src/util/promised.ts';
import {
  changedPages,
  dirtyTrackerConformance,
  withTrackedGuest,
} from '../conformance/dirty-tracker.ts';

const timeout = 120_000;

dirtyTrackerConformance('soft-dirty');

test('a kernel without PAGEMAP_SCAN says so, and its soft-dirty bits are taken', { timeout }, () =>
  withTrackedGuest('soft-dirty', async ({ guest, region }) => {
    assert.throws(() => probeWriteTracking('pagemap-scan'), { code: 'ERR_DWCP_NATIVE' });
    probeWriteTracking('soft-dirty');
    const { pid, address } = guest.process;
    const chosen = createTracker({ backend: 'auto', pid, address: BigInt(address), region });
    assert.equal(chosen.backend, 'soft-dirty');
    assert.equal(bestTracking(), 'soft-dirty');
    chosen.close();
  }),
);

test('a page that the guest has not mapped is found by what it holds', { timeout }, () =>
  withTrackedGuest('soft-dirty', async ({ guest, region, tracker }) => {
    await promised<void>((done) => guest.pause(done));
    const pageCount = region.sizeBytes / region.pageBytes;
    tracker.scan(createPageSet(pageCount));
    const unmapped = unmappedPages(guest.process.pid, Number(guest.process.address), pageCount);
    assert.ok(unmapped.length > 100, `${unmapped.length} pages have no bit`);
    const before = digestPages(region, 0, pageCount);
    // Through our own mapping, which sets no bit in the guest's.
    fillRegion(region, 1, 0);
    const dirty = createPageSet(pageCount);
    tracker.scan(dirty);
    const changed = new Set(changedPages(before, digestPages(region, 0, pageCount)));
    assert.deepEqual(
      unmapped.filter((page) => !(changed.has(page) && dirty.has(page))),
      [],
    );
    assert.equal(tracker.scan(createPageSet(pageCount)).dirtyPages, 0);
  }),
);

test('a scan leaves a stopped process stopped and a running one running', { timeout }, () =>
  withTrackedGuest('soft-dirty', async ({ guest, region, tracker }) => {
    const found = createPageSet(region.sizeBytes / region.pageBytes);
    tracker.scan(found);
    const operations = async () =>
      (await promised<{ operations: number } | null>((done) => guest.workload(done)))?.operations;
    const before = (await operations()) ?? 0;
    while (((await operations()) ?? 0) === before);
    await promised<void>((done) => freeze(guest.reference, done));
    tracker.scan(found);
    assert.ok(allThreadsStopped(guest.reference), 'what was frozen runs after a scan');
    found.clear();
    assert.equal(tracker.scan(found).dirtyPages, 0, 'a frozen guest writes nothing');
  }),
);

/** Pages without an entry in the process's page table: bit 63 of its pagemap. */
function unmappedPages(pid: number, address: number, pageCount: number): readonly number[] {
  const entries = Buffer.alloc(pageCount * 8);
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  readSync(pagemap, entries, 0, entries.length, (address / 4096) * 8);
  closeSync(pagemap);
  return Array.from({ length: pageCount }, (_, page) => page).filter(
    (page) => ((entries[page * 8 + 7] ?? 0) & 0x80) === 0,
  );
}
