/**
 * `bench wan-migration`: a Linux guest with a key-value server under load, moved over a WAN by our agents and by
 * QEMU's own ways, from the same saved state each time, in turns. A client on a third host keeps its connection
 * across every move and measures the downtime; the wire's bytes are those of the link.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TransferProfile } from '../src/ports/transfer-profile.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { formatBytes, parseBytes } from '../src/util/units.ts';
import type {
  Bench,
  BenchDocument,
  BenchResult,
  BenchRunOptions,
  PeerResult,
  Target,
} from './document.ts';
import { benchDocument, formatFigure, sideResult } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { PROFILES, type WanProfile } from './lab/profiles.ts';
import { type Wan, withWan } from './lab/wan.ts';
import { killVms } from './migration-qemu.ts';
import { chosen } from './settings.ts';
import { atMost, pairwise, summarize } from './statistics.ts';
import { type GuestLan, withGuestLan } from './wan-guest-lan.ts';
import type { WanLabPlan, WanLabReport } from './wan-migration-lab.ts';
import type { LinkCount, SeenBefore, WanArm, WanMove } from './wan-migration-run.ts';

const ALL_ARMS = 'ours,v1,plain,xbzrle,multifd-zstd,image,visit';

const DEFAULTS = {
  quick: {
    ...{ size: '160MiB', repetitions: '1', arms: 'ours,plain,multifd-zstd', profile: 'wan' },
    ...{ operations: '100', writes: '0.2', downtime: '300ms', channels: '4', level: '3' },
  },
  whole: {
    ...{ size: '1GiB', repetitions: '5', arms: ALL_ARMS, profile: 'wan' },
    ...{ operations: '200', writes: '0.25', downtime: '300ms', channels: '4', level: '3' },
  },
} as const;

type Settings = Readonly<Record<keyof typeof DEFAULTS.whole, string>>;

interface Contender {
  readonly name: string;
  readonly arm: WanArm;
  /** What our total and our wire bytes are to be, of theirs, with a destination that has seen nothing. */
  readonly ratioMax: number | null;
}

const XBZRLE_CACHE_SHARE = 0.25;
const GIB = 2 ** 30;
const MEMORY_BYTES_MIN = 160 * 2 ** 20;
const WARM_MAX = 0.5;
const VISIT_MAX = 0.3;
const TWO_GIB_WITHIN_SEC = 90;
const MBIT = 1e6;

export const wanMigrationBench: Bench = {
  name: 'wan-migration',
  describe: "a Linux guest with a key-value server under load over a WAN: ours, QEMU's own ways",
  run: runWanMigration,
};

async function runWanMigration(options: BenchRunOptions): Promise<BenchDocument> {
  const settings: Settings = chosen(DEFAULTS[options.quick ? 'quick' : 'whole'], options.settings);
  sizeOf(settings);
  const contenders = settings.arms.split(',').map((arm) => contenderOf(arm, settings));
  if (!settings.arms.startsWith('ours')) throw wrong('arms', settings.arms, 'ours first');
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-wan-'));
  const remove = (): void => {
    killVms(folder);
    rmSync(folder, { recursive: true, force: true });
  };
  const course = await cleanedUp(remove, () =>
    withWan({ profile: profileOf(settings.profile) }, (wan) =>
      withGuestLan(wan, (lan) => runCourse({ settings, contenders, folder, wan, lan, options })),
    ),
  );
  return benchDocument('wan-migration', courseResults(course));
}

function profileOf(name: string): WanProfile {
  if (name in PROFILES) return name as WanProfile;
  throw wrong('profile', name, Object.keys(PROFILES).join(', '));
}

/** In a smaller one the kernel, the records and what has to stay free leave no room for anything else. */
function sizeOf({ size }: Settings): number {
  const memoryBytes = parseBytes(size);
  if (memoryBytes >= MEMORY_BYTES_MIN) return memoryBytes;
  throw wrong('size', size, `${formatBytes(MEMORY_BYTES_MIN)} and more`);
}

function contenderOf(name: string, settings: Settings): Contender {
  const channels = Number(settings.channels);
  const level = Number(settings.level);
  switch (name) {
    case 'ours':
      return agents('dwcp, memory not compared', 'v3', 'nothing');
    case 'v1':
      return agents('dwcp v1: one stream, zstd level 3, no deltas', 'v1', 'nothing');
    case 'image':
      return agents('dwcp, the destination has seen another VM of the image', 'v3', 'image');
    case 'visit':
      return agents('dwcp, the destination has seen this VM', 'v3', 'vm');
    case 'plain':
      return { name: 'QEMU plain', arm: { type: 'qemu', how: 'plain' }, ratioMax: 0.5 };
    case 'xbzrle': {
      const arm = { type: 'qemu', how: 'xbzrle', cacheShare: XBZRLE_CACHE_SHARE } as const;
      return { name: 'QEMU xbzrle, cache of 1/4 of RAM', arm, ratioMax: 0.5 };
    }
    case 'multifd-zstd': {
      const arm = { type: 'qemu', how: 'multifd-zstd', channels, level } as const;
      return { name: `QEMU multifd ${channels}, zstd level ${level}`, arm, ratioMax: 0.85 };
    }
    default:
      throw wrong('arms', name, `ours (first), and of ${ALL_ARMS}`);
  }
}

