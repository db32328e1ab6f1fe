/**
 * Live migration between two agents, each a process of its own. Downtime is what the guest's own
 * workload saw; a run whose guest did not get the write rate it was asked for does not count.
 */
import type { DemoCluster } from '../src/cli/demo/cluster.ts';
import { DwcpError } from '../src/util/errors.ts';
import { formatBytes } from '../src/util/units.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions, Target } from './document.ts';
import { benchDocument, formatFigure, sideResult } from './harness.ts';
import { type Floors, measureFloors } from './migration-floors.ts';
import {
  isStarved,
  type MemoryCell,
  type MemoryMove,
  moveMemoryGuest,
  withCluster,
} from './migration-memory.ts';
import { qemuResults } from './migration-qemu.ts';
import { assertAboveFloor, atLeast, atMost, median, summarize } from './statistics.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Total over what size and rates allow; the rest is for rounds, set-up and the switch. */
const TOTAL_SHARE_MAX = 1.3;
/** A starved or failed run is made up for this often. */
const MAKE_UP_RUNS_MAX = 3;
/** On a slow machine cells without a target are repeated no more once this much time has passed. */
const SIDE_CELLS_UNTIL_MS = 6 * 60_000;

interface PlannedCell extends MemoryCell {
  readonly repetitions: number;
  /** Null where no target was set. */
  readonly downtimeMsMax: number | null;
}

interface CellRuns {
  readonly cell: PlannedCell;
  readonly counted: { readonly move: MemoryMove; readonly floors: Floors }[];
  starved: number;
  readonly errors: DwcpError[];
}

export const migrationBench: Bench = {
  name: 'migration',
  describe: 'live moves of a memory guest by size and write rate, and of a VM against QEMU itself',
  run: async (options) => runMigrationBench(options),
};

async function runMigrationBench(options: BenchRunOptions): Promise<BenchDocument> {
  const cells = plannedCells(options.quick);
  const runs = cells.map((cell): CellRuns => ({ cell, counted: [], starved: 0, errors: [] }));
  const floors: Floors[] = [];
  const startedAt = performance.now();
  await withCluster(async (cluster) => {
    let serial = 0;
    const rounds = Math.max(...cells.map((cell) => cell.repetitions)) + MAKE_UP_RUNS_MAX;
    for (let round = 0; round < rounds; round += 1) {
      const isLate = performance.now() - startedAt > SIDE_CELLS_UNTIL_MS;
      const due = runs.filter((each) => isDue(each, round, isLate));
      if (due.length === 0) break;
      const measured = await measureFloors(options.quick ? 16 * MIB : GIB);
      floors.push(measured);
      options.onProgress(`round ${round + 1}: ${describeFloors(measured)}`);
      for (const each of due) {
        serial += 1;
        await runOnce(cluster, `bench-${serial}`, each, measured, options);
      }
    }
  });
  // Some cells may write faster than the link carries; that none arrives is a fault of ours.
  const [error] = runs.flatMap((each) => each.errors);
  if (error !== undefined && runs.every((each) => each.counted.length === 0)) throw error;
  const vm = await qemuResults(options);
  const results = [...floorResults(floors), ...runs.flatMap(cellResults), ...vm];
  for (const line of verdicts(results)) options.onProgress(line);
  return benchDocument('migration', results);
}

function plannedCells(quick: boolean): PlannedCell[] {
  const none = { downtimeMsMax: null };
  if (quick) {
    return [0, 50 * MIB].map((dirtyBytesPerSec) => ({
      ...{ memoryBytes: 64 * MIB, dirtyBytesPerSec, repetitions: 1, ...none },
    }));
  }
  const rates = [0, 50, 200, 500];
  return [
    ...rates.map((rate) => ({
      ...{ memoryBytes: GIB, dirtyBytesPerSec: rate * MIB },
      ...(rate === 200 ? { repetitions: 5, downtimeMsMax: 60 } : { repetitions: 2, ...none }),
    })),
    ...rates.map((rate) => ({
      ...{ memoryBytes: 4 * GIB, dirtyBytesPerSec: rate * MIB },
      ...(rate === 200 ? { repetitions: 5, downtimeMsMax: 345 } : { repetitions: 2, ...none }),
    })),
  ];
}

/** Interleaved by rounds over the cells; what did not count is made up for in later rounds. */
function isDue(runs: CellRuns, round: number, isLate: boolean): boolean {
  const { repetitions, downtimeMsMax } = runs.cell;
  if (isLate && round > 0 && downtimeMsMax === null) return false;
  return runs.counted.length < repetitions && round < repetitions + MAKE_UP_RUNS_MAX;
}

