/** What ping and iperf3 find a link to be, and whether that is what it claims. */
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { z } from 'zod';
import { assert } from '../../src/util/assert.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { median } from '../statistics.ts';
import type { WanShape } from './profiles.ts';
import type { Wan } from './wan.ts';

export interface MeasuredLink {
  readonly roundTripMs: number;
  /**
   * What came, of what the shape lets pass or the sender got out on a busy machine, whichever is less: the
   * median of short intervals of UDP that offers more than the link takes. IP packets, as the shape counts.
   */
  readonly rateShare: number;
  /** From a to b, of packets that the queue had room for. */
  readonly lossPercent: number;
  readonly lossPackets: number;
}

export interface MeasureEffort {
  readonly pings: number;
  readonly rateSeconds: number;
  readonly lossSeconds: number;
}

const PING_INTERVAL_SEC = 0.01;
const UDP_PAYLOAD_BYTES = 1400;
const UDP_HEADER_BYTES = 28;
/** Small packets: many draws at little rate. */
const LOSS_PAYLOAD_BYTES = 100;
const LOSS_PACKETS_PER_SEC = 4000;
const ROUND_TRIP_TOLERANCE = { share: 0.02, ms: 1 };
/** Over short intervals on a machine that is busy: wide, and yet under what a lie of a quarter shows. */
const RATE_TOLERANCE_SHARE = 0.15;
/** So seldom is a true link called a liar: once in 15,000. */
const LOSS_DEVIATIONS = 4;
const OFFERED_SHARE = 1.2;
const INTERVAL_SEC = 0.25;
const SOCKET_BYTES_MAX = 2 ** 22;
const HINT = 'apt-get install -y iperf3 iputils-ping';
/** On a busy machine the ends would be measured, and not the link. */
const EAGER = ['nice', '-n', '-20'];
const SAID_MAX = 500;
const SERVER_WITHIN_MS = 5000;

export async function measureLink(wan: Wan, effort: MeasureEffort): Promise<MeasuredLink> {
  const roundTripMs = await ping(wan, effort.pings);
  const loss = await udp(wan, {
    seconds: effort.lossSeconds,
    payloadBytes: LOSS_PAYLOAD_BYTES,
    bitsPerSec: LOSS_PACKETS_PER_SEC * LOSS_PAYLOAD_BYTES * 8,
  });
  const rate = await udp(wan, {
    seconds: effort.rateSeconds,
    payloadBytes: UDP_PAYLOAD_BYTES,
    bitsPerSec: OFFERED_SHARE * wan.shape.rateBitsPerSec,
  });
  const wireShare = (UDP_PAYLOAD_BYTES + UDP_HEADER_BYTES) / UDP_PAYLOAD_BYTES;
  const claimed = wan.shape.rateBitsPerSec / wireShare;
  const shares = rate.intervals.map(({ sent, received }) => received / Math.min(claimed, sent));
  return {
    roundTripMs,
    rateShare: median(shares),
    lossPercent: (100 * loss.lost) / loss.packets,
    lossPackets: loss.packets,
  };
}

/** Empty when the figures fit the claim. */
export function lies(claim: WanShape, measured: MeasuredLink): readonly string[] {
  const found: string[] = [];
  const tolerance = ROUND_TRIP_TOLERANCE;
  const late = measured.roundTripMs - claim.roundTripMs;
  // Never early; late by what two kernels and a scheduler need.
  if (late < 0 || late > claim.jitterMs + claim.roundTripMs * tolerance.share + tolerance.ms) {
    found.push(`round trip ${measured.roundTripMs} ms, claimed ${claim.roundTripMs}`);
  }
  // What chance took was not measured as received.
  const share = 1 - claim.lossPercent / 100;
  if (Math.abs(measured.rateShare / share - 1) > RATE_TOLERANCE_SHARE) {
    found.push(`rate ${measured.rateShare} of what was claimed and offered`);
  }
  const off = Math.abs(measured.lossPercent - claim.lossPercent);
  if (off > LOSS_DEVIATIONS * lossDeviation(claim, measured.lossPackets)) {
    found.push(`loss ${measured.lossPercent} %, claimed ${claim.lossPercent}`);
  }
  return found;
}

/**
 * Of the share of lost packets among `packets`, in percent. In a Gilbert-Elliott process neighbours are alike:
 * the fewer bad times, the less even the share.
 */
