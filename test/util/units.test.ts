import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, parseBytes } from '../../src/util/units.ts';

test('sizes are read as people write them', () => {
  assert.equal(parseBytes('1GiB'), 2 ** 30);
  assert.equal(parseBytes('100MiB/s'), 100 * 2 ** 20);
  assert.equal(parseBytes('1Gbit/s'), 125_000_000);
  assert.equal(parseBytes('4096'), 4096);
});

test('what is not a size is refused with a coded error', () => {
  for (const text of ['', 'GiB', '-1MiB', '1 furlong', '1e9']) {
    assert.throws(() => parseBytes(text), { code: 'ERR_DWCP_USAGE' }, text);
  }
});

test('formatted sizes keep three significant digits', () => {
  assert.equal(formatBytes(1536), '1.5 KiB');
  assert.equal(formatBytes(0), '0 B');
});
