import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkCommand } from '../../src/actors/messages.ts';
import { BandwidthTable } from '../../src/actors/node-bandwidth.ts';
import { type CpuBudget, LinkGovernor } from '../../src/actors/node-governor.ts';
import { LinkTable } from '../../src/actors/node-links.ts';
import type { NodeContext } from '../../src/actors/node-messages.ts';
import { NodeView } from '../../src/actors/node-view.ts';
import type { ActorRef } from '../../src/actors/system.ts';
import type { BulkLink } from '../../src/ports/transport.ts';

interface Wire {
  readonly view: NodeView;
  readonly table: BandwidthTable;
  /** What the link of each peer was last told; absent when nothing. */
  readonly rates: Map<string, number>;
  up(peer: string, bulk?: BulkLink): void;
}

function wire(defaultBytesPerSec: number = 0): Wire {
  const view = new NodeView();
  const links = new LinkTable(view);
  const rates = new Map<string, number>();
  const table = new BandwidthTable(view, links, defaultBytesPerSec);
  const up = (peer: string, bulk: BulkLink = {} as BulkLink): void => {
    const link: ActorRef<LinkCommand> = {
      ...{ path: `/link-${peer}`, incarnation: 1 },
      tell: (command) => {
        if (command.type === 'setMaxBandwidth') rates.set(peer, command.bytesPerSec);
        return 'accepted';
      },
    };
    links.up({ type: 'linkUp', peer, bulk, link, peerRestarted: false });
    table.apply(peer);
  };
  return { view, table, rates, up };
}

test('a limit of a migration holds while it runs, changes at once, and ends with it', () => {
  const { table, rates, up, view } = wire();
  up('b');
  assert.equal(rates.get('b'), 0);
  table.setMigration('m1', 'b', 100);
  assert.equal(rates.get('b'), 100);
  table.setMigration('m1', 'b', 300);
  assert.deepEqual([rates.get('b'), view.bandwidth.get('b')], [300, 300]);
  table.forget('m1');
  assert.equal(rates.get('b'), 0);
});

test('migrations on one link share its bucket: the lowest limit counts, and other links are free', () => {
  const { table, rates, up } = wire();
  up('b');
  up('c');
  table.setPeer('b', 500);
  table.setMigration('m1', 'b', 400);
  table.setMigration('m2', 'b', 200);
  table.setMigration('m3', 'b', 0);
  assert.deepEqual([rates.get('b'), rates.get('c')], [200, 0]);
  table.forget('m2');
  assert.equal(rates.get('b'), 400);
  table.setMigration('m1', 'b', 900);
  assert.equal(rates.get('b'), 500);
});

test('a limit that was set before its link came is there when it comes, and when it comes back', () => {
  const { table, rates, up } = wire(70);
  table.setPeer('b', 30);
  assert.equal(rates.size, 0);
  up('b');
  up('c');
  assert.deepEqual([rates.get('b'), rates.get('c')], [30, 70]);
  rates.clear();
  up('b');
  assert.equal(rates.get('b'), 30);
});

test('the CPU limit holds the links that send, and leaves an idle one room to begin', () => {
  const { table, rates, up, view } = wire();
  const sent = new Map([
    ['b', 0],
    ['c', 0],
  ]);
  let usedUs = 0;
  for (const peer of sent.keys()) {
    up(peer, { counters: () => ({ wireBytesSent: sent.get(peer) ?? 0 }) } as unknown as BulkLink);
  }
  let nowUs = 0;
  const timers: number[] = [];
  const context = {
    nowUs: () => nowUs,
    setTimer: (_id: string, atUs: number) => timers.push(atUs),
  } as unknown as NodeContext;
  const budget: CpuBudget = { maxCpuPercent: 50, usedUs: () => usedUs };
  const governor = new LinkGovernor(budget, view.links, table, context);
  // 200 MB cost 200 ms of CPU in 200 ms: half a core is 500 MB/s.
  const pass = (bytes: Readonly<Record<string, number>>): void => {
    nowUs = timers.at(-1) ?? 0;
    for (const [peer, count] of Object.entries(bytes)) {
      sent.set(peer, (sent.get(peer) ?? 0) + count);
      usedUs += count / 1000;
    }
    governor.govern(context);
  };
  pass({ b: 200e6 });
  assert.deepEqual([rates.get('b'), rates.get('c')], [500e6, 250e6]);
  pass({ b: 50e6, c: 50e6 });
  assert.deepEqual([rates.get('b'), rates.get('c')], [250e6, 250e6]);
  table.setMigration('m1', 'b', 100e6);
  assert.equal(rates.get('b'), 100e6);
});