function lossDeviation({ lossPercent, burstPackets }: WanShape, packets: number): number {
  const loss = lossPercent / 100;
  // Of one packet that was lost though none was meant to be, nothing is forgiven.
  const likeness = burstPackets > 1 ? 1 - 1 / burstPackets - loss : 0;
  const spread = (loss * (1 - loss) * (1 + likeness)) / (1 - likeness);
  return 100 * Math.sqrt(spread / packets);
}

/** The median, since a scheduler is late now and then. */
async function ping(wan: Wan, count: number): Promise<number> {
  const args = ['ping', '-n', '-c', `${count}`, '-i', `${PING_INTERVAL_SEC}`, wan.addresses.b];
  const said = await run([...wan.enter.a, ...args]);
  const times = [...said.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
  assert(times.length > count / 2, `ping got ${times.length} of ${count} answers`);
  return median(times);
}

interface UdpRun {
  readonly seconds: number;
  readonly payloadBytes: number;
  readonly bitsPerSec: number;
}

/** As much as the kernel allows: what a late receiver drops would count as lost on the link. */
function socketBytes(): number {
  const limits = ['rmem_max', 'wmem_max'].map((name) => `/proc/sys/net/core/${name}`);
  return Math.min(...limits.map((path) => Number(readFileSync(path, 'utf8'))), SOCKET_BYTES_MAX);
}

interface UdpReport {
  readonly packets: number;
  readonly lost: number;
  /** Bits per second of payload, side by side. */
  readonly intervals: readonly { readonly sent: number; readonly received: number }[];
}

async function udp(wan: Wan, plan: UdpRun): Promise<UdpReport> {
  const { seconds, payloadBytes, bitsPerSec } = plan;
  const flags = ['-u', '-J', '-t', `${seconds}`, '-l', `${payloadBytes}`, '-b', `${bitsPerSec}`];
  const words = [
    ...flags,
    '-w',
    `${socketBytes()}`,
    '-i',
    `${INTERVAL_SEC}`,
    '--get-server-output',
  ];
  const client = [...wan.enter.a, ...EAGER, 'iperf3', '-c', wan.addresses.b, ...words];
  const said = await withServer(wan, ['-J', '-i', `${INTERVAL_SEC}`], () => run(client));
  const { end, intervals, server_output_json: server } = iperfSchema.parse(JSON.parse(said));
  return {
    packets: end.sum.packets,
    lost: end.sum.lost_packets,
    intervals: intervals.flatMap(({ sum }, index) => {
      const there = server.intervals[index]?.sum;
      if (there === undefined) return [];
      return [{ sent: sum.bits_per_second, received: there.bits_per_second }];
    }),
  };
}

const intervalsSchema = z.array(z.object({ sum: z.object({ bits_per_second: z.number() }) }));

const iperfSchema = z.object({
  end: z.object({ sum: z.object({ packets: z.number(), lost_packets: z.number() }) }),
  intervals: intervalsSchema,
  server_output_json: z.object({ intervals: intervalsSchema }),
});

/** `iperf3 -s` in b, for one client. */
export async function withServer<T>(
  wan: Wan,
  flags: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const [command = '', ...args] = [...wan.enter.b, ...EAGER, 'iperf3', '-s', '-1', ...flags];
  const server = spawn(command, args, { stdio: 'ignore' });
  server.once('error', () => undefined); // Told below, by nobody listening.
  try {
    await listening(server.pid ?? 0);
    return await work();
  } finally {
    server.kill('SIGKILL');
  }
}

/** Port 5201 in state LISTEN, as the kernel writes them. */
const LISTENS = /:1451 [0-9A-F]+:0000 0A /;

async function listening(pid: number): Promise<void> {
  const deadlineMs = performance.now() + SERVER_WITHIN_MS;
  const sockets = (): string =>
    ['tcp', 'tcp6'].map((file) => readFileSync(`/proc/${pid}/net/${file}`, 'utf8')).join('');
  try {
    while (!LISTENS.test(sockets())) {
      if (performance.now() > deadlineMs) throw new Error('nothing listens');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', 'iperf3 -s did not listen', { hint: HINT, cause });
  }
}

export async function run(words: readonly string[]): Promise<string> {
  const [command = '', ...args] = words;
  try {
    return (await promisify(execFile)(command, args, { maxBuffer: 2 ** 26 })).stdout;
  } catch (cause) {
    // ping says with 1 that packets were lost, and what it measured.
    const { stdout, stderr } = cause as { readonly stdout?: string; readonly stderr?: string };
    if (stdout?.includes('packets transmitted') === true) return stdout;
    const said = `${stderr || stdout || cause}`.slice(-SAID_MAX);
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', `${words.join(' ')}: ${said}`, {
      hint: HINT,
      cause,
    });
  }
}
