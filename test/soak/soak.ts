/**
 * Moves one guest again and again while agents stand at named steps and something fails there.
 * Who runs is judged from pipes that the guests write and we hold, never from what an agent says.
 */
import { cleanedUp } from '../../bench/interruption.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { Draw } from '../integration/faults/draw.ts';
import { type Cell, type GuestKind, nameOf, shuffledCells } from './cells.ts';
import { SoakCluster } from './soak-cluster.ts';
import { type RunResult, soakRun } from './soak-run.ts';

export interface SoakOptions {
  readonly cells: readonly Cell[];
  readonly runs: number;
  /** How long a killed agent stays away and a cut lasts, one after the other by run. */
  readonly holdsMs: readonly number[];
  readonly seed: number;
  /** No new run begins after this long; null: all of them. */
  readonly seconds: number | null;
  readonly onRun: (run: RunReport) => void;
}

export interface RunReport extends RunResult {
  readonly cell: string;
  readonly run: number;
  readonly holdMs: number;
  readonly done: number;
  readonly planned: number;
}

export interface SoakReport {
  readonly planned: number;
  readonly done: number;
  readonly outcomes: Readonly<Record<RunResult['outcome'], number>>;
  /** Beats of guests that were judged. */
  readonly beats: number;
  readonly slowestRunsAgainMs: number;
  readonly bad: readonly RunReport[];
}

/** A cluster is renewed after this many runs: each move leaves a span and a data directory its files. */
const RUNS_PER_CLUSTER = 24;

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { runs, holdsMs, seed, seconds, onRun } = options;
  const draw = new Draw(seed);
  const cells = Array.from({ length: runs }, () => shuffledCells(options.cells, draw));
  const plan = cells.flatMap((order, run) => order.map((cell) => ({ cell, run })));
  const endMs = seconds === null ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1000;
  const outcomes = { ok: 0, unreached: 0, violation: 0, stuck: 0 };
  const bad: RunReport[] = [];
  const current: { cluster: Current | null } = { cluster: null };
  let beats = 0;
  let slowestRunsAgainMs = 0;
  let done = 0;
  const renew = async (): Promise<void> => {
    const { cluster } = current;
    if (cluster === null) return;
    current.cluster = null;
    beats += cluster.soak.witness.judge.spans().reduce((sum, span) => sum + span.beats, 0);
    await cluster.soak.stop();
  };
  await cleanedUp(renew, async () => {
    for (const { cell, run } of plan) {
      if (performance.now() > endMs) break;
      const kept = current.cluster;
      if (kept?.guest !== cell.guest || kept.runs >= RUNS_PER_CLUSTER) await renew();
      const cluster = current.cluster ?? (await begin(cell.guest));
      current.cluster = cluster;
      const holdMs = holdsMs[run % holdsMs.length] ?? 0;
      const result = await soakRun(cluster.soak, cell, holdMs, draw);
      cluster.runs += 1;
      done += 1;
      outcomes[result.outcome] += 1;
      slowestRunsAgainMs = Math.max(slowestRunsAgainMs, result.runsAgainMs);
      const report = { ...result, cell: nameOf(cell), run, holdMs, done, planned: plan.length };
      if (result.outcome !== 'ok') bad.push(report);
      onRun(report);
      // What the next run would start from is not known.
      if (result.outcome === 'violation' || result.outcome === 'stuck') await renew();
    }
  });
  return { planned: plan.length, done, outcomes, beats, slowestRunsAgainMs, bad };
}

interface Current {
  readonly soak: SoakCluster;
  readonly guest: GuestKind;
  runs: number;
}

async function begin(guest: GuestKind): Promise<Current> {
  const cluster = await SoakCluster.start(guest);
  try {
    await startGuest(cluster);
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return { soak: cluster, guest, runs: 0 };
}

/** Just started agents may have no majority yet: then nothing starts, and says so. */
async function startGuest(cluster: SoakCluster): Promise<void> {
  const untilMs = performance.now() + 20_000;
  for (;;) {
    try {
      return await cluster.startGuest();
    } catch (error) {
      const isEarly = error instanceof DwcpError && String(error.code) === 'ERR_DWCP_NO_QUORUM';
      if (!isEarly || performance.now() > untilMs) throw error;
    }
  }
}
