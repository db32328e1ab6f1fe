/** The codecs by themselves, for benchmarks and tests. See `native/binding/codec_binding.cc`. */
import type { CodecPolicy } from '../ports/transport.ts';
import { addon } from './addon.ts';

export interface CodecChoice {
  readonly codec: 'none' | 'lz4' | 'zstd';
  readonly level: number;
}

/** The rule that picks a codec from rates, as the engine has it; it knows no clock. */
export interface CodecChooser {
  setPolicy(kind: CodecPolicy['kind'], codec: string, level: number): void;
  /** For the next chunk: now and then a neighbour of the best. */
  next(): CodecChoice;
  best(): CodecChoice;
  encoded(
    codec: CodecChoice['codec'],
    level: number,
    rawBytes: number,
    encodedBytes: number,
    tookUs: number,
  ): void;
  acknowledged(bytes: number, tookUs: number, isStarved: boolean): void;
}

export interface EncodedSample {
  readonly zeroPages: number;
  readonly compressedPages: number;
  readonly rawPages: number;
  readonly chunks: number;
  /** Headers and maps of the chunks included. */
  readonly wireBytes: number;
  /** Processor time of one thread; zero scan, digest, copy and codec. */
  readonly encodeUs: number;
  /** Processor time of one thread; codec and checks, without landing. */
  readonly decodeUs: number;
  /** What the policy would take next. */
  readonly last: CodecChoice;
}

export interface CodecAddon {
  readonly CodecChooser: new (workers: number) => CodecChooser;
  encodeSample(
    pages: Uint8Array,
    kind: CodecPolicy['kind'],
    codec: string,
    level: number,
    chunkBytes: number,
    wireBytesPerSec: number,
  ): EncodedSample;
  differentWords(a: Uint8Array, b: Uint8Array, scalar: boolean): readonly number[];
  encodeDelta(base: Uint8Array, page: Uint8Array): Uint8Array | null;
  applyDelta(page: Uint8Array, delta: Uint8Array): boolean;
}

export interface SampleOptions {
  /** Whole pages; each must come back as it was, or this throws. */
  readonly pages: Uint8Array;
  readonly policy: CodecPolicy;
  readonly chunkBytes: number;
  /** For an adaptive policy: what the wire lets through; 0 when nothing is known of it. */
  readonly wireBytesPerSec: number;
}

/** Encodes and decodes pages as sender and receiver do, on this thread. */
export function encodeSample(options: SampleOptions): EncodedSample {
  const { pages, policy, chunkBytes, wireBytesPerSec } = options;
  const { codec, level } = policy.kind === 'fixed' ? policy : { codec: 'none', level: 0 };
  return addon.encodeSample(pages, policy.kind, codec, level, chunkBytes, wireBytesPerSec);
}

export const CodecChooser: CodecAddon['CodecChooser'] = addon.CodecChooser;
export const pageDeltas: Pick<CodecAddon, 'differentWords' | 'encodeDelta' | 'applyDelta'> = addon;