function agents(name: string, profile: TransferProfile, seen: SeenBefore): Contender {
  return { name, arm: { type: 'agents', profile, seen }, ratioMax: null };
}

function wrong(setting: string, value: string, allowed: string): DwcpError {
  return new DwcpError('ERR_DWCP_USAGE', `${setting} cannot be "${value}"`, {
    hint: `Allowed: ${allowed}.`,
  });
}

interface CourseOptions {
  readonly settings: Settings;
  readonly contenders: readonly Contender[];
  readonly folder: string;
  readonly wan: Wan;
  readonly lan: GuestLan;
  readonly options: BenchRunOptions;
}

interface Course extends CourseOptions {
  readonly name: string;
  readonly nonZeroShare: number;
  /** Of each contender, null where a move failed. */
  readonly moves: readonly (WanMove | null)[][];
}

async function runCourse(course: CourseOptions): Promise<Course> {
  const { settings, contenders, folder, wan, lan, options } = course;
  const memoryBytes = sizeOf(settings);
  const name = caseName(course, memoryBytes);
  const plan: WanLabPlan = {
    ...{ folder, enterClient: lan.enterClient, addressA: wan.addresses.a },
    hosts: { addressB: wan.addresses.b, enterB: wan.enter.b },
    ...{ repetitions: Number(settings.repetitions), arms: contenders.map(({ arm }) => arm) },
    maxDowntimeMs: Number.parseInt(settings.downtime, 10),
    rateBitsPerSec: wan.shape.rateBitsPerSec,
    guest: {
      ...{ name: 'vm', memoryBytes, seed: 1 },
      operationsPerSec: Number(settings.operations),
      writeShare: Number(settings.writes),
    },
  };
  const moves = contenders.map((): (WanMove | null)[] => []);
  let nonZeroShare = 0;
  const whole = plan.repetitions * contenders.length;
  await runLab(wan, plan, (report) => {
    const who = 'arm' in report ? (contenders[report.arm]?.name ?? '') : '';
    if (report.type === 'saved') {
      nonZeroShare = report.nonZeroShare;
      options.onProgress(
        `${name}: saved, ${formatFigure(100 * nonZeroShare)} % of its pages not zero ` +
          `(${formatBytes(report.fileBytes)} of files, ${formatBytes(report.valueBytes)} of values)`,
      );
    } else if (report.type === 'share') {
      const done = moves.flat().length;
      options.onShare?.(`move ${done + 1} of ${whole}: ${who}`, report.share);
    } else if (report.type === 'moved') {
      refuseBeyondFloor(who, report.move, wan);
      moves[report.arm]?.push(report.move);
      options.onProgress(`${name}: ${who}: ${describeMove(report.move)}`);
    } else if (report.type === 'failed') {
      moves[report.arm]?.push(null);
      options.onProgress(`${name}: ${who}: failed: ${report.error}`);
    }
  });
  return { ...course, name, nonZeroShare, moves };
}

function caseName({ settings, wan }: CourseOptions, memoryBytes: number): string {
  const { shape } = wan;
  const link = `${shape.rateBitsPerSec / MBIT} Mbit/s, ${shape.roundTripMs} ms, ${shape.lossPercent} %`;
  const load = `${settings.operations} operations/s, ${100 * Number(settings.writes)} % writes`;
  return `key-value guest ${formatBytes(memoryBytes)}, ${load}, ${settings.profile} (${link})`;
}

function describeMove(move: WanMove): string {
  return (
    `total ${formatFigure(move.totalMs / 1000)} s, downtime ${formatFigure(move.downtimeMs)} ms ` +
    `(longest gap before ${formatFigure(move.longestGapBeforeMs)} ms), ` +
    `${formatBytes(move.wireBytes)} over the link (${formatFigure(100 * move.linkUse)} % of it used), ` +
    `${formatFigure(100 * move.queueDropShare)} % of packets too many for its queue`
  );
}

/** What comes faster than the link lets it was not measured on the link. */
function refuseBeyondFloor(who: string, move: WanMove, { shape }: Wan): void {
  const queuedBytes = shape.queueBytes;
  const floorMs = ((move.forwardBytes - queuedBytes) * 8000) / shape.rateBitsPerSec;
  assert(move.totalMs >= floorMs, `${who}: ${move.totalMs} ms, but the link needs ${floorMs} ms`);
}

