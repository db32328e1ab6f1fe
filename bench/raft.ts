/**
 * Commits of a replicated group: member processes on one machine and one disk, TLS between them, every
 * commit synced, against etcd on the same disk. Loaded from inside the leader's process, as one that
 * embeds dwcp does, and by a client over gRPC, as etcd's clients come. After each load every member must
 * have applied exactly what was asked for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert } from '../src/util/assert.ts';
import { formatBytes } from '../src/util/units.ts';
import { commitFloor } from './consensus-floor.ts';
import { inTurns, type Loaded, reported, type Turns, tellTargets } from './consensus-runs.ts';
import type {
  Bench,
  BenchDocument,
  BenchResult,
  BenchRunOptions,
  Floor,
  PeerResult,
  Target,
} from './document.ts';
import { benchDocument } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { LoadClient } from './load-client.ts';
import { EtcdGroup } from './peers/etcd.ts';
import { RaftGroup } from './raft-group.ts';
import { atLeast, atMost } from './statistics.ts';

const KIB = 2 ** 10;
/** etcd's group has as many, and only those are compared. */
const COMPARED_MEMBERS = 3;

export const raftBench: Bench = {
  name: 'raft',
  describe: 'commits of 3, 5 and 7 member processes by value and number in flight, against etcd',
  run: (options) => runRaftBench(options),
};

export interface Scale extends Turns {
  readonly members: readonly number[];
  readonly valueBytes: readonly number[];
  readonly inflight: readonly number[];
  readonly seconds: number;
}

function scaleOf({ quick, onProgress }: BenchRunOptions): Scale {
  if (quick) {
    const small = { members: [3], valueBytes: [KIB], inflight: [1, 16], seconds: 0.2 };
    return { ...small, repetitions: 2, warmups: 0, onProgress };
  }
  const full = { members: [3, 5, 7], valueBytes: [KIB, 64 * KIB], inflight: [1, 64, 256] };
  // The first second of a process is its compiler's.
  return { ...full, seconds: 1.5, repetitions: 5, warmups: 2, onProgress };
}

async function runRaftBench(options: BenchRunOptions): Promise<BenchDocument> {
  return benchDocument('raft', await measureRaft(scaleOf(options)));
}

export async function measureRaft(scale: Scale): Promise<readonly BenchResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-raft-'));
  const results: BenchResult[] = [];
  await cleanedUp(
    () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }),
    async () => {
      for (const count of scale.members) {
        results.push(...(await measureGroup(join(folder, `members-${count}`), count, scale)));
      }
    },
  );
  tellTargets(results, scale.onProgress);
  return results;
}

interface Stage {
  readonly group: RaftGroup;
  readonly etcd: EtcdGroup | null;
  readonly client: LoadClient;
}

async function measureGroup(folder: string, count: number, scale: Scale): Promise<BenchResult[]> {
  const group = await RaftGroup.start(join(folder, 'dwcp'), count);
  return cleanedUp(
    () => group.stop(),
    async () => {
      const etcd = count === COMPARED_MEMBERS ? await EtcdGroup.start(join(folder, 'etcd')) : null;
      const client = new LoadClient();
      const stop = (): void => {
        etcd?.stop();
        client.close();
      };
      return cleanedUp(stop, async () => {
        const results: BenchResult[] = [];
        for (const valueBytes of scale.valueBytes) {
          const floor = await commitFloor(folder, valueBytes);
          for (const inflight of scale.inflight) {
            const cell = { count, valueBytes, inflight, floor };
            results.push(...(await measureCell({ group, etcd, client }, cell, scale)));
          }
        }
        return results;
      });
    },
  );
}

interface Cell {
  readonly count: number;
  readonly valueBytes: number;
  readonly inflight: number;
  readonly floor: Floor;
}

async function measureCell(
  stage: Stage,
  cell: Cell,
  scale: Scale,
): Promise<readonly BenchResult[]> {
  const { count, valueBytes, inflight } = cell;
  const what = `members=${count} value=${formatBytes(valueBytes)} in-flight=${inflight}`;
  const { etcd } = stage;
  const contenders = [embedded(stage, cell, scale), overGrpc(stage, cell, scale)];
  if (etcd !== null) contenders.push(ofEtcd(stage, etcd, cell, scale));
  const [inside = [], client = [], theirs = []] = await inTurns(what, contenders, scale);
  const peer = etcd === null ? null : { name: etcd.name, figures: theirs };
  const results = [];
  for (const [way, ours] of [
    ['embedded', inside],
    ['gRPC client', client],
  ] as const) {
    const name = `${way} ${what}`;
    results.push(
      reported(
        {
          case: `${name}: commit p50`,
          unit: 'us',
          higherIsBetter: false,
          take: ({ p50Us }) => p50Us,
          targets: (ratio) => p50Targets(way, cell, ratio),
          ...(inflight === 1 ? { floor: cell.floor } : {}),
        },
        ours,
        peer,
      ),
      reported(
        { case: `${name}: commit p99`, unit: 'us', higherIsBetter: false, take: (f) => f.p99Us },
        ours,
        peer,
      ),
      reported(
        {
          case: `${name}: commits`,
          unit: 'commits/s',
          higherIsBetter: true,
          take: ({ perSecond }) => perSecond,
          targets: (ratio) => rateTargets(way, cell, ratio),
        },
        ours,
        peer,
      ),
    );
  }
  return results;
}

type Way = 'embedded' | 'gRPC client';

/** Stated for values of 1 KiB in a group of three. */
function p50Targets(way: Way, { valueBytes, inflight }: Cell, peer: PeerResult | null): Target[] {
  if (peer === null || valueBytes !== KIB || inflight !== 1) return [];
  return [atMost('ratio to etcd', way === 'embedded' ? 0.4 : 0.8, peer.ratio.median)];
}

function rateTargets(way: Way, { valueBytes, inflight }: Cell, peer: PeerResult | null): Target[] {
  if (peer === null || valueBytes !== KIB || inflight !== 256) return [];
  return [atLeast('ratio to etcd', way === 'embedded' ? 5 : 1.5, peer.ratio.median)];
}

function embedded({ group }: Stage, { inflight, valueBytes }: Cell, { seconds }: Scale): Loaded {
  return {
    name: 'dwcp embedded',
    run: async () => group.load(await group.leader(), group.plan(inflight, seconds, valueBytes)),
  };
}

function overGrpc({ group, client }: Stage, { inflight, valueBytes }: Cell, scale: Scale): Loaded {
  return {
    name: 'dwcp over gRPC',
    run: async () => {
      const plan = group.plan(inflight, scale.seconds, valueBytes);
      const address = group.addressOf(await group.leader());
      const figures = await client.run({ ...plan, address, operation: 'put' });
      await group.applied(plan, figures.operations);
      return figures;
    },
  };
}

function ofEtcd(
  { client }: Stage,
  etcd: EtcdGroup,
  { inflight, valueBytes }: Cell,
  { seconds }: Scale,
): Loaded {
  return {
    name: etcd.name,
    run: async () => {
      const address = await etcd.leaderAddress();
      const before = await etcd.revision();
      const plan = { inflight, seconds, valueBytes, first: before, address };
      const figures = await client.run({ ...plan, operation: 'put' });
      const applied = (await etcd.revision()) - before;
      assert(applied === figures.operations, `etcd applied ${applied} of ${figures.operations}`);
      await etcd.checkValues();
      return figures;
    },
  };
}
