/**
 * How large the chunks of a link should be. What a stream carries in a tenth of a second is a first guess, less
 * where segments are lost: a chunk that waits for a lost one, or dies with its stream, costs that much. A guess is
 * kept unless goodput was better before. Pure.
 */
import { assert } from '../../util/assert.ts';
import type { ChunkBounds } from './mode-settings.ts';

export interface ChunkInput {
  readonly nowUs: number;
  /** Of an interval in which the way was the limit. */
  readonly bytesPerSec: number;
  readonly lossShare: number | null;
  readonly streams: number;
}

const STREAM_SEC = 0.1;
const SOME_LOSS = 0.01;
const MUCH_LOSS = 0.03;
const SAMPLES = 5;
/** A size that costs more than this of the goodput is taken back. */
const WORSE = 0.95;
const REST_US = 30_000_000;

interface Trial {
  readonly before: number;
  readonly bytesPerSec: number;
}

export class ChunkTuner {
  readonly #bounds: ChunkBounds;
  #chunkBytes: number;
  #samples: ChunkInput[] = [];
  #trial: Trial | null = null;
  #restUntilUs = 0;

  constructor(bounds: ChunkBounds) {
    assert(
      bounds.minBytes <= bounds.startBytes && bounds.startBytes <= bounds.maxBytes,
      'in bounds',
    );
    this.#bounds = bounds;
    this.#chunkBytes = bounds.startBytes;
  }

  get chunkBytes(): number {
    return this.#chunkBytes;
  }

  /** The size from now on, or null when it stays. */
  step(input: ChunkInput): number | null {
    this.#samples = [...this.#samples, input].slice(-SAMPLES);
    if (this.#samples.length < SAMPLES) return null;
    const bytesPerSec = median(this.#samples.map((sample) => sample.bytesPerSec));
    const trial = this.#trial;
    this.#trial = null;
    if (trial !== null && bytesPerSec < trial.bytesPerSec * WORSE) {
      this.#restUntilUs = input.nowUs + REST_US;
      return this.#set(trial.before);
    }
    if (input.nowUs < this.#restUntilUs) return null;
    const wanted = this.#guess(bytesPerSec, input.streams);
    if (wanted === this.#chunkBytes) return null;
    this.#trial = { before: this.#chunkBytes, bytesPerSec };
    return this.#set(wanted);
  }

  #guess(bytesPerSec: number, streams: number): number {
    const loss = median(this.#samples.map(({ lossShare }) => lossShare ?? 0));
    const part = loss > MUCH_LOSS ? 4 : loss > SOME_LOSS ? 2 : 1;
    const bytes = ((bytesPerSec / streams) * STREAM_SEC) / part;
    const { minBytes, maxBytes } = this.#bounds;
    return Math.min(maxBytes, Math.max(minBytes, 2 ** Math.floor(Math.log2(Math.max(1, bytes)))));
  }

  #set(chunkBytes: number): number {
    this.#chunkBytes = chunkBytes;
    this.#samples = [];
    return chunkBytes;
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
