/** Post-copy with two real QEMUs: a Linux guest that writes faster than its link carries. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type DemoClient, type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { type LinuxGuest, linuxMachine } from '../../src/cli/demo/linux-guest.ts';
import { TickWatch } from '../../src/cli/demo/tick-watch.ts';
import type { MigrationReceipt } from '../../src/node.ts';
import { armFailPoint, type FailPoint, isArmed } from './faults/fail-point.ts';

const MIB = 2 ** 20;
const HURRIED = { to: 'b', maxDowntimeMs: 20, maxBandwidth: 48_000_000, allowPostcopy: true };
const GUEST = 'vm';

interface Hosts {
  readonly cluster: DemoCluster;
  readonly a: DemoClient;
  readonly b: DemoClient;
  readonly watch: TickWatch;
  /** What fails at the source, once. */
  fail(point: Pick<FailPoint, 'step' | 'action' | 'delayMs'>): () => boolean;
}

async function withGuest(work: (hosts: Hosts) => Promise<void>): Promise<void> {
  const busy: LinuxGuest = await linuxMachine(
    'counter',
    128 * MIB,
    `dwcp.dirty=${128 * MIB} dwcp.fill=20`,
  );
  const failPoint = (directory: string, node: string): string => join(directory, `fail-${node}`);
  let directory = '';
  const cluster = await startDemoCluster({
    settings: { qemu: busy.qemu, link: { mode: 'datacenter' } },
    program: fileURLToPath(new URL('./faults/faulty-agent.js', import.meta.url)),
    environment: (of, node) => {
      directory = of;
      return { DWCP_FAIL_POINT: failPoint(of, node) };
    },
  });
  const watch = new TickWatch(cluster.dataDirs);
  try {
    const [a, b] = [cluster.clients.get('a'), cluster.clients.get('b')];
    assert.ok(a !== undefined && b !== undefined);
    await until(async () => (await a.status()).peers.every(({ connected }) => connected));
    await a.startGuest('qemu', GUEST, { args: busy.args });
    await watch.ready();
    const path = failPoint(directory, 'a');
    const fail: Hosts['fail'] = (point) => {
      armFailPoint(path, { ...point, skip: 0 });
      return () => !isArmed(path);
    };
    await work({ cluster, a, b, watch, fail });
  } finally {
    watch.close();
    await cluster.stop();
  }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    if (await holds()) return;
    await delay(50);
  }
  assert.fail(`it did not come to be: ${holds}`);
}

async function states(client: DemoClient): Promise<readonly string[]> {
  return (await client.guests()).map(({ state }) => state);
}

/** Its counts so far had no gap, and there are more of them. */
async function countsOn({ a, b, watch }: Hosts): Promise<void> {
  const from = watch.report().operations;
  await until(() => watch.report().operations >= from + 30);
  assert.equal(watch.fault, null);
  assert.deepEqual([await states(a), await states(b)], [[], ['running']]);
}

function judge(receipt: MigrationReceipt): void {
  assert.equal(receipt.steps.at(-1), 'post-copy');
  assert.deepEqual([receipt.postcopy, receipt.verified], [true, null]);
}

test('a guest that does not converge is moved by post-copy where that is allowed, counts on without a gap, and moves on', () =>
  withGuest(async (hosts) => {
    const { a, b, watch } = hosts;
    const phases = new Set<string>();
    judge(await a.migrate(GUEST, HURRIED, ({ phase }) => phases.add(phase)));
    assert.ok(phases.has('postcopy'), [...phases].join());
    await countsOn(hosts);
    const back = await b.migrate(GUEST, { to: 'a', maxDowntimeCeilingMs: 20_000 }, () => {});
    assert.deepEqual([back.postcopy, back.verified], [false, true]);
    assert.equal(watch.fault, null);
  }));

test('a link that is cut in the middle of post-copy costs time, and neither the guest nor a page', () =>
  withGuest(async (hosts) => {
    const hasFailed = hosts.fail({ step: 'before postcopy', action: 'cutLink', delayMs: 250 });
    judge(await hosts.a.migrate(GUEST, HURRIED, () => {}));
    assert.ok(hasFailed());
    await countsOn(hosts);
  }));

test('a source agent that dies in post-copy wakes nothing: its copy is kept, and it says what is missing where', () =>
  withGuest(async (hosts) => {
    const { a, b, cluster } = hosts;
    const hasFailed = hosts.fail({ step: 'before postcopy', action: 'kill', delayMs: 250 });
    await assert.rejects(a.migrate(GUEST, HURRIED, () => {}));
    assert.ok(hasFailed());
    await cluster.restart('a');
    await until(async () => (await states(a))[0] === 'outcomeUnknown');
    const operator = cluster.clients.get('a');
    await until(async () => {
      const [migration] = (await operator?.migrations()) ?? [];
      return /without all of its memory/.test(migration?.reason ?? '');
    });
    assert.deepEqual(await states(b), ['running'], 'as far as its QEMU knows');
  }));
