/**
 * What it costs to know which pages a guest wrote: the trackers that an agent uses, on the memory of a
 * guest process of its own, which writes pages that the bench names and so can look for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { MemoryGuest } from '../src/hypervisors/memory/guest.ts';
import { mapGuestMemory, PAGE_BYTES } from '../src/hypervisors/memory/memory.ts';
import { memoryGuest } from '../src/hypervisors/memory-guest.ts';
import { createPageSet, createTracker } from '../src/native.ts';
import type { DirtyTracker, DirtyTrackingBackend } from '../src/ports/memory.ts';
import { assert } from '../src/util/assert.ts';
import { promised } from '../src/util/promised.ts';
import { formatBytes } from '../src/util/units.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument, formatFigure } from './harness.ts';
import { atMost, summarize } from './statistics.ts';

const GIB = 2 ** 30;
/** Header, accounts and ring of the guest come first; its data pages follow. */
const FIRST_DATA_PAGE = 25;
/** Near the golden section, so that pages written in turn lie far apart. */
const SCATTER = 0.618;

interface Figures {
  readonly firstScanMs: number;
  readonly idleScanMs: number;
  readonly scatteredScanMs: number;
  readonly fullScanMs: number;
  /** What the first write to a protected page costs more than a later one. */
  readonly firstWriteUs: number;
  /** Written and not found, and found though never written; over all scans of the run. */
  readonly missedPages: number;
  readonly inventedPages: number;
}

interface Plan {
  readonly memoryBytes: number;
  readonly scatteredPages: number;
  readonly repetitions: number;
}

export const dirtyTrackingBench: Bench = {
  name: 'dirty-tracking',
  describe: 'cost per scan and per first write, and missed pages, of both tracking back-ends',
  run: async (options) => runDirtyTrackingBench(options),
};

async function runDirtyTrackingBench(options: BenchRunOptions): Promise<BenchDocument> {
  const plan = options.quick
    ? { memoryBytes: 32 * 2 ** 20, scatteredPages: 500, repetitions: 1 }
    : { memoryBytes: GIB, scatteredPages: 10_000, repetitions: 5 };
  const backends: readonly DirtyTrackingBackend[] = ['pagemap-scan', 'rehash'];
  const figures = new Map(backends.map((backend) => [backend, [] as Figures[]]));
  for (let run = 0; run < plan.repetitions; run += 1) {
    for (const [backend, samples] of figures) {
      const one = await measure(backend, plan);
      samples.push(one);
      const told = Object.entries(one).map(([name, value]) => `${name} ${formatFigure(value)}`);
      options.onProgress(`${backend} run ${run + 1}: ${told.join(', ')}`);
    }
  }
  const results = [...figures].flatMap(([backend, samples]) => resultsOf(backend, plan, samples));
  return benchDocument('dirty-tracking', results);
}

