/** `bench lab`: what the link itself can carry and costs, and whether each profile is what it says. */
import { z } from 'zod';
import { assert } from '../../src/util/assert.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from '../document.ts';
import { benchDocument, formatFigure, sideResult } from '../harness.ts';
import { atLeast } from '../statistics.ts';
import { lies, type MeasureEffort, measureLink, run, withServer } from './measure.ts';
import { link, PROFILES, type WanProfile } from './profiles.ts';
import { type Wan, withWan } from './wan.ts';

interface Plan {
  readonly repetitions: number;
  readonly tcpSeconds: number;
  readonly effort: MeasureEffort;
}

const PLANS = {
  quick: {
    repetitions: 1,
    tcpSeconds: 1,
    effort: { pings: 20, rateSeconds: 1, lossSeconds: 1 },
  },
  whole: {
    repetitions: 3,
    tcpSeconds: 4,
    effort: { pings: 100, rateSeconds: 2, lossSeconds: 3 },
  },
} satisfies Readonly<Record<string, Plan>>;

/** Long enough that packets are held, short enough that windows do not limit. */
const CEILING_ROUND_TRIP_MS = 1;
const STREAMS = 4;
const GBIT = 1e9;

export const labBench: Bench = {
  name: 'lab',
  describe: 'the WAN of bench/lab: its ceiling and CPU, and each profile by ping and iperf3',
  run: runLabBench,
};

async function runLabBench({ quick, onProgress }: BenchRunOptions): Promise<BenchDocument> {
  const plan = quick ? PLANS.quick : PLANS.whole;
  const results = [...(await measureCeiling(plan, onProgress))];
  for (const profile of Object.keys(PROFILES) as WanProfile[]) {
    results.push(...(await measureProfile(profile, plan, onProgress)));
  }
  return benchDocument('lab', results);
}

type Progress = BenchRunOptions['onProgress'];

async function measureCeiling(plan: Plan, onProgress: Progress): Promise<readonly BenchResult[]> {
  const name = `no rate limit, ${CEILING_ROUND_TRIP_MS} ms: iperf3 -P ${STREAMS} -C cubic`;
  const shape = link({ rateBitsPerSec: 0, roundTripMs: CEILING_ROUND_TRIP_MS });
  const carried = await repeat(plan, () => withWan({ profile: shape }, (wan) => tcp(wan, plan)));
  const rates = carried.map(({ gbitPerSec }) => gbitPerSec);
  onProgress(`${name}: ${rates.map(formatFigure).join(', ')} Gbit/s`);
  const side = sideResult(name, 'Gbit/s', true, rates);
  const fastest = Math.max(...Object.values(PROFILES).map((each) => each.rateBitsPerSec)) / GBIT;
  const target = atLeast('Gbit/s, the fastest profile', fastest, side.ours.median);
  return [{ ...side, targets: [target] }, cpuResult(name, carried)];
}

async function measureProfile(
  profile: WanProfile,
  plan: Plan,
  onProgress: Progress,
): Promise<readonly BenchResult[]> {
  const claim = PROFILES[profile];
  const runs = await repeat(plan, () =>
    withWan({ profile }, async (wan) => {
      const measured = await measureLink(wan, plan.effort);
      const found = lies(claim, measured);
      assert(found.length === 0 || plan === PLANS.quick, `${profile} lies: ${found.join('; ')}`);
      return { measured, carried: await tcp(wan, plan) };
    }),
  );
  const result = (what: string, unit: string, of: (run: (typeof runs)[number]) => number) => {
    const one = sideResult(`${profile}: ${what}`, unit, true, runs.map(of));
    onProgress(`${one.case}: ${one.ours.samples.map(formatFigure).join(', ')} ${unit}`);
    return one;
  };
  const rate = claim.rateBitsPerSec;
  const results = [
    result('round trip, claimed 1', 'ratio', (r) => r.measured.roundTripMs / claim.roundTripMs),
    result('UDP rate, of what it claims and was offered', 'ratio', (r) => r.measured.rateShare),
    result(`iperf3 -P ${STREAMS} -C cubic goodput`, 'share of the rate', (r) => {
      return (r.carried.gbitPerSec * GBIT) / rate;
    }),
    cpuResult(
      `${profile}: iperf3 -P ${STREAMS} -C cubic`,
      runs.map(({ carried }) => carried),
    ),
  ];
  if (claim.lossPercent === 0) return results;
  const loss = result(
    'loss, claimed 1',
    'ratio',
    (r) => r.measured.lossPercent / claim.lossPercent,
  );
  return [...results, loss];
}

interface Carried {
  readonly gbitPerSec: number;
  /** Of the link's process, in which the receiving host's TCP runs as well. */
  readonly cpuSecondsPerGbit: number;
}

const iperfSchema = z.object({
  end: z.object({ sum_received: z.object({ bits_per_second: z.number() }) }),
});

async function tcp(wan: Wan, { tcpSeconds }: Plan): Promise<Carried> {
  const before = await wan.stats();
  const flags = ['-J', '-P', `${STREAMS}`, '-C', 'cubic', '-t', `${tcpSeconds}`];
  const client = [...wan.enter.a, 'iperf3', '-c', wan.addresses.b, ...flags];
  const said = await withServer(wan, [], () => run(client));
  const after = await wan.stats();
  const bits = 8 * (after.ab.deliveredBytes - before.ab.deliveredBytes);
  const { end } = iperfSchema.parse(JSON.parse(said));
  return {
    gbitPerSec: end.sum_received.bits_per_second / GBIT,
    cpuSecondsPerGbit: (after.cpuSeconds - before.cpuSeconds) / (bits / GBIT),
  };
}

function cpuResult(of: string, carried: readonly Carried[]): BenchResult {
  const spent = carried.map(({ cpuSecondsPerGbit }) => cpuSecondsPerGbit);
  return sideResult(`${of}: CPU of the link`, 's/Gbit', false, spent);
}

async function repeat<T>({ repetitions }: Plan, work: () => Promise<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for (let run = 0; run < repetitions; run += 1) all.push(await work());
  return all;
}
