import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkBandwidth, checkNodeOptions } from '../../src/actors/node-limits.ts';
import type { StartNodeOptions } from '../../src/node.ts';

const MINIMAL: StartNodeOptions = {
  ...{ id: 'a', listen: { host: '127.0.0.1', port: 0 }, peers: [], dataDir: '/tmp/none' },
  identity: { certFile: '', keyFile: '', caFile: '' },
};

test('options in their range pass, also none of them', () => {
  checkNodeOptions(MINIMAL);
  checkNodeOptions({ ...MINIMAL, streams: 'auto', chunkBytes: 65_536, maxConcurrentMigrations: 1 });
  checkNodeOptions({ ...MINIMAL, streams: 512, windowBytes: 2 ** 32, maxCpuPercent: 6400 });
});

test('an option beyond its range is a coded error that names it, not an assertion', () => {
  const wrong: readonly Partial<StartNodeOptions>[] = [
    ...[{ streams: 0 }, { streams: 513 }, { streams: 1.5 }, { chunkBytes: 65_537 }],
    ...[{ chunkBytes: 2 ** 25 }, { windowBytes: 1 }, { maxConcurrentMigrations: 0 }],
    ...[{ bulkPort: 65_536 }, { maxBandwidth: -1 }, { migrationBandwidth: Number.NaN }],
    { maxCpuPercent: 1e6 },
  ];
  for (const options of wrong) {
    const [name] = Object.keys(options);
    assert.throws(() => checkNodeOptions({ ...MINIMAL, ...options }), {
      code: 'ERR_DWCP_USAGE',
      message: new RegExp(`^${name} cannot be `),
      hint: /whole number from \d+ to \d+/,
    });
  }
});

test('a bandwidth that no bucket can hold is refused', () => {
  checkBandwidth(0);
  checkBandwidth(Number.MAX_SAFE_INTEGER);
  for (const bytesPerSec of [-1, 0.5, Number.POSITIVE_INFINITY, 2 ** 60]) {
    assert.throws(() => checkBandwidth(bytesPerSec), { code: 'ERR_DWCP_USAGE' });
  }
});
