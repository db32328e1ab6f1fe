import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DemoClient } from '../../src/cli/demo/cluster.ts';
import { type DemoOptions, runDemo } from '../../src/cli/demo/scenario.ts';
import type { GuestStatus } from '../../src/node.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { FakeNode, RECEIPT } from '../agent/fake-node.ts';

const OPTIONS: DemoOptions = {
  guest: 'memory',
  memoryBytes: 1 << 30,
  dirtyBytesPerSec: 1e6,
  mode: 'datacenter',
  profile: 'v3',
  guestOptions: {},
  watch: null,
  say: () => {},
  onProgress: () => {},
  appliedWithinMs: 200,
};

/** Three agents whose guest moves when told; `keep` and `freeze` make them break their word. */
function clusterOf({
  keep = false,
  freeze = false,
  verified = true as boolean | null,
  log = 'b',
} = {}) {
  let moved = false;
  let operations = 100;
  const [base] = new FakeNode().guestList;
  assert.ok(base?.workload);
  const workload = base.workload;
  const guest = (epoch: number): GuestStatus => {
    operations += freeze && moved ? 0 : 10;
    return { ...base, name: 'demo', epoch, workload: { ...workload, operations } };
  };
  const clientOf = (id: string): DemoClient => ({
    status: async () => ({
      node: id,
      controlPort: 1,
      bulkPort: 2,
      uptimeMs: 3,
      guests: [],
      peers: new FakeNode().peerList,
      group: new FakeNode().groupView,
      contentCache: null,
      dirtyTracking: 'rehash',
      owners: [{ vm: 'demo', owner: moved ? log : 'a', epoch: moved ? 2 : 1, movingTo: null }],
    }),
    guests: async () => {
      if (id === 'a' && (!moved || keep)) return [guest(1)];
      return id === 'b' && moved ? [guest(2)] : [];
    },
    startGuest: async () => guest(1),
    migrate: async () => {
      moved = true;
      return { ...RECEIPT, verified, postcopy: verified === null };
    },
  });
  return { clients: new Map(['a', 'b', 'c'].map((id) => [id, clientOf(id)])) };
}

test('the document has exactly the keys that people script against', async () => {
  const document = await runDemo(clusterOf(), OPTIONS);
  assert.deepEqual(document, {
    guest: 'memory',
    mode: 'datacenter',
    memoryBytes: 1 << 30,
    rounds: 3,
    totalMs: 1234.5,
    downtimeMs: 12.5,
    wireBytes: 5000,
    rawBytes: 4096,
    goodputBytesPerSec: 3318,
    pages: { zero: 7, duplicate: 2, delta: 3, compressed: 4, raw: 1 },
    workload: {
      operationsBefore: 120,
      operationsAfter: 140,
      longestGapMs: 12.5,
      invariantHeld: true,
    },
    transport: 'rdma',
    transportFallback: null,
    rdma: {
      ...{ streams: 3, workRequests: 100, doorbells: 40, completions: 13, arrivals: 25 },
      ...{ writtenBytes: 1 << 20, copiedBytes: 4096, fallbacks: 1 },
    },
    owner: { before: 'a', after: 'b', epoch: 2 },
    verified: true,
    postcopy: false,
  });
});

test('a guest that runs on two hosts fails the demo', async () => {
  await assert.rejects(
    runDemo(clusterOf({ keep: true }), OPTIONS),
    (error) => error instanceof DwcpError && /it runs on: a, b/.test(error.message),
  );
});

test('a guest that stands still after its move fails the demo', async () => {
  await assert.rejects(
    runDemo(clusterOf({ freeze: true }), OPTIONS),
    (error) => error instanceof DwcpError && error.code === 'ERR_DWCP_GUEST_FAILED',
  );
});

test('a move that was not verified is never called verified', async () => {
  const document = await runDemo(clusterOf({ verified: null }), OPTIONS);
  assert.deepEqual([document.verified, document.postcopy], [false, true]);
});

test('a guest that runs where the log does not say fails the demo', async () => {
  await assert.rejects(
    runDemo(clusterOf({ log: 'a' }), OPTIONS),
    (error) => error instanceof DwcpError && /its owner in the log is a/.test(error.message),
  );
});
