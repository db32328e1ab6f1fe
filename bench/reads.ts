/**
 * Reads under the three guarantees, in a group of three whose keys hold 1 KiB each: inside the leader's
 * process, and by a client over gRPC beside etcd, whose linearizable and serializable Range they match.
 * A read that finds nothing fails the run.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReadGuarantee } from '../src/protocols/raft/types.ts';
import { inTurns, type Loaded, reported, type Turns } from './consensus-runs.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import type { LoadFigures } from './kv-load.ts';
import { allKeys } from './kv-load.ts';
import type { ClientPlan } from './kv-load-end.ts';
import { LoadClient } from './load-client.ts';
import { EtcdGroup } from './peers/etcd.ts';
import { RaftGroup } from './raft-group.ts';

const MEMBERS = 3;
const VALUE_BYTES = 1024;
/** Far more than the clocks of two machines ever differ in their rate. */
const MAX_DRIFT_PPM = 1000;
const GUARANTEES: readonly ReadGuarantee[] = [
  { kind: 'linearizable' },
  { kind: 'lease', maxDriftPpm: MAX_DRIFT_PPM },
  { kind: 'stale' },
];

export const readsBench: Bench = {
  name: 'reads',
  describe: 'linearizable, lease and stale reads of three members, against etcd',
  run: (options) => runReadsBench(options),
};

interface Stage {
  readonly group: RaftGroup;
  readonly etcd: EtcdGroup;
  readonly client: LoadClient;
}

async function runReadsBench(options: BenchRunOptions): Promise<BenchDocument> {
  const { quick, onProgress } = options;
  const turns = { repetitions: quick ? 2 : 5, warmups: quick ? 0 : 1, onProgress };
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-reads-'));
  const stop: (() => void)[] = [];
  const cleanUp = (): void => {
    for (const each of stop) each();
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  };
  return cleanedUp(cleanUp, async () => {
    const group = await RaftGroup.start(join(folder, 'dwcp'), MEMBERS);
    stop.push(() => group.stop());
    const etcd = await EtcdGroup.start(join(folder, 'etcd'));
    stop.push(() => etcd.stop());
    const client = new LoadClient();
    stop.push(() => client.close());
    const stage = { group, etcd, client };
    await fill(stage);
    const results: BenchResult[] = [];
    for (const inflight of quick ? [16] : [1, 64]) {
      results.push(...(await measureEmbedded(stage, inflight, quick ? 0.2 : 1, turns)));
      results.push(...(await measureClients(stage, inflight, quick ? 0.2 : 1, turns)));
    }
    return benchDocument('reads', results);
  });
}

/** Every key, on both sides. */
async function fill({ group, etcd, client }: Stage): Promise<void> {
  const keys = allKeys().length;
  for (let put = 0; put < keys; ) {
    const leader = await group.leader();
    put += (await group.load(leader, group.plan(keys, 0, VALUE_BYTES))).operations;
  }
  const plan = { inflight: keys, seconds: 0, first: 0, valueBytes: VALUE_BYTES } as const;
  await client.run({ ...plan, address: await etcd.leaderAddress(), operation: 'put' });
}

async function measureEmbedded(
  { group }: Stage,
  inflight: number,
  seconds: number,
  turns: Turns,
): Promise<readonly BenchResult[]> {
  const what = `embedded in-flight=${inflight}`;
  const contenders = GUARANTEES.map(
    (guarantee): Loaded => ({
      name: guarantee.kind,
      run: async () => {
        const plan = { ...group.plan(inflight, seconds, VALUE_BYTES), first: 0 };
        return group.reads(await group.leader(), plan, guarantee);
      },
    }),
  );
  const figures = await inTurns(what, contenders, turns);
  return GUARANTEES.flatMap(({ kind }, index) =>
    both(`${kind} ${what}`, figures[index] ?? [], null),
  );
}

async function measureClients(
  { group, etcd, client }: Stage,
  inflight: number,
  seconds: number,
  turns: Turns,
): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  const plan = { inflight, seconds, first: 0, valueBytes: VALUE_BYTES };
  for (const [kind, operation] of [
    ['linearizable', 'linearizableRange'],
    ['stale', 'serializableRange'],
  ] as const) {
    const what = `${kind} gRPC client in-flight=${inflight}`;
    const run = (address: string): Promise<LoadFigures> =>
      client.run({ ...plan, address, operation } satisfies ClientPlan);
    const ours = { name: 'dwcp', run: async () => run(group.addressOf(await group.leader())) };
    const peer = { name: etcd.name, run: async () => run(await etcd.leaderAddress()) };
    const [mine = [], theirs = []] = await inTurns(what, [ours, peer], turns);
    results.push(...both(what, mine, { name: peer.name, figures: theirs }));
  }
  return results;
}

function both(
  name: string,
  ours: readonly LoadFigures[],
  peer: { readonly name: string; readonly figures: readonly LoadFigures[] } | null,
): readonly BenchResult[] {
  const p50 = { case: `${name}: p50`, unit: 'us', higherIsBetter: false };
  const rate = { case: `${name}: reads`, unit: 'reads/s', higherIsBetter: true };
  return [
    reported({ ...p50, take: ({ p50Us }) => p50Us }, ours, peer),
    reported({ ...rate, take: ({ perSecond }) => perSecond }, ours, peer),
  ];
}
