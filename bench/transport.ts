/**
 * What one link carries: two processes, real sockets, every byte verified, landed in a region whose
 * pages are touched and cold, and counted by the receiver. After each run both memories are compared.
 */
import { cpus, freemem } from 'node:os';
import { formatBytes } from '../src/util/units.ts';
import { CONGESTION_CONTROL } from './congestion-control.ts';
import type {
  Bench,
  BenchDocument,
  BenchResult,
  BenchRunOptions,
  Floor,
  PeerResult,
  Summary,
  Target,
} from './document.ts';
import { benchDocument, type Contender, measureCase, sideResult } from './harness.ts';
import { atLeast, atMost, pairwise, summarize } from './statistics.ts';
import {
  iperfVersion,
  type Run,
  runIperf,
  runLanding,
  runOurs,
  type Shape,
} from './transport-runs.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** iperf3 refuses more. */
const IPERF_STREAMS_MAX = 128;
const STREAMS = [1, 2, 4, 8, 16, 32, 128, 512];
const CHUNKS = [4 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB];
/** More streams with the largest chunks need gigabytes of staging in the landing peer. */
const LARGE_CHUNK_STREAMS_MAX = 32;

export const transportBench: Bench = {
  name: 'transport',
  describe: 'goodput of one link by streams and chunk size, against landing.cc and iperf3',
  run: async (options) => runTransportBench(options),
};

/** A case: its shape, who runs beside us, how often, and what it must reach. */
interface Cell {
  readonly name: string;
  readonly shape: Shape;
  readonly iperf: boolean;
  readonly repetitions: number;
  readonly warmups: number;
  readonly targets: (ours: Summary, peers: readonly PeerResult[]) => readonly Target[];
}

async function runTransportBench(options: BenchRunOptions): Promise<BenchDocument> {
  const iperf = iperfVersion();
  const floor = memcpyFloor(options.quick ? 16 * MIB : 256 * MIB);
  const results: BenchResult[] = [];
  const medians = new Map<number, number>();
  for (const cell of options.quick ? [quickCell()] : [mainCell(), hotCell(), ...gridCells()]) {
    const [goodput, cpu] = await measureCell(cell, iperf, floor, options);
    results.push(goodput, cpu);
    const { streams, chunkBytes, regionBytes } = cell.shape;
    if (chunkBytes === MIB && regionBytes === GRID_REGION_BYTES) {
      medians.set(streams, goodput.ours.median);
    }
  }
  results.push(...scalingResults(medians));
  results.push(await measureGrowth(options));
  return benchDocument('transport', results);
}

const mainShape: Shape = { streams: 8, chunkBytes: MIB, regionBytes: 4 * GIB, passes: 1 };
/** Beyond every cache, and touched soon enough for a whole grid. */
const GRID_REGION_BYTES = 256 * MIB;

function quickCell(): Cell {
  return {
    name: 'quick',
    shape: { streams: 2, chunkBytes: MIB, regionBytes: 16 * MIB, passes: 2 },
    iperf: true,
    repetitions: 2,
    warmups: 0,
    targets: () => [],
  };
}

function mainCell(): Cell {
  return {
    name: 'cold',
    shape: freemem() > 12 * GIB ? mainShape : { ...mainShape, regionBytes: GIB, passes: 4 },
    iperf: true,
    repetitions: 5,
    warmups: 1,
    targets: (ours, [landing, iperf]) => [
      atLeast('ratio to landing.cc', 0.95, landing?.ratio.median ?? 0),
      atLeast('ratio to iperf3', 1, iperf?.ratio.median ?? 0),
      atLeast('bytes/s', 2.4e9, ours.median),
    ],
  };
}

/** The same eight chunks again and again: what is left when memory costs nothing. */
function hotCell(): Cell {
  return {
    name: 'hot',
    shape: { streams: 8, chunkBytes: MIB, regionBytes: 8 * MIB, passes: 256 },
    iperf: false,
    repetitions: 5,
    warmups: 1,
    targets: () => [],
  };
}

function gridCells(): Cell[] {
  const shapes = STREAMS.flatMap((streams) =>
    CHUNKS.map((chunkBytes) => ({
      ...{ streams, chunkBytes, regionBytes: GRID_REGION_BYTES },
      passes: chunkBytes < 64 * KIB ? 1 : 4,
    })),
  );
  return shapes
    .filter(({ streams, chunkBytes }) => chunkBytes <= MIB || streams <= LARGE_CHUNK_STREAMS_MAX)
    .map((shape) => ({
      name: 'grid',
      shape,
      iperf: shape.chunkBytes === MIB && shape.streams <= IPERF_STREAMS_MAX,
      // The column that the targets look at; the rest shows where the curve bends.
      repetitions: shape.chunkBytes === MIB ? 3 : 2,
      warmups: 0,
      targets: () => [],
    }));
}

