/**
 * How fast the simulator is: a group of five Raft replicas with heartbeats every 50 ms and elections after
 * 150-300 ms, in one thread, which is how campaigns run it. An event is a delivered message, timer expiry
 * or disk completion that was handled; the trace hash covers each of them, with the checkers or without.
 */
import { Worker } from 'node:worker_threads';
import { SIMULATION_THREAD_LIMITS } from '../sim/campaign/thread-limits.ts';
import type { Bench, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument, formatFigure } from './harness.ts';
import type { SimRunFigures, SimRunOptions } from './sim-run.ts';
import { atLeast, summarize } from './statistics.ts';

interface Load {
  readonly name: string;
  readonly proposalsPerSecond: number;
  readonly simulatedSeconds: number;
  /** Simulated over real time; null where none is set. */
  readonly targetOverReal: number | null;
}

const EVENTS_PER_SECOND_MIN = 1_000_000;

const LOADS: readonly Load[] = [
  { name: 'idle', proposalsPerSecond: 0, simulatedSeconds: 1_200, targetOverReal: 1_000 },
  { name: '100 proposals/s', proposalsPerSecond: 100, simulatedSeconds: 200, targetOverReal: 250 },
  {
    name: '1000 proposals/s',
    proposalsPerSecond: 1_000,
    simulatedSeconds: 20,
    targetOverReal: null,
  },
];
const REPETITIONS = 5;
const QUICK_SHARE = 1 / 100;

export const simBench: Bench = {
  name: 'sim',
  describe:
    'the simulator: events per second and simulated over real time, with checkers and without',
  run: async (options) => {
    const thread = new Worker(new URL('./sim-run.js', import.meta.url), {
      resourceLimits: SIMULATION_THREAD_LIMITS,
    });
    try {
      const results: BenchResult[] = [];
      for (const load of LOADS) results.push(...(await measure(thread, load, options)));
      return benchDocument('sim', results);
    } finally {
      await thread.terminate();
    }
  },
};

/** With checkers and without in turns, after one run of each to warm up. */
async function measure(
  thread: Worker,
  load: Load,
  { quick, onProgress }: BenchRunOptions,
): Promise<readonly BenchResult[]> {
  const simulatedSeconds = load.simulatedSeconds * (quick ? QUICK_SHARE : 1);
  const { proposalsPerSecond } = load;
  const figures = { on: [] as SimRunFigures[], off: [] as SimRunFigures[] };
  for (let run = -1; run < (quick ? 1 : REPETITIONS); run += 1) {
    for (const checkers of ['on', 'off'] as const) {
      const one = await runOn(thread, {
        ...{ proposalsPerSecond, simulatedSeconds, checkers: checkers === 'on' },
      });
      onProgress(
        `${load.name}, checkers ${checkers}, ${run < 0 ? 'warm-up' : `run ${run + 1}`}: ` +
          `${formatFigure(one.eventsPerSecond)} events/s, ${formatFigure(one.simulatedOverReal)} x`,
      );
      if (run >= 0) figures[checkers].push(one);
    }
  }
  return (['on', 'off'] as const).flatMap((checkers) =>
    resultsOf(load, `raft 5 replicas, ${load.name}, checkers ${checkers}`, figures[checkers]),
  );
}

function resultsOf(load: Load, name: string, figures: readonly SimRunFigures[]): BenchResult[] {
  const overReal = summarize(figures.map(({ simulatedOverReal }) => simulatedOverReal));
  const rate = summarize(figures.map(({ eventsPerSecond }) => eventsPerSecond));
  const { targetOverReal } = load;
  const common = { higherIsBetter: true, peers: [], floor: null };
  return [
    {
      ...{ ...common, case: `${name}, simulated over real time`, unit: 'x', ours: overReal },
      targets:
        targetOverReal === null
          ? []
          : [atLeast('simulated over real time', targetOverReal, overReal.median)],
    },
    {
      ...{ ...common, case: `${name}, events`, unit: 'events/s', ours: rate },
      targets: [atLeast('events per second', EVENTS_PER_SECOND_MIN, rate.median)],
    },
  ];
}

function runOn(thread: Worker, options: SimRunOptions): Promise<SimRunFigures> {
  return new Promise((resolve, reject) => {
    thread.once('error', reject);
    thread.once('message', (figures: SimRunFigures) => {
      thread.off('error', reject);
      resolve(figures);
    });
    thread.postMessage(options);
  });
}