async function runOnce(
  cluster: DemoCluster,
  name: string,
  runs: CellRuns,
  floors: Floors,
  options: BenchRunOptions,
): Promise<void> {
  const { cell } = runs;
  const say = (what: string) => options.onProgress(`${cellName(cell)}: ${what}`);
  let move: MemoryMove;
  try {
    move = await moveMemoryGuest(cluster, name, cell);
  } catch (error) {
    if (!(error instanceof DwcpError)) throw error;
    runs.errors.push(error);
    return say(`failed, does not count: ${error.code} ${error.message}`);
  }
  const starved = isStarved(cell, move);
  if (starved) runs.starved += 1;
  else runs.counted.push({ move, floors });
  const { before, during, after } = move.dirtyBytesPerSec;
  const rates = [before, during, after].map((rate) => formatBytes(rate)).join(', ');
  say(
    `${starved ? 'starved, does not count: ' : ''}downtime ${formatFigure(move.downtimeMs)} ms, ` +
      `moved in ${formatFigure(move.movedMs)} ms, compared by ${formatFigure(move.totalMs)} ms, ` +
      `${move.rounds} rounds, wrote before, during, after: ${rates}/s`,
  );
}

// ---- the document -------------------------------------------------------------------------------

function cellName(cell: MemoryCell): string {
  return `memory ${formatBytes(cell.memoryBytes)} writes=${formatBytes(cell.dirtyBytesPerSec)}/s`;
}

function cellResults({ cell, counted, starved, errors }: CellRuns): BenchResult[] {
  const name = cellName(cell);
  const figure = (of: (move: MemoryMove) => number) => counted.map(({ move }) => of(move));
  const limit = cell.downtimeMsMax;
  const enough: Target[] =
    limit === null ? [] : [atLeast('runs that count', cell.repetitions, counted.length)];
  const lost = [
    { what: 'starved runs', count: starved },
    {
      what: `failed runs (${[...new Set(errors.map((each) => each.code))].join(', ')})`,
      count: errors.length,
    },
  ].flatMap(({ what, count }) =>
    count === 0
      ? []
      : [{ ...sideResult(`${name}: ${what}`, 'runs', false, [count]), targets: enough }],
  );
  if (counted.length === 0) return lost;
  const downtime = summarize(figure((move) => move.downtimeMs));
  const measured = (what: string, unit: string, of: (move: MemoryMove) => number) =>
    sideResult(`${name}: ${what}`, unit, false, figure(of));
  return [
    {
      ...{ case: `${name}: downtime`, unit: 'ms', higherIsBetter: false, ours: downtime },
      ...{ peers: [], floor: null },
      targets: limit === null ? [] : [atMost('median ms', limit, downtime.median), ...enough],
    },
    totalResult(`${name}: total until the guest runs at its destination`, cell, counted, 'movedMs'),
    totalResult(`${name}: total with comparing and release`, cell, counted, 'totalMs'),
    measured('rounds', 'rounds', (move) => move.rounds),
    measured('pages sent', 'bytes', (move) => move.rawBytes),
    ...(cell.dirtyBytesPerSec === 0
      ? []
      : (['before', 'during', 'after'] as const).map((when) =>
          measured(`written ${when} the move`, 'bytes/s', (move) => move.dirtyBytesPerSec[when]),
        )),
    ...lost,
  ];
}

function totalResult(
  name: string,
  cell: PlannedCell,
  counted: CellRuns['counted'],
  field: 'movedMs' | 'totalMs',
): BenchResult {
  const samples = counted.map(({ move }) => move[field]);
  const shares = counted.map(({ move, floors }) => {
    const rate = floors.transportBytesPerSec - move.dirtyBytesPerSec.during;
    return move[field] / ((cell.memoryBytes / rate) * 1000);
  });
  const memcpy = Math.max(...counted.map(({ floors }) => floors.memcpyBytesPerSec));
  const floor = { name: 'memcpy of the memory', value: (cell.memoryBytes / memcpy) * 1000 };
  assertAboveFloor(name, samples, false, floor);
  return {
    ...{ case: name, unit: 'ms', higherIsBetter: false, ours: summarize(samples), peers: [] },
    targets:
      cell.downtimeMsMax === null
        ? []
        : [
            atMost(
              'total / (size / (measured transport rate - dirty rate))',
              TOTAL_SHARE_MAX,
              median(shares),
            ),
          ],
    floor,
  };
}

function floorResults(floors: readonly Floors[]): BenchResult[] {
  const all = (of: (each: Floors) => number) => floors.map(of);
  return [
    sideResult(
      'transport rate, 8 streams, 1 MiB chunks, touched memory',
      'bytes/s',
      true,
      all((each) => each.transportBytesPerSec),
    ),
    sideResult(
      'floor: first touch of fresh shared memory',
      's/GiB',
      false,
      all((each) => each.firstTouchSecondsPerGib),
    ),
    sideResult(
      'floor: memcpy',
      'bytes/s',
      true,
      all((each) => each.memcpyBytesPerSec),
    ),
  ];
}

function describeFloors(floors: Floors): string {
  return (
    `transport ${formatBytes(floors.transportBytesPerSec)}/s, ` +
    `first touch ${formatFigure(floors.firstTouchSecondsPerGib)} s/GiB, ` +
    `memcpy ${formatBytes(floors.memcpyBytesPerSec)}/s`
  );
}

function verdicts(results: readonly BenchResult[]): string[] {
  return results.flatMap((result) =>
    result.targets.map(
      ({ what, target, measured, met }) =>
        `${met ? 'met   ' : 'MISSED'} ${result.case}: ${what}: ${formatFigure(measured)}, target ${target}`,
    ),
  );
}
