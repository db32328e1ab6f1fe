/** Turns samples of a transfer into what people watch: goodput, ETA and the reason behind it. */
import type { MigrationFault, MigrationPhase, MigrationProgress } from '../node.ts';
import type { TransferProgress } from '../ports/hypervisor.ts';
import type { SourcePhase } from '../protocols/migration/source.ts';
import type { DwcpError } from '../util/errors.ts';

export const NO_TRANSFER: TransferProgress = {
  zeroPages: 0,
  duplicatePages: 0,
  deltaPages: 0,
  compressedPages: 0,
  rawPages: 0,
  rawBytes: 0,
  wireBytes: 0,
  ackedBytes: 0,
  remainingBytes: 0,
  dirtyBytesPerSec: 0,
};

/** What was sent by an outgoing migration and by those before it. */
export function added(now: TransferProgress, before: TransferProgress): TransferProgress {
  return {
    ...now,
    zeroPages: now.zeroPages + before.zeroPages,
    duplicatePages: now.duplicatePages + before.duplicatePages,
    deltaPages: now.deltaPages + before.deltaPages,
    compressedPages: now.compressedPages + before.compressedPages,
    rawPages: now.rawPages + before.rawPages,
    rawBytes: now.rawBytes + before.rawBytes,
    wireBytes: now.wireBytes + before.wireBytes,
    ackedBytes: now.ackedBytes + before.ackedBytes,
  };
}

/** Weight of the newest sample: about half a second of memory at ten samples a second. */
const SMOOTHING = 0.2;

export class GoodputMeter {
  #bytes = 0;
  #atUs: number | null = null;
  #rate = 0;

  sample(ackedBytes: number, nowUs: number): number {
    if (this.#atUs !== null && nowUs > this.#atUs) {
      const rate = (Math.max(0, ackedBytes - this.#bytes) / (nowUs - this.#atUs)) * 1e6;
      this.#rate = this.#rate === 0 ? rate : this.#rate + SMOOTHING * (rate - this.#rate);
    }
    this.#bytes = ackedBytes;
    this.#atUs = nowUs;
    return this.#rate;
  }
}

const PAGE_BYTES = 4096;

/** How many bytes of memory a byte on the wire carried since the sample before; zero pages are not counted. */
export class CodecGain {
  #memoryBytes = 0;
  #wireBytes = 0;

  sample(transfer: TransferProgress): number {
    const { duplicatePages, deltaPages, compressedPages, rawPages, wireBytes } = transfer;
    const memoryBytes = (duplicatePages + deltaPages + compressedPages + rawPages) * PAGE_BYTES;
    const memory = memoryBytes - this.#memoryBytes;
    const wire = wireBytes - this.#wireBytes;
    this.#memoryBytes = memoryBytes;
    this.#wireBytes = wireBytes;
    return wire > 0 ? Math.max(1, memory / wire) : 1;
  }
}

export function etaOf(
  remainingBytes: number,
  goodput: number,
  dirty: number,
): MigrationProgress['etaMs'] {
  if (goodput <= 0 || dirty >= goodput) return null;
  const low = (remainingBytes / goodput) * 1000;
  return { low: Math.ceil(low), high: Math.ceil((remainingBytes / (goodput - dirty)) * 1000) };
}

export function faultOf(error: DwcpError | null): MigrationFault | null {
  return error && { code: error.code, message: error.message, hint: error.hint };
}

const PHASES: Readonly<Record<SourcePhase, MigrationPhase>> = {
  idle: 'preflight',
  proposing: 'preflight',
  preparing: 'preflight',
  opening: 'preflight',
  precopy: 'precopy',
  regaining: 'precopy',
  stopAndCopy: 'stopAndCopy',
  awaitLoaded: 'stopAndCopy',
  strictVerify: 'verifying',
  fencing: 'committing',
  fencePersisting: 'committing',
  fenced: 'committing',
  outcomeUnknown: 'outcomeUnknown',
  committed: 'committing',
  unconfirmed: 'outcomeUnknown',
  switching: 'committing',
  postcopy: 'postcopy',
  unfencing: 'failed',
  verifying: 'verifying',
  releasing: 'verifying',
  settling: 'verifying',
  aborting: 'failed',
  finished: 'completed',
};

export function publicPhase(phase: SourcePhase): MigrationPhase {
  return PHASES[phase];
}
