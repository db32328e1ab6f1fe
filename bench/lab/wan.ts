/**
 * A WAN on this machine: two network namespaces, `a` and `b`, and a link between them that has a rate, a
 * delay, losses and a queue (`link/`, a program of its own). It ends with this process, whatever ends that,
 * and takes what still runs in its namespaces along.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import { DwcpError } from '../../src/util/errors.ts';
import { checkout } from '../harness.ts';
import { cleanedUp } from '../interruption.ts';
import { PROFILES, type WanProfile, type WanShape } from './profiles.ts';

export type WanSide = 'a' | 'b';
export type WanDirection = 'ab' | 'ba';

export interface WanOptions {
  readonly profile: WanProfile | WanShape;
  /** The same seed loses the same packets of the same traffic. */
  readonly seed?: number;
}

export interface Wan {
  readonly shape: WanShape;
  /** Names of the namespaces, for `ip netns` and `ip -n`. */
  readonly a: string;
  readonly b: string;
  readonly addresses: Readonly<Record<WanSide, string>>;
  /** Words before a command that make it run on that host. */
  readonly enter: Readonly<Record<WanSide, readonly string[]>>;
  /** Whether the link goes before the programs at its ends; if not, a busy machine makes it late. */
  readonly realtime: boolean;
  /** Takes effect at once; without a direction in both. */
  set(change: Partial<WanShape>, direction?: WanDirection): Promise<void>;
  stats(): Promise<WanStats>;
  /** Nothing is left afterwards: no process in the namespaces, no namespace, no device. */
  stop(): Promise<void>;
}

/** Of one direction since the link began. */
export interface WanDirectionStats {
  readonly packets: number;
  readonly bytes: number;
  readonly deliveredPackets: number;
  readonly deliveredBytes: number;
  /** By chance, and in how many runs of neighbours. */
  readonly lostPackets: number;
  readonly lostRuns: number;
  readonly queueDrops: number;
  readonly cutDrops: number;
  /** These three a link never should have: it held too little, or a kernel dropped packets beside it. */
  readonly overruns: number;
  readonly refused: number;
  readonly deviceDrops: number;
  readonly largestPacketBytes: number;
  readonly queueBytes: number;
  readonly queueBytesMax: number;
  /** After their time, of all delivered packets. */
  readonly lateUsSum: number;
  readonly lateUsMax: number;
}

export interface WanStats {
  readonly ab: WanDirectionStats;
  readonly ba: WanDirectionStats;
  /** Of the link's own process, the kernel's part included. */
  readonly cpuSeconds: number;
}

const count = z.number().int().nonnegative();

const directionSchema: z.ZodType<WanDirectionStats> = z.object({
  packets: count,
  bytes: count,
  deliveredPackets: count,
  deliveredBytes: count,
  lostPackets: count,
  lostRuns: count,
  queueDrops: count,
  cutDrops: count,
  overruns: count,
  refused: count,
  deviceDrops: count,
  largestPacketBytes: count,
  queueBytes: count,
  queueBytesMax: count,
  lateUsSum: count,
  lateUsMax: count,
});

const hostSchema = z.object({ namespace: z.string(), address: z.string() });

const saidSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), a: hostSchema, b: hostSchema, realtime: z.boolean() }),
  z.object({ type: z.literal('ok') }),
  z.object({
    type: z.literal('stats'),
    ab: directionSchema,
    ba: directionSchema,
    cpuSeconds: z.number(),
  }),
  z.object({ type: z.literal('error'), message: z.string() }),
]);

type Said = z.infer<typeof saidSchema>;

const PROGRAM = join(checkout, 'build/lab/wan-link');
const HINT =
  'A link needs root, network namespaces, /dev/net/tun, and "npm run build" in a checkout.';

export async function startWan({ profile, seed = 1 }: WanOptions): Promise<Wan> {
  const shape = typeof profile === 'string' ? PROFILES[profile] : profile;
  const program = new LinkProgram([`seed=${seed}`, ...words(shape)]);
  const ready = await program.next();
  if (ready.type !== 'ready') throw unexpected(ready);
  const ask = async (command: string): Promise<Said> => {
    const said = await program.ask(command);
    if (said.type === 'error') throw new DwcpError('ERR_DWCP_USAGE', said.message);
    return said;
  };
  const enter = (name: string): string[] => ['nsenter', `--net=/run/netns/${name}`, '--'];
  return {
    shape,
    a: ready.a.namespace,
    b: ready.b.namespace,
    addresses: { a: ready.a.address, b: ready.b.address },
    enter: { a: enter(ready.a.namespace), b: enter(ready.b.namespace) },
    realtime: ready.realtime,
    set: async (change, direction) => {
      await ask(
        ['set', ...(direction === undefined ? [] : [direction]), ...words(change)].join(' '),
      );
    },
    stats: async () => {
      const said = await ask('stats');
      if (said.type !== 'stats') throw unexpected(said);
      return { ab: said.ab, ba: said.ba, cpuSeconds: said.cpuSeconds };
    },
    stop: () => program.stop(),
  };
}

/** Stopped in every case, also when this process is told to end meanwhile. */
export async function withWan<T>(options: WanOptions, work: (wan: Wan) => Promise<T>): Promise<T> {
  const wan = await startWan(options);
  return await cleanedUp(
    () => wan.stop(),
    () => work(wan),
  );
}

function words(shape: Partial<WanShape>): string[] {
  return Object.entries(shape).map(([key, value]) => `${key}=${Number(value)}`);
}

function unexpected(said: Said): DwcpError {
  const message = said.type === 'error' ? said.message : `unexpected answer "${said.type}"`;
  return new DwcpError('ERR_DWCP_PROTOCOL', `wan-link: ${message}`);
}

interface Waiter {
  readonly resolve: (said: Said) => void;
  readonly reject: (error: DwcpError) => void;
}

/** The program answers each command with one line, in order. */
class LinkProgram {
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting: Waiter[] = [];
  readonly #ended: Promise<unknown>;
  #complaint = '';
  #hasEnded = false;

  constructor(args: readonly string[]) {
    // Detached: a Ctrl-C in the terminal is for the program at the link, which ends it in order.
    this.#process = spawn(PROGRAM, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-1000);
    });
    // The link may end between two commands; whoever waits is told below.
    this.#process.stdin.on('error', () => undefined);
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#answer(line));
    this.#ended = new Promise<void>((resolve) => {
      const end = (why: string): void => {
        this.#hasEnded = true;
        for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#gone(why));
        resolve();
      };
      this.#process.once('error', (error) => end(error.message));
      this.#process.once('close', () => end('it ended'));
    });
  }

  ask(command: string): Promise<Said> {
    this.#process.stdin.write(`${command}\n`);
    return this.next();
  }

  next(): Promise<Said> {
    if (this.#hasEnded) return Promise.reject(this.#gone('it ended'));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async stop(): Promise<void> {
    this.#process.stdin.end();
    await this.#ended;
  }

  #answer(line: string): void {
    const waiter = this.#waiting.shift();
    try {
      waiter?.resolve(saidSchema.parse(JSON.parse(line)));
    } catch (cause) {
      waiter?.reject(new DwcpError('ERR_DWCP_PROTOCOL', `wan-link said: ${line}`, { cause }));
    }
  }

  #gone(why: string): DwcpError {
    const said = this.#complaint.trim();
    return new DwcpError('ERR_DWCP_UNSUPPORTED', said || `wan-link: ${why}`, { hint: HINT });
  }
}