async function measureCell(
  cell: Cell,
  iperf: string,
  floor: Floor,
  options: BenchRunOptions,
): Promise<[BenchResult, BenchResult]> {
  const cpu: number[][] = [];
  const contender = (name: string, run: () => Promise<Run>): Contender => {
    const spent: number[] = [];
    cpu.push(spent);
    return {
      name,
      run: async () => {
        const { bytesPerSec, cpuSecondsPerGb } = await run();
        spent.push(cpuSecondsPerGb);
        return bytesPerSec;
      },
    };
  };
  const { shape } = cell;
  const ours = contender('dwcp', () => runOurs(shape));
  const peers = [contender('landing.cc', () => runLanding(shape))];
  if (cell.iperf) {
    const name = `${iperf} -P ${shape.streams} -l 1M -C ${CONGESTION_CONTROL}`;
    peers.push(contender(name, () => runIperf(shape)));
  }
  const name = `tcp ${cell.name} streams=${shape.streams} chunk=${formatBytes(shape.chunkBytes)}`;
  const goodput = await measureCase({
    case: `${name} region=${formatBytes(shape.regionBytes)} passes=${shape.passes}`,
    unit: 'bytes/s',
    higherIsBetter: true,
    ours,
    peers,
    floor,
    repetitions: cell.repetitions,
    warmups: cell.warmups,
    targets: cell.targets,
    onProgress: options.onProgress,
  });
  for (const { what, target, measured, met } of goodput.targets) {
    options.onProgress(`${name}: ${what} ${measured} ${met ? 'meets' : 'MISSES'} ${target}`);
  }
  const [mine = [], ...theirs] = cpu.map((samples) => samples.slice(cell.warmups));
  const cpuPeers = peers.map((peer, index) => pairwise(peer.name, mine, theirs[index] ?? []));
  return [goodput, sideResult(`${name}: CPU`, 's/GB', false, mine, cpuPeers)];
}

/** Beside T(n) / (n x T(1)): more streams than are useful must not cost what they brought. */
function scalingResults(medians: ReadonlyMap<number, number>): BenchResult[] {
  const one = medians.get(1);
  if (one === undefined) return [];
  const best = Math.max(...medians.values());
  const least = new Map([
    [8, 0.7],
    [32, 0.5],
  ]);
  return [...medians].flatMap(([streams, total]) => {
    const ofBest = total / best;
    const target = least.get(streams);
    return [
      sideResult(`tcp streams=${streams}: T(n) / (n x T(1))`, 'ratio', true, [
        total / (streams * one),
      ]),
      {
        ...sideResult(`tcp streams=${streams}: T(n) / best T`, 'ratio', true, [ofBest]),
        targets: target === undefined ? [] : [atLeast('of the best', target, ofBest)],
      },
    ];
  });
}

/** What the resident set of either end grows by while many times its staging passes. */
async function measureGrowth(options: BenchRunOptions): Promise<BenchResult> {
  const shape = options.quick
    ? { ...mainShape, streams: 2, regionBytes: 16 * MIB, passes: 16 }
    : { ...mainShape, regionBytes: GIB, passes: 64 };
  const { grownBytes, bytesPerSec } = await runOurs(shape);
  const passed = formatBytes(shape.regionBytes * shape.passes);
  const name = `tcp resident set growth while ${passed} pass`;
  options.onProgress(`${name}: ${formatBytes(grownBytes)} at ${Math.round(bytesPerSec)} bytes/s`);
  const ours = summarize([Math.max(1, grownBytes)]);
  const targets = options.quick ? [] : [atMost('bytes', 32 * MIB, grownBytes)];
  return { ...sideResult(name, 'bytes', false, ours.samples), targets };
}

/** The kernel alone copies each byte twice, in and out; more than every core's copying is not real. */
function memcpyFloor(bytes: number): Floor {
  const source = Buffer.alloc(bytes, 1);
  const target = Buffer.alloc(bytes, 2);
  let best = 0;
  for (let run = 0; run < 5; run += 1) {
    const startedAt = performance.now();
    source.copy(target);
    best = Math.max(best, (bytes * 1000) / (performance.now() - startedAt));
  }
  return { name: 'memcpy x cores / 2', value: (best * cpus().length) / 2 };
}
