/** One run of our queue pairs, or of perftest's, between two processes of this machine. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { checkout } from './harness.ts';

export interface RdmaEnd {
  readonly device: string;
  readonly port: number;
  readonly address: string;
  readonly gidIndex: number | null;
}

export interface WriteShape {
  readonly pairs: number;
  readonly messageBytes: number;
  /** On each queue pair. */
  readonly messages: number;
}

const CHANNEL_BENCH = join(checkout, 'build/rdma/channel-bench');
const PATIENCE_MS = 300_000;
const TURNS = 200;
/** So many queue pairs have room for fewer writes each: a completion queue holds 32,767. */
const MANY_PAIRS = 33;
const MANY_PAIRS_DEPTH = 16;
const DEPTH = 64;
/** perftest compares two clocks first, and on a busy machine sometimes ends with nothing, with infinity or not at all. */
const TRIES_MAX = 6;
const PERFTEST_PATIENCE_MS = 60_000;
const HINT = 'Install it: apt-get install -y perftest';

/** What the sender counted. */
export interface ChannelRun {
  readonly seconds: number;
  readonly bytes: number;
  readonly workRequests: number;
  readonly doorbells: number;
  readonly completions: number;
  readonly copiedBytes: number;
}

const channelSchema: z.ZodType<ChannelRun> = z.object({
  seconds: z.number().positive(),
  bytes: z.number().int().positive(),
  workRequests: z.number().int().positive(),
  doorbells: z.number().int().positive(),
  completions: z.number().int().nonnegative(),
  copiedBytes: z.number().int().nonnegative(),
});

export async function runChannels(end: RdmaEnd, shape: WriteShape): Promise<ChannelRun> {
  const { pairs, messageBytes, messages } = shape;
  const bytes = pairs * messageBytes * messages;
  const args = ['bandwidth', end.address, pairs, messageBytes, bytes].map(String);
  const run = channelSchema.parse(JSON.parse(await output(CHANNEL_BENCH, args)));
  assert(run.bytes === bytes, `${run.bytes} of ${bytes} bytes were written`);
  return run;
}

export async function runChannelLatency(end: RdmaEnd, bytes: number): Promise<number> {
  const args = ['latency', end.address, String(bytes), String(TURNS)];
  const said = await output(CHANNEL_BENCH, args);
  return z.object({ halfRoundTripUs: z.number().positive() }).parse(JSON.parse(said))
    .halfRoundTripUs;
}

/** In bytes per second. */
export async function runWriteBandwidth(end: RdmaEnd, shape: WriteShape): Promise<number> {
  const { pairs, messageBytes, messages } = shape;
  const depth = Math.min(messages, pairs < MANY_PAIRS ? DEPTH : MANY_PAIRS_DEPTH);
  const flags = ['-q', pairs, '-s', messageBytes, '-n', messages, '-t', depth].map(String);
  const average = await perftest(end, 'ib_write_bw', [...flags, '--report_gbits'], 3);
  return (average * 1e9) / 8;
}

/** Its typical one, in microseconds. */
export function runWriteLatency(end: RdmaEnd, bytes: number): Promise<number> {
  return perftest(end, 'ib_write_lat', ['-s', String(bytes), '-n', String(TURNS)], 4);
}

export function perftestVersion(): string {
  const { stdout, error } = spawnSync('ib_write_bw', ['--version'], { encoding: 'utf8' });
  const version = /Version: (\S+)/.exec(stdout ?? '')?.[1];
  if (version !== undefined) return version;
  throw new DwcpError('ERR_DWCP_UNSUPPORTED', 'bench rdma compares with perftest', {
    ...{ hint: HINT, cause: error },
  });
}

/** The figure in that column of the table's only row. */
async function perftest(
  end: RdmaEnd,
  program: string,
  flags: readonly string[],
  column: number,
): Promise<number> {
  let said = '';
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    said = await perftestPair(end, program, flags).catch((error: Error) => error.message);
    const row = /#bytes.*\n\s*(\d.*)/.exec(said)?.[1] ?? '';
    const figure = Number(row.trim().split(/\s+/)[column]);
    if (Number.isFinite(figure) && figure > 0) return figure;
  }
  throw new Error(`${program} measured nothing in ${TRIES_MAX} runs: ${said.slice(-500)}`);
}

let nextPort = 18_600 + (process.pid % 1000);

async function perftestPair(
  { device, port, gidIndex, address }: RdmaEnd,
  program: string,
  flags: readonly string[],
): Promise<string> {
  nextPort += 1;
  const gid = gidIndex === null ? [] : ['-x', String(gidIndex)];
  const common = ['-F', '-d', device, '-i', String(port), '-p', String(nextPort), ...gid, ...flags];
  const server = spawn(program, common, { stdio: 'ignore' });
  try {
    await listening(server, nextPort);
    return await output(program, [...common, address], PERFTEST_PATIENCE_MS);
  } finally {
    server.kill('SIGKILL');
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
  }
}

async function listening(server: ChildProcess, port: number): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  const entry = new RegExp(`:${port.toString(16).toUpperCase()} [0-9A-F]+:0000 0A `);
  while (!['tcp', 'tcp6'].some((file) => entry.test(readFileSync(`/proc/net/${file}`, 'utf8')))) {
    assert(server.exitCode === null && performance.now() < deadlineMs, 'perftest does not listen');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function output(
  program: string,
  args: readonly string[],
  timeout: number = PATIENCE_MS,
): Promise<string> {
  const limits = { timeout, killSignal: 'SIGKILL', maxBuffer: 2 ** 24 } as const;
  return (await promisify(execFile)(program, args, limits)).stdout;
}
