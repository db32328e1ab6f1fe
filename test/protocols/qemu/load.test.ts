import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Load } from '../../../src/protocols/qemu/load.ts';

test('the guest is not stopped while the waiting QEMU needs longer than the budget', () => {
  const load = new Load();
  load.roundEnded(100_000);
  assert.equal(load.fits(300), false, '410 MB at an unmeasured rate');
  load.reported({ round: 1, unfedPages: 100_000, loadBytesPerSec: 1e9 });
  assert.equal(load.fits(300), false, '410 ms');
  load.reported({ round: 1, unfedPages: 50_000, loadBytesPerSec: 1e9 });
  assert.equal(load.fits(300), true, '205 ms');
});

test('pages of rounds that no report covers are still to be loaded', () => {
  const load = new Load();
  load.roundEnded(10);
  load.roundEnded(20);
  assert.equal(load.unfedPages(), 30);
  load.reported({ round: 1, unfedPages: 4, loadBytesPerSec: 0 });
  assert.equal(load.unfedPages(), 24);
  load.reported({ round: 2, unfedPages: 7, loadBytesPerSec: 0 });
  assert.equal(load.unfedPages(), 7);
});

test('a report that was overtaken by a newer one changes nothing', () => {
  const load = new Load();
  load.roundEnded(10);
  load.roundEnded(20);
  load.reported({ round: 2, unfedPages: 0, loadBytesPerSec: 1e9 });
  load.reported({ round: 1, unfedPages: 10, loadBytesPerSec: 1e9 });
  assert.equal(load.unfedPages(), 0);
});
