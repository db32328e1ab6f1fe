/** Many seeds on the cores of one machine; `--shard` spreads them over many machines. */
import { Worker } from 'node:worker_threads';
import type { Replay } from '../replay.ts';
import { loadScenario } from './registry.ts';
import { runSeed, type SeedReport, type SeedRun, type SeedRunOptions } from './seed-run.ts';
import { SIMULATION_THREAD_LIMITS } from './thread-limits.ts';

export interface CampaignOptions extends SeedRunOptions {
  readonly seeds: readonly number[];
  readonly workers: number;
  /** In order of the seeds; `replay` when something was found. */
  readonly onSeed: (report: SeedReport, replay: Replay | null) => void;
}

/** The last line of `dwcp sim run --json`. */
export interface CampaignSummary {
  readonly summary: true;
  readonly scenario: string;
  readonly seeds: number;
  readonly ok: boolean;
  readonly failed: readonly number[];
  readonly events: number;
  readonly simulatedMs: number;
  readonly wallMs: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly sometimes: Readonly<Record<string, number>>;
  /** Probes of the scenario that no seed hit: a campaign that never saw them proves little. */
  readonly missed: readonly string[];
}

/** Fewer seeds than this are a look, not a campaign: they may miss a probe. */
const CAMPAIGN_SEEDS_MIN = 50;

export async function runCampaign(options: CampaignOptions): Promise<CampaignSummary> {
  const startedMs = performance.now();
  const scenario = await loadScenario(options.scenario);
  const totals = new Totals();
  const inOrder = orderly(options.seeds, ({ report, replay }) => {
    totals.add(report);
    options.onSeed(report, replay);
  });
  const workers = Math.min(options.workers, options.seeds.length);
  if (workers > 1) await runOnThreads(options, workers, inOrder);
  else for (const seed of options.seeds) inOrder(runSeed(scenario, seed, options));
  const missed =
    options.seeds.length < CAMPAIGN_SEEDS_MIN
      ? []
      : (scenario.probes ?? []).filter((label) => (totals.sometimes[label] ?? 0) === 0);
  const { failed, events, simulatedMs, faults, sometimes } = totals;
  return {
    ...{ summary: true, scenario: scenario.name, seeds: options.seeds.length },
    ...{ ok: failed.length === 0 && missed.length === 0, failed, events, simulatedMs },
    ...{ wallMs: Math.round(performance.now() - startedMs), faults, sometimes, missed },
  };
}

async function runOnThreads(
  { scenario, seeds, checkDeterminism, commit, simulate }: CampaignOptions,
  count: number,
  onRun: (run: SeedRun) => void,
): Promise<void> {
  const left = [...seeds].reverse();
  const workerData: SeedRunOptions = { scenario, checkDeterminism, commit, simulate };
  const threads = Array.from(
    { length: count },
    () =>
      new Worker(new URL('./worker.js', import.meta.url), {
        workerData,
        resourceLimits: SIMULATION_THREAD_LIMITS,
      }),
  );
  try {
    await Promise.all(
      threads.map(
        (thread) =>
          new Promise<void>((resolve, reject) => {
            const next = (): void => {
              const seed = left.pop();
              if (seed === undefined) resolve();
              else thread.postMessage(seed);
            };
            thread.on('error', reject);
            thread.on('exit', (code) =>
              reject(new Error(`a simulation thread ended with ${code}`)),
            );
            thread.on('message', (run: SeedRun) => {
              onRun(run);
              next();
            });
            next();
          }),
      ),
    );
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

/** Threads finish out of order; reports do not come so. */
function orderly(
  seeds: readonly number[],
  deliver: (run: SeedRun) => void,
): (run: SeedRun) => void {
  const waiting = new Map<number, SeedRun>();
  let next = 0;
  return (run) => {
    waiting.set(run.report.seed, run);
    for (;;) {
      const seed = seeds[next];
      const ready = seed === undefined ? undefined : waiting.get(seed);
      if (seed === undefined || ready === undefined) return;
      waiting.delete(seed);
      next += 1;
      deliver(ready);
    }
  };
}

class Totals {
  readonly failed: number[] = [];
  readonly faults: Record<string, number> = {};
  readonly sometimes: Record<string, number> = {};
  events = 0;
  simulatedMs = 0;

  add({ seed, ok, events, simulatedMs, faults, sometimes }: SeedReport): void {
    if (!ok) this.failed.push(seed);
    this.events += events;
    this.simulatedMs += simulatedMs;
    addCounts(this.faults, faults);
    addCounts(this.sometimes, sometimes);
  }
}

function addCounts(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [label, count] of Object.entries(from)) to[label] = (to[label] ?? 0) + count;
}
