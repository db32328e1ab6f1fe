/**
 * A real Linux VM, moved by our agents and by QEMU itself at its best, from the same saved state each time:
 * over a link shaped to 1 Gbit/s between two network namespaces, and over bare loopback.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandLine } from '../src/hypervisors/qemu/find-process.ts';
import { DwcpError } from '../src/util/errors.ts';
import { formatBytes } from '../src/util/units.ts';
import type { BenchResult, BenchRunOptions, PeerResult } from './document.ts';
import { formatFigure, sideResult } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { onShapedLink } from './migration-namespaces.ts';
import type { VmContender, VmLabPlan, VmLabReport } from './migration-qemu-lab.ts';
import type { VmMove } from './migration-qemu-run.ts';
import { type SavedVm, saveVm } from './migration-qemu-vm.ts';
import { atLeast, atMost, median, pairwise, summarize } from './statistics.ts';

const MIB = 2 ** 20;
const LINK_BITS_PER_SEC = 1e9;
const TOTAL_RATIO_MAX = 1.15;
/** What our downtime may exceed QEMU's by. */
const DOWNTIME_OVER_MS_MAX = 50;

interface Contender {
  readonly name: string;
  readonly plan: VmContender;
}

interface Course {
  readonly name: string;
  readonly repetitions: number;
  /** Whether the targets are for this link. */
  readonly isJudged: boolean;
  /** Ours comes first. */
  readonly contenders: readonly Contender[];
  /** Moves of each contender, null where one failed. */
  readonly moves: readonly (VmMove | null)[][];
}

export async function qemuResults(options: BenchRunOptions): Promise<BenchResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-vm-'));
  const remove = (): void => {
    killVms(folder);
    rmSync(folder, { recursive: true, force: true });
  };
  return cleanedUp(remove, async () => {
    const memoryBytes = (options.quick ? 160 : 512) * MIB;
    const dirtyBytesPerSec = (options.quick ? 4 : 20) * MIB;
    const vm = await saveVm(folder, { memoryBytes, dirtyBytesPerSec });
    const guest = `qemu ${formatBytes(memoryBytes)} writes=${formatBytes(dirtyBytesPerSec)}/s`;
    options.onProgress(`${guest}: booted, filled and saved`);
    const rivals = plannedRivals(options.quick);
    const common = { vm, folder, options };
    const link = await onShapedLink(LINK_BITS_PER_SEC, ({ addresses, enter }) =>
      runCourse({
        ...common,
        ...{ name: `${guest}, link of 1 Gbit/s`, isJudged: !options.quick },
        ...{ repetitions: options.quick ? 1 : 5, contenders: [OURS, ...rivals] },
        ...{ enterA: enter.a, addressA: addresses.a },
        hosts: { addressB: addresses.b, enterB: enter.b },
      }),
    );
    const loopback = await runCourse({
      ...common,
      ...{ name: `${guest}, bare loopback`, isJudged: false, enterA: [], addressA: '127.0.0.1' },
      ...{ repetitions: options.quick ? 1 : 3, contenders: [OURS, ...rivals, OURS_STRICT] },
      hosts: { addressB: '127.0.0.1', enterB: [] },
    });
    return [link, loopback].flatMap(courseResults);
  });
}

/** QEMU does not compare memory, so neither do we where the two are held against each other. */
const OURS: Contender = {
  name: 'dwcp, memory not compared',
  plan: { type: 'agents', verify: 'off' },
};
const OURS_STRICT: Contender = {
  name: 'dwcp, memory compared before the resume',
  plan: { type: 'agents', verify: 'strict' },
};

function plannedRivals(quick: boolean): Contender[] {
  return (quick ? [0] : [0, 2, 4, 8]).map((channels) => ({
    name: channels === 0 ? 'QEMU plain' : `QEMU multifd ${channels}`,
    plan: { type: 'qemu', channels },
  }));
}

interface CourseOptions extends Omit<Course, 'moves'> {
  readonly vm: SavedVm;
  readonly folder: string;
  readonly options: BenchRunOptions;
  readonly enterA: readonly string[];
  readonly addressA: string;
  readonly hosts: VmLabPlan['hosts'];
}

async function runCourse(course: CourseOptions): Promise<Course> {
  const { name, vm, folder, contenders, repetitions, isJudged, options } = course;
  const { enterA, addressA, hosts } = course;
  const moves = contenders.map((): (VmMove | null)[] => []);
  const plan: VmLabPlan = {
    ...{ vm, folder, hosts, addressA, repetitions },
    contenders: contenders.map((each) => each.plan),
  };
  await runLab(enterA, plan, (report) => {
    if (report.type === 'done') return;
    const who = `${name}: ${contenders[report.contender]?.name}`;
    const move = report.type === 'moved' ? report.move : null;
    moves[report.contender]?.push(move);
    if (report.type === 'failed') return options.onProgress(`${who}: failed: ${report.error}`);
    options.onProgress(
      `${who}: total ${formatFigure(report.move.totalMs)} ms, ` +
        `downtime ${formatFigure(report.move.downtimeMs)} ms, ` +
        `${formatBytes(report.move.wireBytes)} sent, ` +
        `CPU ${formatFigure(report.move.cpuSecondsPerGb)} s/GB`,
    );
  });
  return { name, repetitions, isJudged, contenders, moves };
}

