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
}

export const NativeContentCache: CacheAddon['ContentCache'] = addon.ContentCache;
