/** What no migration on this machine can beat, measured next to the migrations that are held against it. */
import { createRegion, digestPages } from '../src/native.ts';
import { assert } from '../src/util/assert.ts';
import { CONGESTION_CONTROL } from './congestion-control.ts';
import { reportOf, startEnd } from './transport-runs.ts';

const GIB = 2 ** 30;
const PAGE_BYTES = 4096;

export interface Floors {
  /** Bytes per second that one link of ours carries between two touched regions. */
  readonly transportBytesPerSec: number;
  /** Seconds that the kernel takes to hand out a GiB of shared memory that nobody had before. */
  readonly firstTouchSecondsPerGib: number;
  readonly memcpyBytesPerSec: number;
}

export async function measureFloors(regionBytes: number): Promise<Floors> {
  return {
    transportBytesPerSec: await measureTransport(regionBytes),
    firstTouchSecondsPerGib: measureFirstTouch(regionBytes),
    memcpyBytesPerSec: measureMemcpy(Math.min(regionBytes, GIB / 4)),
  };
}

/** The shape that an agent uses unless told otherwise: 8 streams, 1 MiB chunks. */
async function measureTransport(regionBytes: number): Promise<number> {
  const plan = {
    ...{ streams: 8, chunkBytes: 2 ** 20, regionBytes, passes: 1 },
    congestionControl: CONGESTION_CONTROL,
  };
  const receiver = startEnd({ ...plan, role: 'receiver', port: 0 });
  try {
    const { port } = await reportOf(receiver, 'listening');
    const sender = startEnd({ ...plan, role: 'sender', port });
    try {
      const sent = await reportOf(sender, 'sent');
      receiver.send('finish');
      const landed = await reportOf(receiver, 'landed');
      assert(landed.digest === sent.digest, 'source and destination memory differ');
      return landed.bytes / sent.seconds;
    } finally {
      sender.kill('SIGKILL');
    }
  } finally {
    receiver.kill('SIGKILL');
  }
}

/** Digesting fresh pages faults each in; digesting them again is what the digests alone cost. */
function measureFirstTouch(bytes: number): number {
  const region = createRegion({ name: 'first-touch', sizeBytes: bytes, hugePages: false });
  const digestSeconds = (): number => {
    const startedAt = performance.now();
    digestPages(region, 0, bytes / PAGE_BYTES);
    return (performance.now() - startedAt) / 1000;
  };
  try {
    const fresh = digestSeconds();
    return Math.max(0, fresh - digestSeconds()) / (bytes / GIB);
  } finally {
    region.close();
  }
}

function measureMemcpy(bytes: number): number {
  const source = Buffer.alloc(bytes, 1);
  const target = Buffer.alloc(bytes, 2);
  let best = 0;
  for (let run = 0; run < 3; run += 1) {
    const startedAt = performance.now();
    source.copy(target);
    best = Math.max(best, (bytes * 1000) / (performance.now() - startedAt));
  }
  return best;
}
