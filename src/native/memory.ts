/** Regions, page sets and dirty tracking: plain values and opaque handles. */
import type {
  DirtyTracker,
  DirtyTrackingBackend,
  KernelTracking,
  PageSet,
  Region,
} from '../ports/memory.ts';
import { addon, coded } from './addon.ts';

/** A memfd mapped shared: whoever gets `fd` has the same memory. */
export interface NativeRegion extends Region {
  readonly fd: number;
}

export interface NativePageSet extends PageSet {
  add(page: number): void;
  has(page: number): boolean;
}

/** For tests: every kernel next to its scalar twin. A page is 4096 bytes. */
export interface PageKernels {
  readonly name: string;
  crc32c(crc: number, bytes: Uint8Array, scalar: boolean): number;
  digestPage(page: Uint8Array, scalar: boolean): bigint;
  copyPage(target: Uint8Array, source: Uint8Array, scalar: boolean): bigint;
  isZeroPage(page: Uint8Array, scalar: boolean): boolean;
  appendPage(crc: number, digest: bigint): number;
}

export interface MemoryAddon {
  readonly PageSet: new (pageCount: number) => NativePageSet;
  readonly DirtyTracker: new (
    backend: string,
    pid: number,
    address: bigint,
    region: Region,
  ) => DirtyTracker;
  createRegion(name: string, sizeBytes: number, hugePages: boolean): NativeRegion;
  mapRegion(fd: number, sizeBytes: number, offsetBytes: number): NativeRegion;
  digestPages(region: Region, firstPage: number, pageCount: number): Uint8Array;
  hashPages(region: Region, firstPage: number, pageCount: number, key: Uint8Array): Uint8Array;
  removeEqualPages(
    region: Region,
    firstPage: number,
    hashes: Uint8Array,
    key: Uint8Array,
    set: PageSet,
  ): number;
  fillRegion(region: Region, seed: number, zeroEvery: number): void;
  probeWriteTracking(backend: string): void;
  readonly kernels: PageKernels;
}

export interface CreateRegionOptions {
  readonly name: string;
  readonly sizeBytes: number;
  readonly hugePages: boolean;
}

export interface MapRegionOptions {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly offsetBytes: number;
}

export function createRegion(options: CreateRegionOptions): NativeRegion {
  return coded(() => addon.createRegion(options.name, options.sizeBytes, options.hugePages));
}

/** Duplicates `fd`; the caller keeps its own. */
export function mapRegion(options: MapRegionOptions): NativeRegion {
  return coded(() => addon.mapRegion(options.fd, options.sizeBytes, options.offsetBytes));
}

export function createPageSet(pageCount: number): NativePageSet {
  return coded(() => new addon.PageSet(pageCount));
}

export interface CreateTrackerOptions {
  /** `auto` takes the kernel's tracking where this machine has it, else re-hashes. */
  readonly backend: 'auto' | DirtyTrackingBackend;
  /** The process whose writes count, and where it has the region mapped. */
  readonly pid: number;
  readonly address: bigint;
  readonly region: Region;
}

export function createTracker(options: CreateTrackerOptions): DirtyTracker {
  const { backend, pid, address, region } = options;
  const tracker = coded(() => new addon.DirtyTracker(backend, pid, address, region));
  return {
    backend: tracker.backend,
    scan: (into) => coded(() => tracker.scan(into)),
    close: () => tracker.close(),
  };
}

/**
 * Tracks a few pages of its own, writes some and scans: throws what the kernel refused, with the name
 * of the step in its message and its errno, or that the scan missed a write.
 */
export function probeWriteTracking(backend: KernelTracking): void {
  coded(() => addon.probeWriteTracking(backend));
}

let best: DirtyTrackingBackend | null = null;

/** What `auto` takes on this machine, found by trying it once. */
export function bestTracking(): DirtyTrackingBackend {
  best ??= (['pagemap-scan', 'soft-dirty'] as const).find(isTracked) ?? 'rehash';
  return best;
}

function isTracked(backend: KernelTracking): boolean {
  try {
    probeWriteTracking(backend);
    return true;
  } catch {
    return false;
  }
}

/** `PAGE_DIGEST_BYTES` per page, little-endian, of the memory as it is now. */
export function digestPages(region: Region, firstPage: number, pageCount: number): Uint8Array {
  return coded(() => addon.digestPages(region, firstPage, pageCount));
}

export interface PageHashOptions {
  readonly region: Region;
  readonly firstPage: number;
  /** `PAGE_HASH_KEY_BYTES`, drawn for this exchange. */
  readonly key: Uint8Array;
}

/** `PAGE_HASH_BYTES` per page, by which two hosts know whether their pages are equal. */
export function hashPages(options: PageHashOptions, pageCount: number): Uint8Array {
  const { region, firstPage, key } = options;
  return coded(() => addon.hashPages(region, firstPage, pageCount, key));
}

/** Takes the pages out of `set` that have these hashes; how many they are. */
export function removeEqualPages(
  options: PageHashOptions,
  hashes: Uint8Array,
  set: PageSet,
): number {
  const { region, firstPage, key } = options;
  return coded(() => addon.removeEqualPages(region, firstPage, hashes, key, set));
}

/** For tests: every page random and unlike the others, each `zeroEvery`-th zero (0: none). */
export function fillRegion(region: Region, seed: number, zeroEvery: number): void {
  coded(() => addon.fillRegion(region, seed, zeroEvery));
}

export const pageKernels: PageKernels = addon.kernels;
