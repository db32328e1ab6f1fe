/**
 * What one link carries: two processes, real sockets, every byte verified, landed in a region whose
 * pages are touched and cold, and counted by the receiver. After each run both memories are compared.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus, freemem } from 'node:os';
import { join } from 'node:path';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { formatBytes } from '../src/util/units.ts';
import { CONGESTION_CONTROL } from './congestion-control.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions, Floor } from './document.ts';
import { benchDocument, type Contender, checkout, measureCase, sideResult } from './harness.ts';
import { atLeast, pairwise } from './statistics.ts';
import type { EndPlan, EndReport } from './transport-end.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** iperf3 refuses more. */
const IPERF_STREAMS_MAX = 128;

interface Shape {
  readonly streams: number;
  readonly chunkBytes: number;
  readonly regionBytes: number;
  readonly passes: number;
}

/** A finished run of either side. */
interface Run {
  readonly bytesPerSec: number;
  readonly cpuSecondsPerGb: number;
}

export const transportBench: Bench = {
  name: 'transport',
  describe: 'goodput of one link by streams and chunk size, against landing.cc and iperf3',
  run: async (options) => runTransportBench(options),
};

async function runTransportBench(options: BenchRunOptions): Promise<BenchDocument> {
  const iperf = iperfVersion();
  const floor = memcpyFloor(options.quick ? 16 * MIB : 256 * MIB);
  const results: BenchResult[] = [];
  const medians = new Map<number, number>();
  for (const shape of shapes(options.quick)) {
    const [goodput, cpu] = await measureShape(shape, iperf, floor, options);
    results.push(goodput, cpu);
    if (shape.chunkBytes === MIB) medians.set(shape.streams, goodput.ours.median);
  }
  const one = medians.get(1);
  for (const [streams, total] of one === undefined ? [] : medians) {
    const share = total / (streams * (one ?? total));
    results.push(sideResult(`tcp streams=${streams}: T(n) / (n x T(1))`, 'ratio', true, [share]));
  }
  return benchDocument('transport', results);
}

function shapes(quick: boolean): Shape[] {
  if (quick) return [{ streams: 2, chunkBytes: MIB, regionBytes: 16 * MIB, passes: 2 }];
  const big = freemem() > 12 * GIB ? 4 * GIB : GIB;
  const shape = (streams: number, chunkBytes: number): Shape =>
    streams === 8 && chunkBytes === MIB
      ? { streams, chunkBytes, regionBytes: big, passes: 1 }
      : { streams, chunkBytes, regionBytes: GIB, passes: 2 };
  return [
    ...[1, 2, 4, 8, 16, 32, 128, 512].map((streams) => shape(streams, MIB)),
    ...[64 * 1024, 256 * 1024, 16 * MIB].map((chunkBytes) => shape(8, chunkBytes)),
  ];
}

async function measureShape(
  shape: Shape,
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
  const { streams, chunkBytes, regionBytes, passes } = shape;
  const ours = contender('dwcp', () => runOurs(shape));
  const peers = [contender('landing.cc', () => runLanding(shape))];
  if (streams <= IPERF_STREAMS_MAX) {
    const name = `${iperf} -P ${streams} -l 1M -C ${CONGESTION_CONTROL}`;
    peers.push(contender(name, () => runIperf(shape)));
  }
  const warmups = options.quick ? 0 : 1;
  const name = `tcp streams=${streams} chunk=${formatBytes(chunkBytes)}`;
  const goodput = await measureCase({
    case: `${name} region=${formatBytes(regionBytes)} passes=${passes}`,
    unit: 'bytes/s',
    higherIsBetter: true,
    ours,
    peers,
    floor,
    repetitions: options.quick ? 2 : 5,
    warmups,
    targets: (mine, [landing, iperfResult]) =>
      streams !== 8 || chunkBytes !== MIB
        ? []
        : [
            atLeast('ratio to landing.cc', 0.95, landing?.ratio.median ?? 0),
            atLeast('ratio to iperf3', 1, iperfResult?.ratio.median ?? 0),
            atLeast('bytes/s', 2.4e9, mine.median),
          ],
    onProgress: options.onProgress,
  });
  const [mine = [], ...theirs] = cpu.map((samples) => samples.slice(warmups));
  const cpuPeers = peers.map((peer, index) => pairwise(peer.name, mine, theirs[index] ?? []));
  return [goodput, sideResult(`${name}: CPU`, 's/GB', false, mine, cpuPeers)];
}

