import assert from 'node:assert/strict';
import { bulkSuite } from '../conformance/bulk.ts';
import { MIB } from '../transports/bulk-pair.ts';
import { NO_RDMA, RDMA_ADDRESS } from './device.ts';

// The device is emulated, by an emulated machine: enough to cross every ring several times.
bulkSuite({
  name: 'RDMA',
  skip: NO_RDMA,
  options: { host: RDMA_ADDRESS ?? '', rdma: 'require' },
  bytes: 32 * MIB,
  bytesPerSec: 8 * MIB,
  limit: 4e6,
  check: (pair) => {
    const { rdma, streams } = pair.source.counters();
    assert.equal(rdma.streams, streams);
    assert.ok(rdma.writtenBytes > MIB && rdma.copiedBytes < rdma.writtenBytes / 100);
    assert.ok(rdma.doorbells <= rdma.workRequests && rdma.completions < rdma.workRequests);
    assert.equal(rdma.fallback, '');
    // Its connection carried the join, and nothing since.
    assert.ok((pair.streams[0]?.info()?.bytesSent ?? MIB) < 4096);
    console.log(`RDMA: ${JSON.stringify(rdma)}`);
  },
});