function runLab(
  wan: Wan,
  plan: WanLabPlan,
  onReport: (report: WanLabReport) => void,
): Promise<void> {
  const script = fileURLToPath(new URL('./wan-migration-lab.js', import.meta.url));
  const [first = '', ...rest] = [...wan.enter.a, process.execPath, script, JSON.stringify(plan)];
  const child = spawn(first, rest, { stdio: ['ignore', 2, 2, 'ipc'], detached: true });
  let isDone = false;
  let refused: unknown = null;
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
    child.on('message', (report: WanLabReport) => {
      if (report.type === 'done') isDone = true;
      if (report.type === 'count') void countLink(wan).then((count) => child.send(count));
      try {
        onReport(report);
      } catch (error) {
        refused = error;
        child.kill('SIGTERM');
      }
    });
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await ended;
  };
  return cleanedUp(stop, async () => {
    const code = await ended;
    if (refused !== null) throw refused;
    if (isDone && code === 0) return;
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `the part of the bench on host a ended (${code})`);
  });
}

async function countLink(wan: Wan): Promise<LinkCount> {
  const { ab, ba } = await wan.stats();
  return {
    forwardBytes: ab.deliveredBytes,
    backwardBytes: ba.deliveredBytes,
    forwardPackets: ab.packets,
    queueDrops: ab.queueDrops,
  };
}

// ---- the document -------------------------------------------------------------------------------

type Figure = 'totalMs' | 'wireBytes' | 'downtimeMs' | 'longestGapBeforeMs' | 'linkUse';

function courseResults(course: Course): BenchResult[] {
  const { contenders, moves, name, settings } = course;
  const rounds = Math.max(...moves.map((of) => of.length));
  const whole = Array.from({ length: rounds }, (_, round) => round).filter((round) =>
    moves.every((of) => (of[round] ?? null) !== null),
  );
  if (whole.length === 0) {
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `${name}: no round was finished by all`);
  }
  const samples = (index: number, figure: Figure): number[] =>
    whole.map((round) => moves[index]?.[round]?.[figure] ?? 0);
  const result = (what: string, unit: string, figure: Figure): BenchResult => ({
    ...{ case: `${name}: ${what}`, unit, higherIsBetter: false, targets: [], floor: null },
    ours: summarize(samples(0, figure)),
    peers: contenders.flatMap((peer, index) =>
      index === 0 ? [] : [pairwise(peer.name, samples(0, figure), samples(index, figure))],
    ),
  });
  const judged = (of: BenchResult): BenchResult => ({ ...of, targets: ratioTargets(of, course) });
  const total = judged(result('total', 'ms', 'totalMs'));
  const isTwoGib = parseBytes(settings.size) === 2 * GIB;
  const inTime = isTwoGib
    ? [atMost('seconds for 2 GiB', TWO_GIB_WITHIN_SEC, total.ours.median / 1000)]
    : [];
  return [
    { ...total, targets: [...total.targets, ...inTime] },
    judged(result('bytes over the link', 'bytes', 'wireBytes')),
    result('downtime seen by the client', 'ms', 'downtimeMs'),
    { ...result('part of the link that was used', 'share', 'linkUse'), higherIsBetter: true },
    result('longest gap of the same client before the move', 'ms', 'longestGapBeforeMs'),
    sideResult(`${name}: pages that are not zero`, 'share', true, [course.nonZeroShare]),
    ...failures(course),
  ].map((each) => withSeen(each, course));
}

/** What a destination gains that has seen something, of what QEMU's ways need or the first visit did. */
function withSeen(result: BenchResult, { contenders, options }: Course): BenchResult {
  const isTotal = result.case.endsWith(': total');
  const isBytes = result.case.endsWith(': bytes over the link');
  if (options.quick || !(isTotal || isBytes)) return result;
  const of = (seen: SeenBefore): PeerResult | undefined => {
    const arm = contenders.find((each) => each.arm.type === 'agents' && each.arm.seen === seen);
    return result.peers.find((peer) => peer.name === arm?.name);
  };
  const image = of('image');
  const visit = of('vm');
  const ofImage = (image === undefined ? [] : contenders).flatMap(({ arm, name }) => {
    const peer = result.peers.find((each) => each.name === name);
    if (arm.type !== 'qemu' || peer === undefined || image === undefined) return [];
    return [atMost(`warm image, ratio to ${name}`, WARM_MAX, image.median / peer.median)];
  });
  const ofVisit =
    visit === undefined || !isBytes
      ? []
      : [atMost('second visit, ratio to the first', VISIT_MAX, visit.median / result.ours.median)];
  return { ...result, targets: [...result.targets, ...ofImage, ...ofVisit] };
}

function ratioTargets({ peers }: BenchResult, { contenders, options }: Course): Target[] {
  if (options.quick) return [];
  return contenders.flatMap(({ name, ratioMax }) => {
    const peer = peers.find((each) => each.name === name);
    if (peer === undefined || ratioMax === null) return [];
    return [atMost(`ratio to ${name}`, ratioMax, peer.ratio.median)];
  });
}

/** A move that failed is an outcome too, of whoever it was. */
function failures({ name, contenders, moves }: Course): BenchResult[] {
  return contenders.flatMap((contender, index) => {
    const failed = (moves[index] ?? []).filter((move) => move === null).length;
    if (failed === 0) return [];
    return [sideResult(`${name}: ${contender.name}: failed moves`, 'moves', false, [failed])];
  });
}
