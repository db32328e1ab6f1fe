/**
 * How fast the campaign finds bugs that other systems really had. The scenario, its faults and their
 * weights are the ones of clean code: nothing is tuned for a bug. Five ranges of seeds that share none
 * give five numbers, and their median is reported.
 */
import type { SeedRun, SeedRunOptions } from '../campaign/seed-run.ts';
import { Threads } from '../campaign/threads.ts';
import type { SeedJob, ShrinkJob, Shrunk } from '../campaign/worker.ts';
import type { Replay } from '../replay.ts';
import type { Bug } from './bug.ts';
import { type Copy, plant } from './workshop.ts';

export interface MuseumOptions {
  readonly bugs: readonly Bug[];
  /** Which of the disjoint ranges, from 0. */
  readonly ranges: readonly number[];
  /** Of one range; a bug not found within them counts as missed there. */
  readonly seedsMax: number;
  readonly workers: number;
  readonly commit: string;
  /** Time to search for one bug, shared by its ranges; null: as long as it takes. */
  readonly budgetMs: number | null;
  /** Time to shrink each find; null: none is shrunk. */
  readonly shrinkMs: number | null;
  readonly onSeed: (bug: Bug, seeds: number) => void;
  readonly onFind: (bug: Bug, replay: Replay) => void;
  readonly onBug: (report: BugReport) => void;
}

export interface Find {
  readonly range: number;
  readonly seed: number;
  /** How many seeds it took, with this one. */
  readonly seeds: number;
  readonly checker: string;
  readonly message: string;
  readonly shrunk: Shrunk | null;
}

/** One line of `dwcp sim museum --json`. */
export interface BugReport extends Bug {
  /** Found in more than half of the ranges, by seeds that clean code passes. */
  readonly ok: boolean;
  /** Median over the ranges; null when most of them missed it. */
  readonly seedsToFind: number | null;
  /** By range; null where it was missed. */
  readonly seeds: readonly (number | null)[];
  /** By range, how many were tried: fewer than asked for when it was found, or time was up. */
  readonly tried: readonly number[];
  /** Which checker caught it how often. */
  readonly caughtBy: Readonly<Record<string, number>>;
  /** Caught only by checkers that were expected to. */
  readonly asExpected: boolean;
  readonly finds: readonly Find[];
  /** Seeds that clean code fails too: they find something else, and the search went on behind them. */
  readonly cleanFails: readonly number[];
  readonly wallMs: number;
}

export interface MuseumSummary {
  readonly summary: true;
  readonly ok: boolean;
  readonly bugs: number;
  readonly missed: readonly string[];
  readonly ranges: number;
  readonly seedsMax: number;
  /** Median over bugs of the seeds to find one; null when most were missed. */
  readonly seedsToFind: number | null;
  /** Over all finds: faults left of those in the plan, and how long shrinking took. */
  readonly shrink: { readonly ratioMedian: number; readonly msMax: number } | null;
  readonly commit: string;
  readonly wallMs: number;
}

/** So far apart that no limit of seeds makes two ranges meet. */
const RANGES_APART = 10_000_000;

export async function runMuseum(options: MuseumOptions): Promise<MuseumSummary> {
  const startedMs = performance.now();
  const reports: BugReport[] = [];
  for (const bug of options.bugs) {
    const copy = plant(bug.id);
    try {
      const report = await exhibit(bug, copy, options);
      reports.push(report);
      options.onBug(report);
    } finally {
      copy.remove();
    }
  }
  const shrunk = reports.flatMap(({ finds }) => finds.flatMap((find) => find.shrunk ?? []));
  const ratios = shrunk.map(({ faultsBefore, faultsAfter }) => faultsAfter / faultsBefore);
  const ratioMedian = median(ratios.filter((ratio) => Number.isFinite(ratio)));
  const { commit, ranges, seedsMax } = options;
  return {
    ...{ summary: true, ok: reports.every(({ ok }) => ok), bugs: reports.length },
    missed: reports.filter(({ ok }) => !ok).map(({ id }) => id),
    ...{ ranges: ranges.length, seedsMax, commit },
    seedsToFind: median(reports.map(({ seedsToFind }) => seedsToFind)),
    shrink:
      ratioMedian === null ? null : { ratioMedian, msMax: Math.max(...shrunk.map(({ ms }) => ms)) },
    wallMs: Math.round(performance.now() - startedMs),
  };
}

