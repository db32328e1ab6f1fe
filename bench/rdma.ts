/**
 * Our queue pairs beside perftest's on the same device, in turns: bandwidth over message sizes and numbers of
 * queue pairs, and half of a round trip. In the lab's guest (`npm run lab:rdma`) the CPU is emulated: ratios and
 * counts say something there, rates do not. On a machine with a card the same command prints its rates, held
 * against the line's.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rdmaPorts } from '../src/native.ts';
import { DwcpError } from '../src/util/errors.ts';
import { formatBytes, parseBytes } from '../src/util/units.ts';
import type {
  Bench,
  BenchDocument,
  BenchResult,
  BenchRunOptions,
  Floor,
  Target,
} from './document.ts';
import { benchDocument, measureCase, sideResult } from './harness.ts';
import {
  type ChannelRun,
  perftestVersion,
  type RdmaEnd,
  runChannelLatency,
  runChannels,
  runWriteBandwidth,
  runWriteLatency,
  type WriteShape,
} from './rdma-runs.ts';
import { chosen } from './settings.ts';
import { atMost } from './statistics.ts';

const INFINIBAND = '/sys/class/infiniband';
const GIB = 2 ** 30;
const DEFAULTS = {
  quick: { pairs: '1,8', message: '4KiB', latency: '64', volume: '1MiB', repetitions: '1' },
  whole: {
    ...{ pairs: '1,8,32,128,512', message: '4KiB,64KiB', latency: '64,4096' },
    ...{ volume: '16MiB', repetitions: '3' },
  },
} as const;
/** As perftest has it: fewer measure the start and the end. */
const MESSAGES_MIN = 5;
/** Most work is not asked about: one completion stands for all before it. */
const SIGNALLED_SHARE_MAX = 0.5;

export const rdmaBench: Bench = {
  name: 'rdma',
  describe:
    'queue pairs beside ib_write_bw and ib_write_lat; needs an RDMA device (npm run lab:rdma)',
  run: async (options) => runRdmaBench(options),
};

async function runRdmaBench(options: BenchRunOptions): Promise<BenchDocument> {
  const settings = chosen<keyof typeof DEFAULTS.quick>(
    DEFAULTS[options.quick ? 'quick' : 'whole'],
    options.settings,
  );
  const end = usableEnd();
  const version = perftestVersion();
  const plan = { end, version, repetitions: Number(settings.repetitions), options };
  const results: BenchResult[] = [];
  for (const message of settings.message.split(',')) {
    for (const pairs of settings.pairs.split(',').map(Number)) {
      const messageBytes = parseBytes(message);
      const wanted = Math.floor(parseBytes(settings.volume) / (messageBytes * pairs));
      const shape = { pairs, messageBytes, messages: Math.max(MESSAGES_MIN, wanted) };
      results.push(...(await measureBandwidth(plan, shape)));
    }
  }
  for (const bytes of settings.latency.split(',').filter((each) => each !== '')) {
    results.push(await measureLatency(plan, Number(bytes)));
  }
  return benchDocument('rdma', results);
}

interface Plan {
  readonly end: RdmaEnd;
  readonly version: string;
  readonly repetitions: number;
  readonly options: BenchRunOptions;
}

async function measureBandwidth(plan: Plan, shape: WriteShape): Promise<readonly BenchResult[]> {
  const { end, version, repetitions, options } = plan;
  const name = `${shape.pairs} queue pairs, messages of ${formatBytes(shape.messageBytes)}`;
  const runs: ChannelRun[] = [];
  const result = await measureCase({
    ...{ case: name, unit: 'bytes/s', higherIsBetter: true, warmups: 0, repetitions },
    ours: {
      name: 'dwcp',
      run: async () => {
        const run = await runChannels(end, shape);
        runs.push(run);
        return run.bytes / run.seconds;
      },
    },
    peers: [
      {
        name: `ib_write_bw ${version} -q ${shape.pairs} -s ${shape.messageBytes} -n ${shape.messages}`,
        run: () => runWriteBandwidth(end, shape),
      },
    ],
    floor: lineRate(end),
    targets: () => countTargets(runs),
    onProgress: options.onProgress,
  });
  const perGib = (what: string, of: (run: ChannelRun) => number): BenchResult =>
    sideResult(
      `${name}: ${what} per GiB`,
      '1/GiB',
      false,
      runs.map((run) => (of(run) / run.bytes) * GIB),
    );
  return [
    result,
    perGib('work requests', (run) => run.workRequests),
    perGib('doorbells', (run) => run.doorbells),
    perGib('completions of sends', (run) => run.completions),
  ];
}

