/**
 * `dwcp bench mode-switch`: what a change of a link's mode costs while pages move, between two processes, over
 * loopback and, as root, over the lab's `wan`. Bytes are counted at the receiver; passes follow each other without a
 * gap. What an operator's word takes is measured; how long detection takes, over the `wan` only, where there
 * is something to detect.
 */
import { MODE_LIMITS } from '../src/protocols/link/mode-governor.ts';
import { MODE_THRESHOLDS } from '../src/protocols/link/mode-judge.ts';
import { assert } from '../src/util/assert.ts';
import type { BenchDocument, BenchResult, BenchRunOptions, Target } from './document.ts';
import { benchDocument, sideResult } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { startWan, type Wan } from './lab/wan.ts';
import { EFFECTIVE_WITHIN_MS, ModePair, type SwitchSample, WITHIN_MS } from './mode-switch-pair.ts';
import { atMost, median } from './statistics.ts';

const MIB = 2 ** 20;
const RULES = { ...MODE_THRESHOLDS, ...MODE_LIMITS };
/** So that a run of half a minute may see more than one change. */
const FLAPPING_RULES = { ...RULES, minStayMs: 2_000, coolDownMs: 1_000, maxPerMinute: 3 };
const FLAPS = 8;
const FLAP_MS = 4_000;
const APPLIED_TARGET_MS: ReadonlyMap<number, number> = new Map([
  [8, 5],
  [32, 10],
]);
const SLACK_MS = 20;

interface Way {
  readonly name: string;
  readonly rttMs: number;
  readonly regionBytes: number;
  readonly wan: Wan | null;
}

export const modeSwitchBench: {
  readonly name: string;
  readonly describe: string;
  run(options: BenchRunOptions): Promise<BenchDocument>;
} = {
  name: 'mode-switch',
  describe:
    'a change of a link mode under traffic: applied, effective, stall, bytes lost or doubled',
  run,
};

async function run(options: BenchRunOptions): Promise<BenchDocument> {
  const { quick, onProgress } = options;
  const loopback = { name: 'loopback', rttMs: 0, regionBytes: (quick ? 16 : 64) * MIB, wan: null };
  const results: BenchResult[] = [];
  const streams = quick ? [8] : [8, 32];
  const switches = quick ? 2 : 10;
  for (const count of streams) results.push(...(await forced(loopback, count, switches, options)));
  if (quick) return benchDocument('mode-switch', results);
  const wan = await startWan({ profile: 'wan' }).catch((error: unknown) => {
    onProgress(`without the wan: ${String(error)}`);
    return null;
  });
  if (wan === null) return benchDocument('mode-switch', results);
  await cleanedUp(
    () => wan.stop(),
    async () => {
      const way = { name: 'wan', rttMs: wan.shape.roundTripMs, regionBytes: 8 * MIB, wan };
      for (const count of streams) results.push(...(await forced(way, count, 6, options)));
      results.push(await detected(way, options));
      results.push(await flapping(way, wan, options));
    },
  );
  return benchDocument('mode-switch', results);
}

/** To and fro, by an operator's word, each change as soon as the one before took effect. */
async function forced(
  way: Way,
  streams: number,
  switches: number,
  { onProgress }: BenchRunOptions,
): Promise<BenchResult[]> {
  const pair = await ModePair.start({ ...way, streams, mode: 'datacenter', rules: RULES });
  const samples: SwitchSample[] = [];
  const { lostBytes, doubledBytes } = await pair.during(async () => {
    for (let index = 0; index < switches; index += 1) {
      const sample = await pair.force(index % 2 === 0 ? 'internet' : 'datacenter');
      samples.push(sample);
      onProgress(`${way.name} streams=${streams} ${sample.to}: ${JSON.stringify(sample)}`);
    }
  });
  const label = `${way.name} streams=${streams}`;
  const late = samples.filter(({ effectiveMs }) => effectiveMs === null).length;
  const withinSec = EFFECTIVE_WITHIN_MS / 1000;
  if (late > 0) onProgress(`${label}: ${late} changes were not effective within ${withinSec} s`);
  const applied = samples.map(({ appliedMs }) => appliedMs);
  // What did not happen in time counts with that time.
  const effective = samples.map(({ effectiveMs }) => effectiveMs ?? EFFECTIVE_WITHIN_MS);
  const stalls = samples.map(({ stallMs }) => stallMs ?? EFFECTIVE_WITHIN_MS);
  const limit = APPLIED_TARGET_MS.get(streams) ?? 0;
  return [
    result(`${label}: decision applied`, applied, [atMost('p50 ms', limit, median(applied))]),
    result(`${label}: effective on every stream`, effective, [
      atMost('p50 ms, 3 round trips and 20 ms', 3 * way.rttMs + SLACK_MS, median(effective)),
      atMost(`changes not effective within ${withinSec} s`, 0, late),
    ]),
    result(`${label}: receiver stall`, stalls, [
      atMost('p50 ms, 1 round trip and 20 ms', way.rttMs + SLACK_MS, median(stalls)),
    ]),
    {
      ...sideResult(
        `${label}: bytes moved right, lost and doubled beside them`,
        'share',
        true,
        [1],
      ),
      targets: [atMost('lost bytes', 0, lostBytes), atMost('doubled bytes', 0, doubledBytes)],
    },
  ];
}

/** From the first byte on a link that only assumed to be in a datacenter. */
async function detected(way: Way, { onProgress }: BenchRunOptions): Promise<BenchResult> {
  const samples: number[] = [];
  for (let index = 0; index < 3; index += 1) {
    const pair = await ModePair.start({ ...way, streams: 8, mode: 'auto', rules: RULES });
    await pair.during(async () => {
      const change = await pair.changed();
      if (change === null) {
        samples.push(WITHIN_MS);
        onProgress(`${way.name}: no change was decided within ${WITHIN_MS / 1000} s`);
        return;
      }
      assert(change.to === 'internet' || change.to === 'hybrid', `the wan is no ${change.to}`);
      samples.push(change.detectedMs ?? 0);
      onProgress(`${way.name} detected ${change.to}: ${change.reason}`);
    });
  }
  return result(`${way.name}: detection, of samples that agree`, samples, [
    atMost('p50 ms', 2_000, median(samples)),
  ]);
}

async function flapping(way: Way, wan: Wan, { onProgress }: BenchRunOptions): Promise<BenchResult> {
  const settings = { ...way, streams: 8, mode: 'auto', rules: FLAPPING_RULES } as const;
  const pair = await ModePair.start(settings);
  await pair.during(async () => {
    for (let index = 0; index < FLAPS; index += 1) {
      const isFar = index % 2 === 0;
      await wan.set({ roundTripMs: isFar ? 160 : 4, rateBitsPerSec: isFar ? 50e6 : 900e6 });
      await new Promise((resolve) => setTimeout(resolve, FLAP_MS));
    }
  });
  const count = pair.changes;
  onProgress(`${way.name} flapping: ${count} changes in ${(FLAPS * FLAP_MS) / 1000} s`);
  return {
    ...sideResult(`${way.name}: flapping, changes and one`, 'changes', false, [count + 1]),
    targets: [atMost('changes a minute', FLAPPING_RULES.maxPerMinute, count)],
  };
}

function result(name: string, samples: readonly number[], targets: readonly Target[]): BenchResult {
  return { ...sideResult(name, 'ms', false, samples), targets };
}