async function exhibit(bug: Bug, copy: Copy, options: MuseumOptions): Promise<BugReport> {
  const startedMs = performance.now();
  const { scenario } = bug;
  const { ranges, workers, commit, shrinkMs } = options;
  const workerData: SeedRunOptions = { scenario, checkDeterminism: false, commit, simulate: {} };
  const buggy = new Threads(copy.module('sim/campaign/worker.js'), workerData, workers);
  const clean = new Threads(new URL('../campaign/worker.js', import.meta.url), workerData, 1);
  const finds: Find[] = [];
  const cleanFails: number[] = [];
  const tried: number[] = [];
  try {
    const found = new Map<number, SeedRun>();
    const searchedMs = performance.now();
    for (const [index, range] of ranges.entries()) {
      const share = ((options.budgetMs ?? 0) * (index + 1)) / ranges.length;
      const endMs = options.budgetMs === null ? Number.POSITIVE_INFINITY : searchedMs + share;
      const context = { buggy, clean, cleanFails, options, endMs, tried: 0 };
      const run = await search(bug, range, context);
      tried.push(context.tried);
      if (run === null) continue;
      found.set(range, run);
      // At once: what comes after it may be cut off.
      if (run.replay !== null) options.onFind(bug, { ...run.replay, bug: bug.id });
    }
    const smaller = shrinkMs === null ? [] : await shrinkAll(buggy, [...found.values()], shrinkMs);
    for (const [range, run] of found) {
      const { seed, violation } = run.report;
      finds.push({
        ...{ range, seed, seeds: seed - range * RANGES_APART },
        checker: violation?.checker ?? '',
        message: violation?.message ?? '',
        shrunk: smaller.find((each) => each.seed === seed) ?? null,
      });
    }
  } finally {
    await buggy.close();
    await clean.close();
  }
  const wallMs = Math.round(performance.now() - startedMs);
  return reportOf(bug, ranges, { finds, tried, cleanFails, wallMs });
}

interface Search {
  readonly buggy: Threads;
  readonly clean: Threads;
  readonly cleanFails: number[];
  readonly options: MuseumOptions;
  /** What is left of the budget goes to the next range. */
  readonly endMs: number;
  tried: number;
}

/** The first seed of the range that the bug fails and clean code passes. */
async function search(bug: Bug, range: number, context: Search): Promise<SeedRun | null> {
  const { buggy, clean, cleanFails, options } = context;
  const last = range * RANGES_APART + options.seedsMax;
  for (let from = range * RANGES_APART + 1; from <= last; ) {
    const jobs = Array.from(
      { length: last + 1 - from },
      (_, index): SeedJob => ({ kind: 'seed', seed: from + index }),
    );
    const failed: SeedRun[] = [];
    await buggy.run<SeedJob, SeedRun>(jobs, (run) => {
      context.tried += 1;
      options.onSeed(bug, run.report.seed - range * RANGES_APART);
      if (!run.report.ok) failed.push(run);
      return run.report.ok && performance.now() < context.endMs;
    });
    const [run] = failed;
    if (run === undefined) return null;
    const { seed } = run.report;
    let isClean = false;
    await clean.run<SeedJob, SeedRun>([{ kind: 'seed', seed }], ({ report }) => {
      isClean = report.ok;
      return true;
    });
    if (isClean) return run;
    cleanFails.push(seed);
    from = seed + 1;
  }
  return null;
}

async function shrinkAll(
  threads: Threads,
  found: readonly SeedRun[],
  maxMs: number,
): Promise<readonly Shrunk[]> {
  const jobs = found.flatMap((run): ShrinkJob[] => {
    if (run.replay === null) return [];
    const { seed, configuration } = run.replay;
    return [{ kind: 'shrink', seed, configuration, maxMs }];
  });
  const all: Shrunk[] = [];
  await threads.run<ShrinkJob, Shrunk>(jobs, (shrunk) => all.push(shrunk) > 0);
  return all;
}

function reportOf(
  bug: Bug,
  ranges: readonly number[],
  { finds, ...rest }: Pick<BugReport, 'finds' | 'tried' | 'cleanFails' | 'wallMs'>,
): BugReport {
  const seeds = ranges.map((range) => finds.find((find) => find.range === range)?.seeds ?? null);
  const seedsToFind = median(seeds);
  const caughtBy: Record<string, number> = {};
  for (const { checker } of finds) caughtBy[checker] = (caughtBy[checker] ?? 0) + 1;
  const asExpected = Object.keys(caughtBy).every((checker) => bug.checkers.includes(checker));
  const ok = seedsToFind !== null;
  return { ...bug, ok, seedsToFind, seeds, caughtBy, asExpected, finds, ...rest };
}

/** The lower middle of an even count, so that it is a number somebody measured; null sorts last. */
function median(values: readonly (number | null)[]): number | null {
  const sorted = values.map((value) => value ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  const middle = sorted[(sorted.length - 1) >> 1] ?? Number.POSITIVE_INFINITY;
  return Number.isFinite(middle) ? middle : null;
}