/** Of all runs together. */
function countTargets(runs: readonly ChannelRun[]): readonly Target[] {
  const sum = (of: (run: ChannelRun) => number): number =>
    runs.reduce((total, run) => total + of(run), 0);
  const work = sum((run) => run.workRequests);
  return [
    atMost(
      'bytes copied between registered memory and the wire',
      0,
      sum((run) => run.copiedBytes),
    ),
    atMost('doorbells per work request', 1, sum((run) => run.doorbells) / work),
    atMost(
      'completions per work request',
      SIGNALLED_SHARE_MAX,
      sum((run) => run.completions) / work,
    ),
  ];
}

async function measureLatency(plan: Plan, bytes: number): Promise<BenchResult> {
  const { end, version, repetitions, options } = plan;
  return await measureCase({
    // Ours sleeps on a descriptor until the card speaks up; ib_write_lat watches the memory without a pause.
    ...{ case: `half a round trip of ${bytes} bytes`, unit: 'us', higherIsBetter: false },
    ...{ warmups: 0, repetitions, floor: null, targets: () => [] },
    ours: { name: 'dwcp', run: () => runChannelLatency(end, bytes) },
    peers: [
      {
        name: `ib_write_lat ${version} -s ${bytes}, typical`,
        run: () => runWriteLatency(end, bytes),
      },
    ],
    onProgress: options.onProgress,
  });
}

function usableEnd(): RdmaEnd {
  const { ports, why } = rdmaPorts();
  for (const { device, port, state, addresses } of ports) {
    const address = addresses.find((each) => each.includes('.'));
    if (state !== 'active' || address === undefined) continue;
    return { device, port, address, gidIndex: gidIndexOf(device, port, address) };
  }
  const found = ports.length > 0 ? 'no port is active with an IPv4 address' : why;
  throw new DwcpError('ERR_DWCP_UNSUPPORTED', `bench rdma needs an RDMA device: ${found}`, {
    hint: 'In a checkout: npm run lab:rdma -- node bin/dwcp.js bench rdma',
  });
}

/** Of the address as RoCE v2 has it; null where the link is no Ethernet. */
function gidIndexOf(device: string, port: number, address: string): number | null {
  const folder = join(INFINIBAND, device, 'ports', String(port));
  const digits = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  const tail = `${digits.slice(0, 2).join('')}:${digits.slice(2).join('')}`;
  const isIt = (index: string): boolean => {
    const gid = readFileSync(join(folder, 'gids', index), 'utf8').trim();
    return gid.endsWith(`:ffff:${tail}`) && typeOf(folder, index) === 'RoCE v2';
  };
  const found = readdirSync(join(folder, 'gids')).find(isIt);
  return found === undefined ? null : Number(found);
}

/** Reading the type of an entry that is not in use fails. */
function typeOf(folder: string, index: string): string | null {
  try {
    return readFileSync(join(folder, 'gid_attrs/types', index), 'utf8').trim();
  } catch {
    return null;
  }
}

/** A device made of software states a rate that means nothing. */
function lineRate({ device, port }: RdmaEnd): Floor | null {
  if (!existsSync(join(INFINIBAND, device, 'device'))) return null;
  const text = readFileSync(join(INFINIBAND, device, 'ports', String(port), 'rate'), 'utf8');
  const gigabits = Number.parseFloat(text);
  return gigabits > 0 ? { name: `line rate, ${text.trim()}`, value: (gigabits * 1e9) / 8 } : null;
}
