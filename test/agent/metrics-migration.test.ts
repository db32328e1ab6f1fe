/** Two real agents, a real guest that moves slowly enough to be watched, and everything scraped meanwhile. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { type RunningAgent, runAgent } from '../../src/agent/agent.ts';
import type { AgentConfig } from '../../src/agent/config.ts';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { saveNode } from '../../src/identity/files.ts';
import { memoryGuest, startNode } from '../../src/index.ts';
import { type Scrape, scrape } from './scrape.ts';

const MEMORY_BYTES = 64 * 2 ** 20;
const DIRTY_BYTES_PER_SEC = 4 * 2 ** 20;
/** The first round then takes about two seconds. */
const LINK_BYTES_PER_SEC = 32 * 2 ** 20;
const MODE_RULES = {
  ...{ nearMs: 10, farMs: 50, wideBytesPerSec: 125e6, hysteresis: 0.2, confidence: 0.7 },
  ...{ samples: 10, minStayMs: 60_000, coolDownMs: 30_000, maxPerMinute: 2 },
};
const LOOPBACK = { host: '127.0.0.1', port: 0 };
const WITHIN_MS = 20_000;

const directory = mkdtempSync(join(tmpdir(), 'dwcp-metrics-'));
const agents: RunningAgent[] = [];
/** Every scrape, in order: of the source, of the destination. */
const seen: { readonly a: Scrape; readonly b: Scrape }[] = [];
/** A move without a fault leaves these at zero; the tests of the native links raise them. */
const FAULTS: ReadonlySet<string> = new Set([
  'dwcp_link_reinjected_chunks',
  'dwcp_link_corrupt_chunks',
  'dwcp_link_forged_frames',
  'dwcp_link_replayed_frames',
]);

before(async () => {
  const authority = await createAuthority();
  const start = async (id: string, peer: AgentConfig['peers'][number]) => {
    const identity = saveNode(join(directory, id), await issueNode(authority, id));
    const config: AgentConfig = {
      id,
      listen: LOOPBACK,
      peers: [peer],
      group: { voters: [] },
      dataDir: join(directory, id, 'data'),
      identity,
      admin: { listen: LOOPBACK, operators: [] },
      metrics: { listen: LOOPBACK },
      bulkPort: 0,
      link: {
        ...{
          mode: 'datacenter',
          modeRules: MODE_RULES,
          encryption: 'on',
          cipher: 'aes-128-gcm',
          streams: 2,
          chunkBytes: 2 ** 20,
          windowBytes: 2 ** 25,
        },
        ...{ congestionControl: 'auto', maxBandwidth: 0 },
        ...{ transport: 'auto', requireTransport: false },
      },
      migrations: {
        ...{ concurrent: 4, resumeGraceMs: 0, allowPostcopy: false },
        ...{ maxCpuPercent: 0, maxBandwidth: 0 },
      },
      cache: null,
      qemu: { binary: 'qemu-system-x86_64', args: [], env: {} },
      log: { level: 'fatal' },
    };
    const makeGuest = () => assert.fail('no guest was asked for over the admin service');
    const agent = await runAgent(config, {
      startNode,
      makeGuest,
      logger: pino({ level: 'silent' }),
    });
    agents.push(agent);
    return agent;
  };
  // The lower id dials, so the other's address of it is never used.
  const { node } = await start('b', { id: 'a', address: { host: '127.0.0.1', port: 1 } });
  await start('a', { id: 'b', address: { host: '127.0.0.1', port: node.address.controlPort } });
});

after(async () => {
  const guests = agents.flatMap(({ node }) => node.guests().map(({ pid }) => pid));
  for (const agent of agents) await agent.stop();
  for (const pid of guests) process.kill(pid, 'SIGKILL');
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
});

function agent(id: 'a' | 'b'): RunningAgent {
  const found = agents.find(({ node }) => node.id === id);
  assert.ok(found !== undefined);
  return found;
}

