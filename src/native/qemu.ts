/** QEMU's migration stream: which pages, never what is in them. */
import type { PageSet, Region } from '../ports/memory.ts';
import { addon, coded } from './addon.ts';

export interface QemuAddon {
  qemuRoundTrip(bytes: Uint8Array, pieceBytes: number, multifd: boolean): QemuStreamAccount;
  readonly QemuSource: new (
    onEvents: (events: readonly QemuSourceEvent[]) => void,
    shadow: Region,
    listenPath: string,
    controlPath: string,
    backlogBytes: number,
  ) => NativeQemuSource;
  readonly QemuTarget: new (
    onEvents: (events: readonly QemuTargetEvent[]) => void,
    staging: Region,
    fed: BigUint64Array,
    listenPath: string,
    qemuPath: string,
  ) => NativeQemuTarget;
}

/** What was read of a stream, and the stream as it is written again. */
export interface QemuStreamAccount {
  readonly bytes: Uint8Array;
  readonly pages: number;
  readonly zeroPages: number;
  readonly deltas: number;
  /** Passed on unread, for this reason. */
  readonly opaqueBytes: number;
  readonly opaqueReason: string;
  readonly ramEnded: boolean;
  /** Bytes by name. */
  readonly blocks: Readonly<Record<string, number>>;
}

/** For tests: reads a connection in pieces of so many bytes and writes it again. */
export function qemuRoundTrip(
  bytes: Uint8Array,
  pieceBytes: number,
  connection: 'main' | 'multifd',
): QemuStreamAccount {
  return addon.qemuRoundTrip(bytes, pieceBytes, connection === 'multifd');
}

export interface QemuSourceEvent {
  /**
   * `pages`: the stream is understood, and its pages come out of it; `passThrough`: it is carried as
   * it is; `dirty`: there are pages to take; `ramEnded`: no more of them will come; `failed`: it broke
   * its format when pages had been taken already.
   */
  readonly type: 'pages' | 'passThrough' | 'dirty' | 'ramEnded' | 'failed';
  readonly message: string;
}

export interface NativeQemuSource {
  /** Moves what has to be sent into the set; returns how many pages those are. */
  takeDirty(pages: PageSet): number;
  /** While nobody reads, QEMU stands still in its writing; its guest does not. */
  setReading(reading: boolean): void;
  /** Tells the other side that a round of pages ended. */
  endRound(): void;
  /** Every page has landed: the devices may follow. */
  release(): void;
  counters(): QemuSourceCounters | null;
  close(): void;
}

export interface QemuSourceCounters {
  /** Records of QEMU's, with bytes and of zeros. */
  readonly pages: number;
  readonly zeroPages: number;
  /** Of the zero ones those that never were anything else, and do not travel. */
  readonly stillZeroPages: number;
  readonly dirtyPages: number;
  /** What the shadow holds. */
  readonly shadowPages: number;
}

export interface QemuSourceOptions {
  readonly shadow: Region;
  /** Where QEMU will connect. */
  readonly listenPath: string;
  /** Where a carried byte stream listens. */
  readonly controlPath: string;
  /** With so many bytes of pages to take, nothing more is read. */
  readonly backlogBytes: number;
}

export function openQemuSource(
  options: QemuSourceOptions,
  onEvent: (event: QemuSourceEvent) => void,
): NativeQemuSource {
  const { shadow, listenPath, controlPath, backlogBytes } = options;
  const onEvents = (events: readonly QemuSourceEvent[]): void => events.forEach(onEvent);
  return coded(() => new addon.QemuSource(onEvents, shadow, listenPath, controlPath, backlogBytes));
}

export interface QemuTargetEvent {
  /**
   * `round`: a round of pages ended at the source; `fed`: QEMU took what was given; `ramEnded`: every
   * page has landed, and the last feeding is waited for; `failed`: the source's stream makes no sense.
   */
  readonly type: 'pages' | 'passThrough' | 'round' | 'fed' | 'ramEnded' | 'failed';
  readonly message: string;
}

export interface NativeQemuTarget {
  /** Gives QEMU pages as they are in staging, and others as zeros; `last` sends the devices behind them. */
  feed(pages: Uint32Array, zeros: Uint32Array, last: boolean): void;
  counters(): QemuTargetCounters | null;
  close(): void;
}

export interface QemuTargetCounters {
  /** That the guest has; 0 until it is known. */
  readonly pages: number;
  readonly fedPages: number;
  readonly fedZeroPages: number;
  readonly queuedPages: number;
  readonly busyUs: number;
}

export interface QemuTargetOptions {
  readonly staging: Region;
  /** A digest per page of staging as QEMU got it, written by the target; all ones: not yet. */
  readonly fed: BigUint64Array;
  /** Where a carried byte stream will connect. */
  readonly listenPath: string;
  /** Where QEMU waits for its migration. */
  readonly qemuPath: string;
}

export function openQemuTarget(
  options: QemuTargetOptions,
  onEvent: (event: QemuTargetEvent) => void,
): NativeQemuTarget {
  const { staging, fed, listenPath, qemuPath } = options;
  const onEvents = (events: readonly QemuTargetEvent[]): void => events.forEach(onEvent);
  return coded(() => new addon.QemuTarget(onEvents, staging, fed, listenPath, qemuPath));
}
