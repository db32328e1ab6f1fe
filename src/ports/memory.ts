/**
 * Guest memory as actors see it: opaque handles. The bytes stay in native memory (real twin)
 * or in a model (simulated twin); nothing here lets JavaScript read a guest's page.
 */
export interface Region {
  readonly sizeBytes: number;
  readonly pageBytes: number;
  /** Idempotent. */
  close(): void;
}

/** A set of page indices of one region. */
export interface PageSet {
  readonly pageCount: number;
  /** How many pages are in the set. */
  size(): number;
  addAll(): void;
  clear(): void;
}

/** Which back-end finds dirty pages; reported, never guessed by the reader. */
export type DirtyTrackingBackend = KernelTracking | 'rehash';

/** Those that not every kernel has. */
export type KernelTracking = 'pagemap-scan' | 'soft-dirty';

export interface DirtyTracker {
  readonly backend: DirtyTrackingBackend;
  /**
   * Moves every page written since the last scan into `into` and protects it again, in one step.
   * The first scan returns every page. Throws `ERR_DWCP_NATIVE` when the tracked process is gone.
   */
  scan(into: PageSet): DirtyScan;
  close(): void;
}

export interface DirtyScan {
  readonly dirtyPages: number;
  readonly elapsedUs: number;
}

/** Bytes per page in a digest block: the CRC32C of each 2 KiB half of a 4 KiB page. */
export const PAGE_DIGEST_BYTES = 8;

/** Bytes per page where two hosts find out which pages are equal, and of the key that this takes. */
export const PAGE_HASH_BYTES = 16;
export const PAGE_HASH_KEY_BYTES = 16;