async function look(): Promise<{ readonly a: Scrape; readonly b: Scrape }> {
  const [a, b] = await Promise.all([
    scrape(agent('a').metricsPort),
    scrape(agent('b').metricsPort),
  ]);
  seen.push({ a, b });
  return { a, b };
}

async function lookUntil(holds: (now: { a: Scrape; b: Scrape }) => boolean, what: string) {
  const deadlineMs = performance.now() + WITHIN_MS;
  for (;;) {
    const now = await look();
    if (holds(now)) return now;
    assert.ok(performance.now() < deadlineMs, `never seen: ${what}`);
    await delay(50);
  }
}

/** All values that a series had, in order. */
function values(side: 'a' | 'b', name: string): readonly number[] {
  return seen.flatMap((each) => each[side].series.get(name) ?? []);
}

test('the series of a link say what it carries', async () => {
  const up = 'dwcp_link_connected{peer="b"}';
  await lookUntil(({ a, b }) => {
    return a.series.get(up) === 1 && b.series.get('dwcp_link_streams{peer="a"}') === 2;
  }, 'a link with its streams');
  const { a } = await look();
  assert.equal(a.series.get('dwcp_link_mode{peer="b",mode="datacenter"}'), 1);
  assert.equal(a.series.get('dwcp_link_changes_total{peer="b",change="peerUp"}'), 1);
});

test('the series of a migration follow it while it runs, on both sides', async () => {
  const { node } = agent('a');
  const options = { memoryBytes: MEMORY_BYTES, dirtyBytesPerSec: DIRTY_BYTES_PER_SEC };
  const guest = await node.adopt(memoryGuest({ name: 'vm', ...options }));
  await lookUntil(
    ({ a }) => (a.series.get('dwcp_guest_operations{guest="vm"}') ?? 0) > 0,
    'a guest that works',
  );
  const epochBefore = values('a', 'dwcp_guest_epoch{guest="vm"}').at(-1) ?? Number.NaN;
  const session = node.migrate(guest, { to: 'b', maxBandwidth: LINK_BYTES_PER_SEC });
  let isOver = false;
  const receipt = session.done.finally(() => {
    isOver = true;
  });
  await lookUntil(() => isOver, 'the end of the move');
  assert.equal((await receipt).verified, true);

  const of = (name: string) => `${name}{migration="${session.id}",guest="vm"}`;
  assert.ok(values('a', 'dwcp_migrations_running{side="source"}').includes(1));
  assert.ok(values('b', 'dwcp_migrations_running{side="destination"}').includes(1));
  const remaining = values('a', of('dwcp_migration_remaining_bytes'));
  assert.ok(new Set(remaining).size > 3, `remaining shrank: ${remaining.join(' ')}`);
  assert.ok(Math.max(...remaining) <= 2 * MEMORY_BYTES);
  // The middle one: after a pause of this process a single one may be many times the rate.
  const rates = values('a', of('dwcp_migration_goodput_bytes_per_second')).filter(
    (rate) => rate > 0,
  );
  const goodput = rates.toSorted((x, y) => x - y)[rates.length >> 1] ?? 0;
  assert.ok(goodput > LINK_BYTES_PER_SEC / 4, `goodput ${goodput}`);
  assert.ok(goodput < LINK_BYTES_PER_SEC * 4, `goodput ${goodput}`);
  const dirty = Math.max(...values('a', of('dwcp_migration_dirty_bytes_per_second')));
  assert.ok(dirty > DIRTY_BYTES_PER_SEC / 4, `dirty ${dirty}`);
  assert.ok(Math.max(...values('a', of('dwcp_migration_round'))) >= 1);
  const limit = 'dwcp_link_max_bandwidth_bytes_per_second{peer="b"}';
  assert.ok(values('a', limit).includes(LINK_BYTES_PER_SEC), values('a', limit).join(' '));

  const { a, b } = await lookUntil(
    (now) => now.b.series.get('dwcp_migrations_running{side="destination"}') === 0,
    'the end at the destination',
  );
  for (const name of ['dwcp_guests{state="running"}', 'dwcp_migration_stopped_seconds_count']) {
    assert.equal((a.series.get(name) ?? 0) + (b.series.get(name) ?? 0), 1, name);
  }
  assert.equal(
    a.series.get('dwcp_migrations_finished_total{side="source",outcome="completed"}'),
    1,
  );
  const done = 'dwcp_migrations_finished_total{side="destination",outcome="completed"}';
  assert.equal(b.series.get(done), 1);
  assert.equal(b.series.get('dwcp_guest_memory_bytes{guest="vm"}'), MEMORY_BYTES);
  assert.equal(b.series.get('dwcp_guest_epoch{guest="vm"}'), epochBefore + 1);
  const sent = a.series.get('dwcp_link_sent_bytes{peer="b"}') ?? 0;
  assert.ok(sent > MEMORY_BYTES / 2, `sent ${sent}`);
  assert.ok((b.series.get('dwcp_link_received_bytes{peer="a"}') ?? 0) > MEMORY_BYTES / 2);
  assert.ok((b.series.get('dwcp_guest_longest_gap_seconds{guest="vm"}') ?? 0) > 0);
  assert.equal(
    a.series.has(of('dwcp_migration_round')),
    false,
    'an ended migration is not exported',
  );
});

