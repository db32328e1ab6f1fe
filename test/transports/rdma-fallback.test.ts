import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agreedRdma, rdmaFeatures, rdmaPlan, rdmaRequired } from '../../src/actors/link-rdma.ts';
import type { LinkAgreement } from '../../src/protocols/link/handshake.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { assertEqualMemory, MIB, move, pairUp, until } from './bulk-pair.ts';

// No RDMA device, emulated or not, has the address of loopback.
test('streams that prefer RDMA are carried by their connections where there is none, and say why', async () => {
  const pair = await pairUp({ streams: 2, rdma: 'prefer' });
  try {
    assertEqualMemory(await move(pair, 8 * MIB));
    for (const link of [pair.source, pair.target]) {
      const { rdma, streams } = link.counters();
      assert.equal(streams, 2);
      assert.equal(rdma.streams, 0);
      assert.equal(rdma.writtenBytes, 0);
      assert.equal(rdma.fallbacks, 2);
      assert.match(rdma.fallback, /RDMA|rdma/);
    }
  } finally {
    pair.close();
  }
});

test('streams that require RDMA end where there is none, and carry nothing', async () => {
  const pair = await pairUp({ streams: 0 });
  const ended: DwcpError[] = [];
  try {
    pair.source.setRdma('require', '');
    pair.target.setRdma('require', '');
    const stream = pair.dialling.dial({
      address: { host: '127.0.0.1', port: pair.port },
      ...{ localAddress: null, congestionControl: 'reno', connectTimeoutMs: 2000 },
    });
    stream.subscribe((event) => {
      if (event.type === 'challenge') stream.sendJoin(event.challenge);
      else if (event.type === 'join') stream.attach(pair.source);
      else if (event.error !== null) ended.push(event.error);
    });
    await until(() => ended.length > 0 && pair.lost.length > 0);
    const codes = [...ended, ...pair.lost].map(({ code }) => code);
    assert.ok(codes.includes('ERR_DWCP_UNSUPPORTED'), codes.join());
    assert.equal(pair.source.counters().streams, 0);
    assert.equal(pair.target.counters().streams, 0);
  } finally {
    pair.close();
  }
});

const AGREEMENT = { features: ['rdma'] } as unknown as LinkAgreement;
const WITHOUT = { features: [] } as unknown as LinkAgreement;

test('auto takes RDMA where both have it, and says nothing where one has not', () => {
  const plan = rdmaPlan({}, () => null);
  assert.deepEqual(rdmaFeatures(plan), ['rdma']);
  assert.deepEqual(rdmaRequired(plan), []);
  assert.deepEqual(agreedRdma(plan, 'b', AGREEMENT), { wish: 'prefer', why: '' });
  assert.deepEqual(agreedRdma(plan, 'b', WITHOUT), { wish: 'off', why: '' });
  const bare = rdmaPlan({}, () => 'no device');
  assert.deepEqual(rdmaFeatures(bare), []);
  assert.deepEqual(agreedRdma(bare, 'b', WITHOUT), { wish: 'off', why: '' });
});

test('whoever asks for RDMA is told by whom it fails, and TCP asks for nothing', () => {
  const plan = rdmaPlan({ transport: 'rdma' }, () => null);
  assert.match(agreedRdma(plan, 'b', WITHOUT).why, /^b offers no RDMA$/);
  const bare = rdmaPlan({ transport: 'rdma' }, () => 'no device');
  assert.equal(agreedRdma(bare, 'b', WITHOUT).why, 'no device');
  assert.equal(
    rdmaPlan({ transport: 'tcp' }, () => assert.fail('TCP looks for no device')),
    null,
  );
});

test('whoever requires RDMA refuses a host without it, and peers without it', () => {
  const said = { transport: 'rdma', requireTransport: true } as const;
  assert.throws(
    () => rdmaPlan(said, () => 'no device'),
    (error) =>
      error instanceof DwcpError &&
      error.code === 'ERR_DWCP_UNSUPPORTED' &&
      /no device/.test(error.message),
  );
  const plan = rdmaPlan(said, () => null);
  assert.deepEqual(rdmaRequired(plan), ['rdma']);
  assert.equal(agreedRdma(plan, 'b', AGREEMENT).wish, 'require');
});
