/** Two native bulk transports on loopback with one link between them, for tests. */
import assert from 'node:assert/strict';
import {
  createPageSet,
  createRegion,
  digestPages,
  fillRegion,
  type NativeContentCache,
  type NativeRegion,
} from '../../src/native.ts';
import type { RdmaWish } from '../../src/ports/rdma.ts';
import type {
  BulkKeys,
  BulkLink,
  BulkStream,
  BulkTransport,
  PageReceiver,
  PageSendCounters,
  RefusedConnections,
} from '../../src/ports/transport.ts';
import { createNativeBulkTransport } from '../../src/transports/native-bulk.ts';
import type { DwcpError } from '../../src/util/errors.ts';

export const MIB: number = 2 ** 20;
const PAGE_BYTES = 4096;

export interface PairOptions {
  readonly streams: number;
  readonly windowBytes?: number;
  readonly chunkBytes?: number;
  readonly ioThreads?: number;
  /** Where the target listens; loopback unless it says else. */
  readonly host?: string;
  readonly rdma?: RdmaWish;
  /** Those of the source; the target gets them the other way round. */
  readonly keys?: BulkKeys | null;
  /** Content caches of source and target. */
  readonly caches?: readonly [NativeContentCache, NativeContentCache];
}

/** Equal on every call, so that a test can open what it sees on the wire. */
export function someKeys(over: Partial<BulkKeys> = {}): BulkKeys {
  const secret = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
  return { keyBits: 128, sendSecret: secret(7), receiveSecret: secret(9), ...over };
}

export function turned(keys: BulkKeys | null): BulkKeys | null {
  if (keys === null) return null;
  return { ...keys, sendSecret: keys.receiveSecret, receiveSecret: keys.sendSecret };
}

export interface Pair {
  readonly listening: BulkTransport;
  readonly dialling: BulkTransport;
  readonly source: BulkLink;
  readonly target: BulkLink;
  /** Those that the source dialled. */
  readonly streams: BulkStream[];
  /** Those that joined the target, strangers of the test included. */
  readonly accepted: BulkStream[];
  readonly port: number;
  /** Why streams that had joined ended, at the side that listens. */
  readonly lost: DwcpError[];
  readonly refused: RefusedConnections[];
  /** One more stream. */
  redial(): Promise<BulkStream>;
  close(): void;
}

export async function pairUp(options: PairOptions): Promise<Pair> {
  const { windowBytes = 16 * MIB, chunkBytes = 256 * 1024, ioThreads = 2 } = options;
  const { keys = null, caches, host = '127.0.0.1', rdma = 'off' } = options;
  const [sourceCache, targetCache] = caches ?? [null, null];
  const listening = createNativeBulkTransport({ ioThreads, contentCache: targetCache });
  const dialling = createNativeBulkTransport({ ioThreads, contentCache: sourceCache });
  const target = listening.openLink({ peer: 'a', windowBytes, chunkBytes, keys: turned(keys) });
  const source = dialling.openLink({ peer: 'b', windowBytes, chunkBytes, keys });
  target.setRdma(rdma, '');
  source.setRdma(rdma, '');
  const lost: DwcpError[] = [];
  const accepted: BulkStream[] = [];
  const refused: RefusedConnections[] = [];
  const listened = listening.listen(
    { host, port: 0 },
    (stream) => {
      accepted.push(stream);
      acceptInto(stream, target, lost);
    },
    (report) => refused.push(report),
  );
  assert.ok(listened.ok);
  const { port } = listened.value;
  const streams: BulkStream[] = [];
  const redial = (): Promise<BulkStream> => dialJoined(dialling, source, port, host);
  for (let i = 0; i < options.streams; i++) streams.push(await redial());
  const close = (): void => {
    dialling.close();
    listening.close();
  };
  return {
    ...{
      listening,
      dialling,
      source,
      target,
      streams,
      accepted,
      port,
      lost,
      refused,
      redial,
      close,
    },
  };
}

function acceptInto(stream: BulkStream, link: BulkLink, lost: DwcpError[]): void {
  stream.subscribe((event) => {
    if (event.type === 'join') {
      stream.sendJoin(Uint8Array.of(1));
      stream.attach(link);
    } else if (event.type === 'closed' && event.error !== null) {
      lost.push(event.error);
    }
  });
}

export function dialJoined(
  transport: BulkTransport,
  link: BulkLink,
  port: number,
  host = '127.0.0.1',
): Promise<BulkStream> {
  const stream = transport.dial({
    address: { host, port },
    localAddress: null,
    congestionControl: 'reno',
    connectTimeoutMs: 2000,
  });
  return new Promise((resolve, reject) => {
    stream.subscribe((event) => {
      if (event.type === 'challenge') {
        assert.equal(event.challenge.length, 16);
        assert.equal(event.congestionControl, 'reno');
        stream.sendJoin(event.challenge);
      } else if (event.type === 'join') {
        stream.attach(link);
        resolve(stream);
      } else {
        reject(event.error ?? new Error('closed'));
      }
    });
  });
}

export interface Moved {
  /** From the send to the last acknowledgement. */
  readonly tookMs: number;
  readonly counters: PageSendCounters;
  readonly sourceDigests: Uint8Array;
  readonly landedMemory: Uint8Array;
  readonly landedDigests: Uint8Array;
}

/** Every fourth page is zero at the source; the target starts full, so that a zero must be written. */
export async function move(
  pair: Pick<Pair, 'source' | 'target'>,
  sizeBytes: number,
  onSent: () => void = () => {},
  transferId = 42,
): Promise<Moved> {
  const from = createRegion({ name: 'from', sizeBytes, hugePages: false });
  const to = createRegion({ name: 'to', sizeBytes, hugePages: false });
  fillRegion(from, transferId, 4);
  fillRegion(to, transferId + 1, 0);
  const count = sizeBytes / PAGE_BYTES;
  const pages = createPageSet(count);
  pages.addAll();
  const name = { transferId, epoch: 1 };
  return new Promise((resolve, reject) => {
    const receiver = pair.target.receivePages({ ...name, region: to }, (event) =>
      reject(event.error),
    );
    const sender = pair.source.sendPages({ ...name, region: from }, (event) => {
      if (event.type === 'failed') {
        reject(event.error);
        return;
      }
      const { counters } = event;
      const tookMs = performance.now() - begunMs;
      const moved = { tookMs, counters, ...digestsOf(from, to, receiver, count) };
      sender.close();
      receiver.close();
      resolve(moved);
    });
    const begunMs = performance.now();
    sender.send(pages);
    onSent();
  });
}

function digestsOf(from: NativeRegion, to: NativeRegion, receiver: PageReceiver, count: number) {
  return {
    sourceDigests: digestPages(from, 0, count),
    landedMemory: digestPages(to, 0, count),
    landedDigests: receiver.digests(0, count),
  };
}

export function assertEqualMemory(moved: Moved): void {
  assert.ok(Buffer.from(moved.sourceDigests).equals(moved.landedMemory), 'memory differs');
  assert.ok(Buffer.from(moved.sourceDigests).equals(moved.landedDigests), 'digests differ');
}

export async function until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    assert.ok(performance.now() < endMs, `not in time: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
