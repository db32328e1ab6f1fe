/** One run of ours or of a peer: two processes, and what they say about themselves at the end. */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { CONGESTION_CONTROL } from './congestion-control.ts';
import { checkout } from './harness.ts';
import type { EndPlan, EndReport } from './transport-end.ts';

export interface Shape {
  readonly streams: number;
  readonly chunkBytes: number;
  readonly regionBytes: number;
  readonly passes: number;
}

/** A finished run of either side. */
export interface Run {
  readonly bytesPerSec: number;
  readonly cpuSecondsPerGb: number;
}

export async function runOurs(shape: Shape): Promise<Run & { readonly grownBytes: number }> {
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
        grownBytes: Math.max(sent.grownBytes, landed.grownBytes),
      };
    } finally {
      sender.kill('SIGKILL');
    }
  } finally {
    receiver.kill('SIGKILL');
  }
}

export function startEnd(plan: EndPlan): ChildProcess {
  return fork(new URL('./transport-end.js', import.meta.url), [JSON.stringify(plan)], {
    stdio: ['ignore', 2, 2, 'ipc'],
  });
}

export function reportOf<T extends EndReport['type']>(
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

export async function runLanding(shape: Shape): Promise<Run> {
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

export async function runIperf(shape: Shape): Promise<Run> {
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

export function iperfVersion(): string {
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
