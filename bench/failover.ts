/**
 * How long a group without its leader commits nothing. The leader is killed with SIGKILL, and each living
 * member proposes at once; what counts is the first moment at which any of them knows its command to be
 * applied. A planned transfer is timed by the leader that gives its place away, until the next one leads.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { assert } from '../src/util/assert.ts';
import { tellTargets } from './consensus-runs.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument, formatFigure, sideResult } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { RaftGroup } from './raft-group.ts';
import { atMost, median } from './statistics.ts';

/** An election begins between half of it and this. */
const ELECTION_MS_MAX = 300;
const VALUE_BYTES = 1024;
/** All have been heard, and any member's clock may be anywhere in its round. */
const QUIET_MS = 300;

export const failoverBench: Bench = {
  name: 'failover',
  describe: 'the leader killed until the first commit of the next, and a planned transfer',
  run: (options) => runFailoverBench(options),
};

async function runFailoverBench({ quick, onProgress }: BenchRunOptions): Promise<BenchDocument> {
  const counts = quick ? [3] : [3, 5, 7, 9, 11];
  return benchDocument('failover', await measureFailover(counts, quick ? 2 : 15, onProgress));
}

export async function measureFailover(
  counts: readonly number[],
  samples: number,
  onProgress: BenchRunOptions['onProgress'],
): Promise<readonly BenchResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-failover-'));
  const results: BenchResult[] = [];
  await cleanedUp(
    () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }),
    async () => {
      for (const count of counts) {
        const group = await RaftGroup.start(join(folder, `members-${count}`), count);
        await cleanedUp(
          () => group.stop(),
          async () => {
            results.push(await measureKills(group, samples, onProgress));
            results.push(await measureTransfers(group, samples, onProgress));
          },
        );
      }
    },
  );
  tellTargets(results, onProgress);
  return results;
}

async function measureKills(
  group: RaftGroup,
  samples: number,
  onProgress: BenchRunOptions['onProgress'],
): Promise<BenchResult> {
  const name = `members=${group.ids.length}: leader killed until the next one's first commit`;
  const took: number[] = [];
  while (took.length < samples) {
    const leader = await group.leader();
    await delay(QUIET_MS);
    const killedMs = Number(process.hrtime.bigint()) / 1e6;
    const gone = group.kill(leader);
    const committedMs = await group.probe(VALUE_BYTES);
    await gone;
    assert((await group.leader()) !== leader, 'somebody else leads');
    took.push(committedMs - killedMs);
    onProgress(`${name}: ${formatFigure(committedMs - killedMs)} ms`);
    await group.startMember(leader);
    await group.settled();
  }
  const target = atMost('ms', 1.5 * ELECTION_MS_MAX, median(took));
  return { ...sideResult(name, 'ms', false, took), targets: [target] };
}

async function measureTransfers(
  group: RaftGroup,
  samples: number,
  onProgress: BenchRunOptions['onProgress'],
): Promise<BenchResult> {
  const name = `members=${group.ids.length}: planned transfer`;
  const took: number[] = [];
  while (took.length < samples) {
    const leader = await group.leader();
    await delay(QUIET_MS);
    const others = group.ids.filter((id) => id !== leader);
    const next = others[took.length % others.length] ?? leader;
    const tookMs = await group.transfer(leader, next);
    assert((await group.leader()) === next, `${next} leads`);
    took.push(tookMs);
    onProgress(`${name}: ${formatFigure(tookMs)} ms`);
  }
  return { ...sideResult(name, 'ms', false, took), targets: [atMost('ms', 10, median(took))] };
}
