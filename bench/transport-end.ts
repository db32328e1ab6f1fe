/**
 * One end of `bench transport`, a process of its own: the shipped engine, a touched region of random
 * pages, and as many streams as asked. Speaks with the benchmark over the channel of `fork`.
 */
import { createHash } from 'node:crypto';
import { createPageSet, createRegion, digestPages, fillRegion } from '../src/native.ts';
import type { BulkStream, CongestionControl } from '../src/ports/transport.ts';
import { createNativeBulkTransport } from '../src/transports/native-bulk.ts';
import { assert } from '../src/util/assert.ts';

export interface EndPlan {
  readonly role: 'sender' | 'receiver';
  /** The receiver's; 0 for the receiver itself. */
  readonly port: number;
  readonly streams: number;
  readonly chunkBytes: number;
  readonly regionBytes: number;
  readonly passes: number;
  readonly congestionControl: CongestionControl;
}

export type EndReport =
  | { readonly type: 'listening'; readonly port: number }
  | {
      readonly type: 'sent';
      readonly seconds: number;
      readonly cpuSeconds: number;
      /** What its resident set grew by, at most, since the streams were there. */
      readonly grownBytes: number;
      readonly digest: string;
    }
  | {
      readonly type: 'landed';
      readonly bytes: number;
      readonly cpuSeconds: number;
      readonly grownBytes: number;
      readonly digest: string;
    };

const TRANSFER = { transferId: 1, epoch: 1 };
const PAGE_BYTES = 4096;
const WINDOW_BYTES = 64 * 2 ** 20;
/** Passes that wait on the link at once, so that none waits for the last acknowledgement of another. */
const PASSES_AHEAD = 4;
const RESIDENT_SAMPLE_MS = 200;

function runEnd(plan: EndPlan): void {
  const region = createRegion({ name: plan.role, sizeBytes: plan.regionBytes, hugePages: false });
  fillRegion(region, plan.role === 'sender' ? 1 : 2, 0);
  const pageCount = plan.regionBytes / PAGE_BYTES;
  const transport = createNativeBulkTransport();
  const windowBytes = Math.max(WINDOW_BYTES, 4 * plan.chunkBytes);
  const link = transport.openLink({ peer: 'bench', windowBytes, chunkBytes: plan.chunkBytes });
  let finished = false;
  const fail = (event: { readonly type: string; readonly error?: unknown }): void => {
    if (event.type !== 'failed' || finished) return;
    console.error(event.error);
    process.exit(1);
  };
  let cpuBefore = process.cpuUsage();
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage(cpuBefore);
    return (user + system) / 1e6;
  };
  const resident = new ResidentSet();
  const digest = (): string =>
    createHash('sha256')
      .update(digestPages(region, 0, pageCount))
      .digest('hex');

  if (plan.role === 'receiver') {
    const receiver = link.receivePages({ ...TRANSFER, region }, fail);
    const listening = transport.listen({ host: '127.0.0.1', port: 0 }, (stream) =>
      stream.subscribe((event) => {
        if (event.type !== 'join') return;
        stream.sendJoin(new Uint8Array([1]));
        stream.attach(link);
        resident.start();
      }),
    );
    if (!listening.ok) throw listening.error;
    cpuBefore = process.cpuUsage();
    report({ type: 'listening', port: listening.value.port });
    process.once('message', () => {
      finished = true;
      const spent = cpuSeconds();
      const bytes = receiver.counters().landedBytes;
      const grownBytes = resident.stop();
      report({ type: 'landed', bytes, cpuSeconds: spent, grownBytes, digest: digest() });
      transport.close();
      process.disconnect();
    });
    return;
  }

  const pages = createPageSet(pageCount);
  pages.addAll();
  let sent = 0;
  let acked = 0;
  let startedAt = 0;
  const sendAhead = (): void => {
    for (; sent < plan.passes && sent < acked + PASSES_AHEAD; sent += 1) sender.send(pages);
  };
  const sender = link.sendPages({ ...TRANSFER, region }, (event) => {
    if (event.type === 'failed') return fail(event);
    acked += 1;
    if (acked < plan.passes) return sendAhead();
    const seconds = (performance.now() - startedAt) / 1000;
    const spent = cpuSeconds();
    const grownBytes = resident.stop();
    finished = true;
    report({ type: 'sent', seconds, cpuSeconds: spent, grownBytes, digest: digest() });
    transport.close();
    process.disconnect();
  });
  let attached = 0;
  const join = (stream: BulkStream): void =>
    stream.subscribe((event) => {
      if (event.type === 'challenge') {
        assert(event.congestionControl === plan.congestionControl, 'the kernel took our algorithm');
        stream.sendJoin(new Uint8Array([1]));
      } else if (event.type === 'join') {
        stream.attach(link);
        attached += 1;
        if (attached < plan.streams) return;
        cpuBefore = process.cpuUsage();
        resident.start();
        startedAt = performance.now();
        sendAhead();
      }
    });
  for (let index = 0; index < plan.streams; index += 1) {
    join(
      transport.dial({
        address: { host: '127.0.0.1', port: plan.port },
        localAddress: null,
        congestionControl: plan.congestionControl,
        connectTimeoutMs: 10_000,
      }),
    );
  }
}

/** The most that this process grew by since the start, looked at often. */
class ResidentSet {
  #startBytes: number | null = null;
  #peakBytes = 0;
  #timer: NodeJS.Timeout | null = null;

  start(): void {
    if (this.#startBytes !== null) return;
    this.#startBytes = process.memoryUsage.rss();
    this.#timer = setInterval(() => this.#look(), RESIDENT_SAMPLE_MS);
  }

  stop(): number {
    this.#look();
    if (this.#timer !== null) clearInterval(this.#timer);
    return Math.max(0, this.#peakBytes - (this.#startBytes ?? 0));
  }

  #look(): void {
    this.#peakBytes = Math.max(this.#peakBytes, process.memoryUsage.rss());
  }
}

function report(message: EndReport): void {
  process.send?.(message);
}

const plan = process.argv[2];
assert(plan !== undefined, 'started by bench transport');
runEnd(JSON.parse(plan) as EndPlan);