function runLab(
  enter: readonly string[],
  plan: VmLabPlan,
  onReport: (report: VmLabReport) => void,
): Promise<void> {
  const script = fileURLToPath(new URL('./migration-qemu-lab.js', import.meta.url));
  const [first, ...rest] = [...enter, process.execPath, script, JSON.stringify(plan)];
  const child = spawn(first ?? process.execPath, rest, { stdio: ['ignore', 2, 2, 'ipc'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
  });
  let isDone = false;
  child.on('message', (report: VmLabReport) => {
    if (report.type === 'done') isDone = true;
    onReport(report);
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null) child.kill('SIGTERM');
    await ended;
  };
  return cleanedUp(stop, async () => {
    const code = await ended;
    if (isDone && code === 0) return;
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `the VM's part of the bench ended (${code})`);
  });
}

/** VMs are sessions of their own and outlive who started them; ours name our folder. */
export function killVms(folder: string): void {
  for (const pid of readdirSync('/proc').map(Number).filter(Number.isInteger)) {
    if (pid === process.pid || !commandLine(pid).some((word) => word.includes(`${folder}/`)))
      continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
}

// ---- the document -------------------------------------------------------------------------------

type Figure = 'totalMs' | 'downtimeMs' | 'cpuSecondsPerGb';

/** Runs that every contender finished, so that neighbours stay neighbours. */
function wholeRuns({ moves }: Course): VmMove[][] {
  const rounds = Math.max(...moves.map((of) => of.length));
  const whole = Array.from({ length: rounds }, (_, run) => run).filter((run) =>
    moves.every((of) => (of[run] ?? null) !== null),
  );
  return moves.map((of) => whole.flatMap((run) => of[run] ?? []));
}

/** A move that failed is an outcome too, of whoever it was. */
function failures({ name, contenders, moves }: Course): BenchResult[] {
  return contenders.flatMap((contender, index) => {
    const failed = (moves[index] ?? []).filter((move) => move === null).length;
    if (failed === 0) return [];
    return [sideResult(`${name}: ${contender.name}: failed moves`, 'moves', false, [failed])];
  });
}

function courseResults(course: Course): BenchResult[] {
  const { contenders } = course;
  const runs = wholeRuns(course);
  const samples = (index: number, figure: Figure) =>
    (runs[index] ?? []).map((each) => each[figure]);
  const count = runs[0]?.length ?? 0;
  if (count === 0) {
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `${course.name}: no run was finished by all`);
  }
  const peersOf = (figure: Figure): PeerResult[] =>
    contenders
      .slice(1)
      .map(({ name }, index) => pairwise(name, samples(0, figure), samples(index + 1, figure)));
  const result = (what: string, unit: string, figure: Figure): BenchResult => ({
    ...{ case: `${course.name}, memory not compared: ${what}`, unit, higherIsBetter: false },
    ...{ ours: summarize(samples(0, figure)), peers: peersOf(figure), targets: [], floor: null },
  });
  const rivals = contenders.flatMap(({ plan }, index) => (plan.type === 'qemu' ? [index] : []));
  const best = rivals.reduce((one, other) =>
    median(samples(other, 'totalMs')) < median(samples(one, 'totalMs')) ? other : one,
  );
  const bestName = contenders[best]?.name ?? '';
  const ratio = pairwise(bestName, samples(0, 'totalMs'), samples(best, 'totalMs')).ratio.median;
  const [our, their] = [0, best].map((index) => median(samples(index, 'downtimeMs')));
  const over = (our ?? 0) - (their ?? 0);
  const total = result('total', 'ms', 'totalMs');
  const downtime = result('downtime', 'ms', 'downtimeMs');
  return [
    {
      ...total,
      targets: course.isJudged
        ? [
            atMost(`ratio to the best of QEMU (${bestName})`, TOTAL_RATIO_MAX, ratio),
            atLeast('runs that count', course.repetitions, count),
          ]
        : [],
    },
    {
      ...downtime,
      targets: course.isJudged ? [atMost(`ms over ${bestName}`, DOWNTIME_OVER_MS_MAX, over)] : [],
    },
    result('CPU, guests included', 's/GB', 'cpuSecondsPerGb'),
    ...failures(course),
  ];
}
