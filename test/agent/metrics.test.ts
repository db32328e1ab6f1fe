import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMetricsServer } from '../../src/agent/metrics-server.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { FakeNode, MODE_CHANGE, RECEIPT, STATUS } from './fake-node.ts';
import { scrape } from './scrape.ts';

/** Every series that this agent may export, with the value its producer was given below. */
const EXPECTED: readonly (readonly [string, number])[] = [
  ['dwcp_guests{state="running"}', 1],
  ['dwcp_guests{state="paused"}', 0],
  ['dwcp_guests{state="fenced"}', 0],
  ['dwcp_guests{state="incoming"}', 0],
  ['dwcp_guests{state="outcomeUnknown"}', 0],
  ['dwcp_guest_memory_bytes{guest="vm1"}', 1 << 30],
  ['dwcp_guest_epoch{guest="vm1"}', 5],
  ['dwcp_guest_operations{guest="vm1"}', 777],
  ['dwcp_guest_longest_gap_seconds{guest="vm1"}', 0.0125],
  ['dwcp_link_connected{peer="b"}', 1],
  ['dwcp_link_streams{peer="b"}', 6],
  ['dwcp_link_rdma_streams{peer="b"}', 3],
  ['dwcp_link_rdma_fallbacks{peer="b"}', 1],
  ['dwcp_link_rdma_bytes{peer="b"}', 2 ** 20],
  ['dwcp_link_rdma_work_requests{peer="b"}', 100],
  ['dwcp_link_rdma_doorbells{peer="b"}', 40],
  ['dwcp_link_rdma_completions{peer="b"}', 13],
  ['dwcp_link_sent_bytes{peer="b"}', 111],
  ['dwcp_link_received_bytes{peer="b"}', 222],
  ['dwcp_link_reinjected_chunks{peer="b"}', 3],
  ['dwcp_link_corrupt_chunks{peer="b"}', 2],
  ['dwcp_link_forged_frames{peer="b"}', 3],
  ['dwcp_link_replayed_frames{peer="b"}', 4],
  ['dwcp_link_encryption{peer="b",cipher="aes-128-gcm"}', 1],
  ['dwcp_link_max_bandwidth_bytes_per_second{peer="b"}', 5e6],
  ['dwcp_link_problem{peer="b",code="ERR_DWCP_PEER_UNREACHABLE"}', 1],
  ['dwcp_link_mode{peer="b",mode="datacenter"}', 1],
  ['dwcp_link_mode_pinned{peer="b"}', 1],
  ['dwcp_link_mode_changes_total{peer="b",to="datacenter",outcome="agreed"}', 1],
  ['dwcp_group_has_leader', 1],
  ['dwcp_group_is_leader', 0],
  ['dwcp_group_term', 4],
  ['dwcp_group_commit_index', 90],
  ['dwcp_group_applied_index', 89],
  ['dwcp_vms_owned{owner="a"}', 1],
  ['dwcp_content_cache_pages', 12],
  ['dwcp_content_cache_bytes', 5e4],
  ['dwcp_content_cache_max_bytes', 1e6],
  ['dwcp_content_cache_hits', 40],
  ['dwcp_content_cache_misses', 6],
  ['dwcp_content_cache_saved_bytes', 162560],
  ['dwcp_content_cache_corrupt_pages', 2],
  ['dwcp_content_cache_evicted_pages', 9],
  ['dwcp_content_cache_write_errors', 8],
  ['dwcp_migrations_running{side="source"}', 1],
  ['dwcp_migrations_running{side="destination"}', 0],
  ['dwcp_migration_round{migration="m1",guest="vm1"}', 2],
  ['dwcp_migration_remaining_bytes{migration="m1",guest="vm1"}', 4096],
  ['dwcp_migration_dirty_bytes_per_second{migration="m1",guest="vm1"}', 99.5],
  ['dwcp_migration_goodput_bytes_per_second{migration="m1",guest="vm1"}', 12.5],
  ['dwcp_migrations_finished_total{side="source",outcome="completed"}', 1],
  ['dwcp_migration_stopped_seconds_sum', 0.0415],
  ['dwcp_migration_stopped_seconds_count', 1],
  ['dwcp_link_changes_total{peer="b",change="peerUp"}', 1],
  ['dwcp_faults_total{code="ERR_DWCP_CORRUPT"}', 2],
];

test('every exported series has a producer, and no other series is exported', async () => {
  const node = new FakeNode();
  const server = await startMetricsServer(node, { host: '127.0.0.1', port: 0 });
  try {
    const completed = { ...STATUS, phase: 'completed', receipt: RECEIPT } as const;
    node.events$.next({ type: 'migration', status: completed });
    // The same end told twice is one migration.
    node.events$.next({ type: 'migration', status: completed });
    node.events$.next({ type: 'peerUp', peer: 'b', detail: '' });
    // In force, then agreed, then told again with when it took effect.
    for (const change of [
      { ...MODE_CHANGE, outcome: 'inForce' },
      MODE_CHANGE,
      MODE_CHANGE,
    ] as const) {
      node.events$.next({ type: 'linkMode', peer: 'b', change });
    }
    for (const message of ['one', 'two']) {
      node.events$.next({ type: 'fault', error: new DwcpError('ERR_DWCP_CORRUPT', message) });
    }
    const { series } = await scrape(server.port);
    for (const [name, value] of EXPECTED) assert.equal(series.get(name), value, name);
    const known = new Set(EXPECTED.map(([name]) => name));
    const others = [...series.keys()].filter(
      (name) => !known.has(name) && !name.startsWith('dwcp_migration_stopped_seconds_bucket'),
    );
    assert.deepEqual(others, []);
  } finally {
    await server.close();
  }
});

test('a guest that left and a migration that ended leave no stale series', async () => {
  const node = new FakeNode();
  const server = await startMetricsServer(node, { host: '127.0.0.1', port: 0 });
  try {
    await scrape(server.port);
    node.guestList = [];
    node.migrationList = [{ ...STATUS, phase: 'completed' }];
    const names = [...(await scrape(server.port)).series.keys()];
    assert.deepEqual(
      names.filter((name) => name.includes('vm1')),
      [],
    );
  } finally {
    await server.close();
  }
});

test('a node without a content cache exports nothing of one', async () => {
  const node = new FakeNode();
  node.cache = null;
  const server = await startMetricsServer(node, { host: '127.0.0.1', port: 0 });
  try {
    const names = [...(await scrape(server.port)).series.keys()];
    assert.ok(!names.some((name) => name.includes('content_cache')));
  } finally {
    await server.close();
  }
});

test('health names the node and its peers, and a taken port is a coded error', async () => {
  const node = new FakeNode();
  const server = await startMetricsServer(node, { host: '127.0.0.1', port: 0 });
  try {
    const response = await fetch(`http://127.0.0.1:${server.port}/health`);
    assert.deepEqual(await response.json(), { ok: true, node: 'a', guests: 1, peers: { b: true } });
    await assert.rejects(
      startMetricsServer(node, { host: '127.0.0.1', port: server.port }),
      (error) => error instanceof DwcpError && error.code === 'ERR_DWCP_LISTEN',
    );
  } finally {
    await server.close();
  }
});