test('a change of the mode of a link is counted on both sides', async () => {
  await agent('a').node.setLinkMode('b', 'internet');
  const changes = (peer: string) =>
    `dwcp_link_mode_changes_total{peer="${peer}",to="internet",outcome="agreed"}`;
  const { a } = await lookUntil(
    (now) => now.a.series.get(changes('b')) === 1 && now.b.series.get(changes('a')) === 1,
    changes('b'),
  );
  assert.equal(a.series.get('dwcp_link_mode{peer="b",mode="internet"}'), 1);
});

test('a guest that dies is a fault with its code', async () => {
  const [guest] = agent('b').node.guests();
  assert.ok(guest !== undefined);
  process.kill(guest.pid, 'SIGKILL');
  const fault = 'dwcp_faults_total{code="ERR_DWCP_GUEST_FAILED"}';
  await lookUntil(({ b }) => b.series.get(fault) === 1, fault);
  assert.equal(values('b', 'dwcp_guests{state="running"}').at(-1), 0);
});

test('a link that breaks says so, and why', async () => {
  await agent('b').stop();
  const why = 'dwcp_link_problem{peer="b",code="ERR_DWCP_PEER_UNREACHABLE"}';
  const last = seen.at(-1)?.b;
  assert.ok(last !== undefined);
  const deadlineMs = performance.now() + WITHIN_MS;
  for (;;) {
    const a = await scrape(agent('a').metricsPort);
    seen.push({ a, b: last });
    if (a.series.get(why) === 1) break;
    assert.ok(performance.now() < deadlineMs, `never seen: ${why}`);
    await delay(50);
  }
  assert.equal(values('a', 'dwcp_link_connected{peer="b"}').at(-1), 0);
  assert.equal(values('a', 'dwcp_link_changes_total{peer="b",change="peerDown"}').at(-1), 1);
});

test('every series that is declared was produced by all this', () => {
  const produced = new Set<string>();
  const declared = new Set<string>();
  for (const each of seen.flatMap(({ a, b }) => [a, b])) {
    for (const name of each.declared) declared.add(name);
    for (const [name, value] of each.series) {
      const base = name.replace(/\{.*$/, '').replace(/_(?:bucket|sum|count)$/, '');
      // Without a device the links of this test have none of it; with one, loopback has no address of it.
      const isRdma = base.startsWith('dwcp_link_rdma_');
      if (value !== 0 || isRdma || FAULTS.has(base)) produced.add(base);
    }
  }
  assert.ok(declared.size >= 19, `${declared.size} series`);
  assert.deepEqual(
    [...declared].filter((name) => !produced.has(name)),
    [],
  );
});
