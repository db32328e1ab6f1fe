import assert from 'node:assert/strict';
import { bulkSuite } from '../conformance/bulk.ts';
import { MIB } from './bulk-pair.ts';

bulkSuite({
  name: 'TCP',
  skip: false,
  options: {},
  bytes: 64 * MIB,
  bytesPerSec: 200 * MIB,
  limit: 64e6,
  check: (pair) => assert.ok((pair.streams[0]?.info()?.bytesSent ?? 0) > MIB),
});
