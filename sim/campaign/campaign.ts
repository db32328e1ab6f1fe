/** Many seeds on the cores of one machine; `--shard` spreads them over many machines. */
import type { Replay } from '../replay.ts';
import { loadScenario } from './registry.ts';
import { runSeed, type SeedReport, type SeedRun, type SeedRunOptions } from './seed-run.ts';

import { Threads } from './threads.ts';
import type { SeedJob } from './worker.ts';

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
  const onRun = ({ report, replay }: SeedRun): void => {
    totals.add(report);
    options.onSeed(report, replay);
  };
  const workers = Math.min(options.workers, options.seeds.length);
  if (workers > 1) await runOnThreads(options, workers, onRun);
  else for (const seed of options.seeds) onRun(runSeed(scenario, seed, options));
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
  const workerData: SeedRunOptions = { scenario, checkDeterminism, commit, simulate };
  const threads = new Threads(new URL('./worker.js', import.meta.url), workerData, count);
  const jobs = seeds.map((seed): SeedJob => ({ kind: 'seed', seed }));
  try {
    await threads.run<SeedJob, SeedRun>(jobs, (run) => {
      onRun(run);
      return true;
    });
  } finally {
    await threads.close();
  }
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