async function runOurs(shape: Shape): Promise<Run> {
  const plan = { ...shape, congestionControl: CONGESTION_CONTROL };
  const receiver = startEnd({ ...plan, role: 'receiver', port: 0 });
  try {
    const { port } = await reportOf(receiver, 'listening');
    const sender = startEnd({ ...plan, role: 'sender', port });
    try {
      const sent = await reportOf(sender, 'sent');
      receiver.send('finish');
      const landed = await reportOf(receiver, 'landed');
      assert(landed.bytes === shape.regionBytes * shape.passes, `${landed.bytes} bytes landed`);
      assert(landed.digest === sent.digest, 'source and destination memory differ');
      return {
        bytesPerSec: landed.bytes / sent.seconds,
        cpuSecondsPerGb: (sent.cpuSeconds + landed.cpuSeconds) / (landed.bytes / 1e9),
      };
    } finally {
      sender.kill('SIGKILL');
    }
  } finally {
    receiver.kill('SIGKILL');
  }
}

function startEnd(plan: EndPlan): ChildProcess {
  return fork(new URL('./transport-end.js', import.meta.url), [JSON.stringify(plan)], {
    stdio: ['ignore', 2, 2, 'ipc'],
  });
}

function reportOf<T extends EndReport['type']>(
  child: ChildProcess,
  type: T,
): Promise<Extract<EndReport, { type: T }>> {
  return new Promise((resolve, reject) => {
    child.on('message', (message: EndReport) => {
      if (message.type === type) resolve(message as Extract<EndReport, { type: T }>);
    });
    child.on('exit', (code) => reject(new Error(`an end of the transport bench died (${code})`)));
  });
}

async function runLanding(shape: Shape): Promise<Run> {
  const args = [shape.streams, shape.chunkBytes, shape.regionBytes, shape.passes].map(String);
  const child = spawn(join(checkout, 'build/peers/landing'), [...args, CONGESTION_CONTROL], {
    stdio: ['ignore', 'pipe', 2],
  });
  const { bytes, seconds, cpuSeconds } = JSON.parse(await outputOf(child)) as {
    bytes: number;
    seconds: number;
    cpuSeconds: number;
  };
  return { bytesPerSec: bytes / seconds, cpuSecondsPerGb: cpuSeconds / (bytes / 1e9) };
}

interface IperfReport {
  readonly end: {
    readonly sum_received: { readonly bytes: number; readonly bits_per_second: number };
    readonly sum_sent: { readonly seconds: number };
    readonly cpu_utilization_percent: {
      readonly host_total: number;
      readonly remote_total: number;
    };
  };
}

async function runIperf(shape: Shape): Promise<Run> {
  const port = String(20_000 + Math.floor(Math.random() * 10_000));
  const server = spawn('iperf3', ['-s', '-1', '-B', '127.0.0.1', '-p', port, '--forceflush'], {
    stdio: ['ignore', 'pipe', 2],
  });
  try {
    if (server.stdout !== null) await once(server.stdout, 'data'); // its banner comes once it listens
    const bytes = String(shape.regionBytes * shape.passes);
    const flags = ['-P', String(shape.streams), '-l', '1M', '-C', CONGESTION_CONTROL, '-n', bytes];
    const client = spawn('iperf3', ['-c', '127.0.0.1', '-p', port, ...flags, '--json'], {
      stdio: ['ignore', 'pipe', 2],
    });
    const { end } = JSON.parse(await outputOf(client)) as IperfReport;
    const { host_total: host, remote_total: remote } = end.cpu_utilization_percent;
    const cpuSeconds = ((host + remote) / 100) * end.sum_sent.seconds;
    return {
      bytesPerSec: end.sum_received.bits_per_second / 8,
      cpuSecondsPerGb: cpuSeconds / (end.sum_received.bytes / 1e9),
    };
  } finally {
    server.kill('SIGKILL');
  }
}

async function outputOf(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  assert(code === 0, `${child.spawnfile} ended with ${code}: ${text.slice(-500)}`);
  return text;
}

function iperfVersion(): string {
  try {
    const text = execFileSync('iperf3', ['--version'], { encoding: 'utf8' });
    return text.split(' ').slice(0, 2).join(' ');
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', 'bench transport compares with iperf3', {
      hint: 'Install it: apt-get install -y iperf3',
      cause,
    });
  }
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
