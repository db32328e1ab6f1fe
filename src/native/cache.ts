/** The content cache: pages on disk by their keyed hash. See `native/cache/`. */
import type { ContentCacheCounters } from '../ports/content-cache.ts';
import type { Region } from '../ports/memory.ts';
import { addon } from './addon.ts';

export interface NativeContentCache {
  /** Stores its pages in the background; false when too many regions wait. */
  keep(region: Region): boolean;
  /** Null once it is closed. */
  counters(): ContentCacheCounters | null;
  /** At once, with what is stored so far. Links that share it keep it. */
  close(): void;
}

export interface CacheAddon {
  readonly ContentCache: new (
    directory: string,
    bytesMax: number,
    secret: Uint8Array,
  ) => NativeContentCache;
  /** For `bench encoding`: of a sender whose peer told of so many other pages. */
  fingerprintSample(pages: Uint8Array, peerPages: number): FingerprintSample;
}

/** Processor time of one thread over all pages. */
export interface FingerprintSample {
  /** An encoder's pass without a peer's contents: zero scan, copy, digest. */
  readonly rawNs: number;
  readonly fingerprintNs: number;
  /** The encoder's pass with them: fingerprint of what is not zero, strong hash of candidates. */
  readonly bothNs: number;
  readonly strongNs: number;
  readonly checksum: number;
}

export const NativeContentCache: CacheAddon['ContentCache'] = addon.ContentCache;
export const fingerprintSample: CacheAddon['fingerprintSample'] = addon.fingerprintSample;