async function measure(backend: DirtyTrackingBackend, plan: Plan): Promise<Figures> {
  const dataDir = mkdtempSync(join(tmpdir(), 'dwcp-bench-'));
  const { memoryBytes } = plan;
  const guest = await memoryGuest({ name: 'bench', memoryBytes, zeroShare: 0 }).open({ dataDir });
  try {
    assert(guest instanceof MemoryGuest, 'a memory guest has a process to ask');
    // Only what we ask for is written from here on.
    await promised<void>((done) => guest.pause(done));
    const region = mapGuestMemory(guest.process);
    const { pid, address } = guest.process;
    const tracker = createTracker({ backend, pid, address: BigInt(address), region });
    try {
      return await measureTracker(tracker, guest, plan);
    } finally {
      tracker.close();
      region.close();
    }
  } finally {
    await promised<void>((done) => guest.kill(done));
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function measureTracker(
  tracker: DirtyTracker,
  guest: MemoryGuest,
  plan: Plan,
): Promise<Figures> {
  const dataPages = plan.memoryBytes / PAGE_BYTES - FIRST_DATA_PAGE;
  const stride = strideOver(dataPages);
  const found = createPageSet(plan.memoryBytes / PAGE_BYTES);
  let missedPages = 0;
  let inventedPages = 0;
  let start = 0;
  const write = (count: number) => writePages(guest, start, stride, count);
  const scanMs = (): number => tracker.scan(found).elapsedUs / 1000;
  /** The pages of the latest `write`, looked up one by one. */
  const check = (count: number): void => {
    let seen = 0;
    for (let turn = 0; turn < count; turn += 1) {
      if (found.has(FIRST_DATA_PAGE + ((start + turn * stride) % dataPages))) seen += 1;
    }
    missedPages += count - seen;
    inventedPages += found.size() - seen;
    found.clear();
    start = (start + count * stride) % dataPages;
  };
  const firstScanMs = scanMs();
  assert(found.size() === found.pageCount, 'the first scan returns every page');
  found.clear();
  const idleScanMs = scanMs();
  check(0);
  const protectedNs = await write(plan.scatteredPages);
  const writtenNs = await write(plan.scatteredPages);
  const scatteredScanMs = scanMs();
  check(plan.scatteredPages);
  await write(dataPages);
  const fullScanMs = scanMs();
  check(dataPages);
  // Scans beside the writer: a page written while its neighbour is being protected must come up too.
  let isWriting = true;
  const writing = write(dataPages).finally(() => {
    isWriting = false;
  });
  while (isWriting) {
    scanMs();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await writing;
  scanMs();
  check(dataPages);
  const firstWriteUs = (protectedNs - writtenNs) / 1000 / plan.scatteredPages;
  const scans = { firstScanMs, idleScanMs, scatteredScanMs, fullScanMs };
  return { ...scans, firstWriteUs, missedPages, inventedPages };
}

function resultsOf(
  backend: DirtyTrackingBackend,
  plan: Plan,
  samples: readonly Figures[],
): BenchResult[] {
  const size = formatBytes(plan.memoryBytes);
  const sum = (of: (each: Figures) => number) =>
    samples.reduce((total, each) => total + of(each), 0);
  const result = (what: string, unit: string, of: (each: Figures) => number): BenchResult => ({
    ...{ case: `${backend} ${size}: ${what}`, unit, higherIsBetter: false },
    ...{ ours: summarize(samples.map(of)), peers: [], targets: [], floor: null },
  });
  const scattered = `scan with ${plan.scatteredPages} scattered pages written`;
  return [
    result('first scan, protects everything', 'ms', (each) => each.firstScanMs),
    result('scan with nothing written', 'ms', (each) => each.idleScanMs),
    {
      ...result(scattered, 'ms', (each) => each.scatteredScanMs),
      targets: [
        atMost(
          'missed pages in all scans',
          0,
          sum((each) => each.missedPages),
        ),
        atMost(
          'pages found but not written',
          0,
          sum((each) => each.inventedPages),
        ),
      ],
    },
    result('scan with every data page written', 'ms', (each) => each.fullScanMs),
    // Without protection there is no fault, and the difference of two equal things says nothing.
    ...(backend === 'rehash'
      ? []
      : [result('first write to a protected page', 'us', (each) => each.firstWriteUs)]),
  ];
}

const writtenSchema = z.object({ elapsedNs: z.number().int().nonnegative() });

async function writePages(
  guest: MemoryGuest,
  start: number,
  stride: number,
  count: number,
): Promise<number> {
  const command = `write ${start} ${stride} ${count}`;
  const answer = await promised<{ elapsedNs: number }>((done) =>
    guest.control.ask(command, writtenSchema, done),
  );
  return answer.elapsedNs;
}

/** Prime to `count`, so that a walk meets every page once before any comes again. */
function strideOver(count: number): number {
  let stride = Math.floor(count * SCATTER);
  while (greatestCommonDivisor(stride, count) !== 1) stride += 1;
  return stride;
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right);
}
