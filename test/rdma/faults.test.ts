import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createPageSet, createRegion, fillRegion } from '../../src/native.ts';
import type { BulkDialOptions, BulkStream } from '../../src/ports/transport.ts';
import { createNativeBulkTransport } from '../../src/transports/native-bulk.ts';
import type { DwcpError } from '../../src/util/errors.ts';
import { assertEqualMemory, MIB, move, pairUp, someKeys, until } from '../transports/bulk-pair.ts';
import { NO_RDMA, RDMA_ADDRESS } from './device.ts';

const host = RDMA_ADDRESS ?? '';
const PEER = fileURLToPath(new URL('./peer-end.js', import.meta.url));
/** The guest is emulated, and this machine may have other work. */
const PATIENCE_MS = 60_000;

test('sealed chunks over queue pairs arrive bit-exact, and none of them in plain', {
  skip: NO_RDMA,
}, async () => {
  const pair = await pairUp({ streams: 2, host, rdma: 'require', keys: someKeys() });
  try {
    assertEqualMemory(await move(pair, 8 * MIB));
    const { keyBits, rdma, framesForged } = pair.source.counters();
    assert.equal(keyBits, 128);
    assert.equal(rdma.streams, 2);
    assert.equal(framesForged, 0);
  } finally {
    pair.close();
  }
});

test('what was under way on a queue pair that ends is sent over the others, and over those that come later', {
  skip: NO_RDMA,
}, async () => {
  const pair = await pairUp({ streams: 2, host, rdma: 'require', chunkBytes: 65_536 });
  try {
    pair.source.setMaxBandwidth(4 * MIB);
    const moved = await move(pair, 8 * MIB, () => {
      const timer = setInterval(() => {
        if (pair.source.counters().chunksSent < 8) return;
        clearInterval(timer);
        // Of the listener: the dialler's card finds out, or its socket does.
        for (const stream of pair.accepted) stream.close();
        void pair.redial().then(() => pair.source.setMaxBandwidth(0));
      }, 1);
    });
    assertEqualMemory(moved);
    assert.ok(pair.source.counters().rdma.streams > 0);
  } finally {
    pair.close();
  }
});

test('a killed peer ends its queue pairs with a coded error, and nothing hangs', {
  skip: NO_RDMA,
}, async () => {
  const sizeBytes = 32 * MIB;
  const peer = spawn(process.execPath, [PEER, host, String(sizeBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const transport = createNativeBulkTransport({ ioThreads: 2 });
  try {
    const [said] = (await once(peer.stdout, 'data')) as [Buffer];
    const link = transport.openLink({ peer: 'b', windowBytes: 2 ** 24, chunkBytes: 2 ** 18 });
    link.setRdma('require', '');
    const ended: (DwcpError | null)[] = [];
    for (let index = 0; index < 2; index += 1) join(transport.dial(dialOf(Number(said))), ended);
    function join(stream: BulkStream, into: (DwcpError | null)[]): void {
      stream.subscribe((event) => {
        if (event.type === 'challenge') stream.sendJoin(event.challenge);
        else if (event.type === 'join') stream.attach(link);
        else into.push(event.error);
      });
    }
    await until(() => link.counters().rdma.streams === 2, PATIENCE_MS);
    const region = createRegion({ name: 'from', sizeBytes, hugePages: false });
    fillRegion(region, 1, 0);
    const pages = createPageSet(sizeBytes / 4096);
    pages.addAll();
    link.setMaxBandwidth(4 * MIB);
    const sender = link.sendPages({ transferId: 42, epoch: 1, region }, () => {});
    sender.send(pages);
    await until(() => link.counters().chunksSent > 8, PATIENCE_MS);
    peer.kill('SIGKILL');
    await until(() => ended.length === 2, PATIENCE_MS);
    for (const error of ended) assert.equal(error?.code, 'ERR_DWCP_PEER_UNREACHABLE');
    const { streams, rdma } = link.counters();
    assert.equal(streams + rdma.streams, 0);
    sender.close();
    link.close();
  } finally {
    peer.kill('SIGKILL');
    transport.close();
  }
});

test('sixty-four queue pairs of one link share what they pin, and all carry', {
  skip: NO_RDMA,
}, async () => {
  const pair = await pairUp({ streams: 64, host, rdma: 'require', chunkBytes: 16_384 });
  try {
    assertEqualMemory(await move(pair, 8 * MIB));
    assert.equal(pair.source.counters().rdma.streams, 64);
    assert.ok(pair.source.lanes().lanes.filter((lane) => lane.ackedBytes > 0).length > 8);
  } finally {
    pair.close();
  }
});

function dialOf(port: number): BulkDialOptions {
  return {
    ...{ address: { host, port }, localAddress: null },
    ...{ congestionControl: 'reno', connectTimeoutMs: PATIENCE_MS },
  };
}
