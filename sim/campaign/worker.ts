/** One thread of a campaign: a job at a time, nothing shared. */
import '../tripwires.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { shrink } from '../shrink.ts';
import type { RunConfiguration } from '../world/simulate.ts';
import { loadScenario } from './registry.ts';
import { runSeed, type SeedRun, type SeedRunOptions } from './seed-run.ts';

export type Job = SeedJob | ShrinkJob;

export interface SeedJob {
  readonly kind: 'seed';
  readonly seed: number;
}

export interface ShrinkJob {
  readonly kind: 'shrink';
  readonly seed: number;
  readonly configuration: RunConfiguration;
  readonly maxMs: number;
}

/** How small a failing run became, and in which time. */
export interface Shrunk {
  readonly seed: number;
  readonly checker: string;
  readonly faultsBefore: number;
  readonly faultsAfter: number;
  readonly runs: number;
  readonly ms: number;
}

const options = workerData as SeedRunOptions;
const loading = loadScenario(options.scenario);

parentPort?.on('message', (job: Job) => {
  void loading.then((scenario) => {
    const answer = job.kind === 'seed' ? runSeed(scenario, job.seed, options) : shrunk(job);
    parentPort?.postMessage(answer satisfies SeedRun | Shrunk | null);

    function shrunk({ seed, configuration, maxMs }: ShrinkJob): Shrunk | null {
      const startedMs = performance.now();
      const small = shrink(scenario, { seed, configuration }, { maxMs, maxRuns: 10_000 });
      if (small === null) return null;
      const { faultsBefore, faultsAfter, runs, result } = small;
      const ms = Math.round(performance.now() - startedMs);
      const checker = result.violation?.checker ?? '';
      return { seed, checker, faultsBefore, faultsAfter, runs, ms };
    }
  });
});
