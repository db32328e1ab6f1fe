import type { Disk, DiskFile } from '../../src/ports/disk.ts';
import { assert } from '../../src/util/assert.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';
import type { LabelledStream } from '../world/decisions.ts';
import type { SimEvent } from '../world/event-queue.ts';
import { calmDisk, type DiskPlan } from '../world/fault-plan.ts';
import type { SimHost } from '../world/host.ts';

/** What a disk writes whole or not at all. */
const SECTOR_BYTES = 512;

interface SimFile {
  /** What reads see. */
  bytes: Uint8Array;
  /** What a power loss leaves. */
  durable: Uint8Array;
  /** Sectors written since the last sync. */
  readonly dirty: Set<number>;
}

type DiskWork =
  `disk-${'read' | 'write' | 'truncate' | 'fdatasync' | 'rename' | 'remove' | 'syncDir' | 'list'}`;

/** Work of one life of the host. */
interface Asked<T> {
  readonly what: DiskWork;
  readonly name: string;
  readonly done: Completion<T>;
  readonly work: () => Outcome<T>;
  readonly incarnation: number;
}

type NameChange =
  | { readonly op: 'create'; readonly name: string; readonly file: SimFile }
  | { readonly op: 'remove'; readonly name: string }
  | { readonly op: 'rename'; readonly from: string; readonly to: string; readonly file: SimFile };

/**
 * One host's files, byte by byte. Writes are durable once `fdatasync` completed, names once `syncDir`
 * did; at a crash each unsynced sector survives or not, by chance. Completions come later, in order.
 */
export class SimDisk implements Disk {
  plan: DiskPlan = calmDisk;
  stalled = 0;
  full = 0;
  fsyncFails = 0;
  /** So many writes land in another place of some file, and say that all went well. */
  misdirected = 0;
  readonly #host: SimHost;
  #latency: LabelledStream | null = null;
  #names = new Map<string, SimFile>();
  #durableNames = new Map<string, SimFile>();
  #nameChanges: NameChange[] = [];
  #lastUs = 0;
  #waiting: (() => void)[] = [];

  constructor(host: SimHost) {
    this.#host = host;
  }

  /** Fewer bytes than asked for at the end of the file; none of a file that is not there. */
  readAt(name: string, offset: number, length: number, done: Completion<Uint8Array>): void {
    this.#ask('disk-read', name, done, () => {
      const bytes = this.#names.get(name)?.bytes ?? new Uint8Array();
      return succeeded(bytes.slice(offset, offset + length));
    });
  }

  /** Creates the file, and zeros between its end and `offset`. */
  writeAt(name: string, offset: number, bytes: Uint8Array, done: Completion<void>): void {
    const copy = bytes.slice();
    this.#ask('disk-write', name, done, () => {
      if (this.full > 0) return failed(storageError('ENOSPC', `no space to write ${name}`));
      this.#open(name);
      const place = this.misdirected > 0 ? this.#elsewhere(name, offset) : { name, offset };
      this.#put(this.#open(place.name), place.offset, copy);
      return succeeded(undefined);
    });
  }

  truncate(name: string, length: number, done: Completion<void>): void {
    this.#ask('disk-truncate', name, done, () => {
      const file = this.#open(name);
      for (let at = length; at < file.bytes.length; at += SECTOR_BYTES)
        file.dirty.add(sectorOf(at));
      file.bytes = grown(file.bytes.slice(0, length), length);
      return succeeded(undefined);
    });
  }

  fdatasync(name: string, done: Completion<void>): void {
    this.#ask('disk-fdatasync', name, done, () => {
      const file = this.#names.get(name);
      if (file === undefined) return succeeded(undefined);
      if (this.fsyncFails > 0) {
        // As the kernel does: the pages count as clean afterwards, and what they held is lost at a crash.
        file.dirty.clear();
        return failed(storageError('EIO', `fdatasync of ${name} failed`));
      }
      if (file.dirty.size > 0) sync(file);
      file.dirty.clear();
      return succeeded(undefined);
    });
  }

  rename(from: string, to: string, done: Completion<void>): void {
    this.#ask('disk-rename', `${from} ${to}`, done, () => {
      const file = this.#names.get(from);
      if (file === undefined) return failed(storageError('ENOENT', `no file ${from}`));
      this.#change({ op: 'rename', from, to, file });
      return succeeded(undefined);
    });
  }

  remove(name: string, done: Completion<void>): void {
    this.#ask('disk-remove', name, done, () => {
      if (this.#names.has(name)) this.#change({ op: 'remove', name });
      return succeeded(undefined);
    });
  }

  syncDir(done: Completion<void>): void {
    this.#ask('disk-syncDir', '', done, () => {
      this.#durableNames = new Map(this.#names);
      this.#nameChanges = [];
      return succeeded(undefined);
    });
  }

  list(prefix: string, done: Completion<readonly DiskFile[]>): void {
    this.#ask('disk-list', prefix, done, () =>
      succeeded(
        [...this.#names]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, file]) => ({ name, size: file.bytes.length }))
          .sort((a, b) => (a.name < b.name ? -1 : 1)),
      ),
    );
  }

  // ---- faults -------------------------------------------------------------------------------------

  /** Unsynced sectors and names survive or not, each by its own draw. */
  crash(): void {
    const chance = this.#host.random('disk/crash');
    const names = new Map(this.#durableNames);
    // Names change in order: what comes after a lost change is lost too.
    for (const change of this.#nameChanges) {
      if (chance.below(2) === 0) break;
      apply(names, change);
    }
    for (const file of new Set(names.values())) {
      const survivors = [...file.dirty].sort((a, b) => a - b).filter(() => chance.below(2) === 1);
      const bytes = withSectors(file.durable, file, survivors);
      file.bytes = bytes;
      file.durable = bytes.slice();
      file.dirty.clear();
    }
    this.#names = names;
    this.#durableNames = new Map(names);
    this.#nameChanges = [];
    this.#waiting = [];
    this.#lastUs = 0;
  }

  /** Turns one bit of what is stored. False when nothing is. */
  rot(): boolean {
    const files = [...this.#names].filter(([, file]) => file.durable.length > 0);
    if (files.length === 0) return false;
    const chance = this.#host.random('disk/rot');
    files.sort(([a], [b]) => (a < b ? -1 : 1));
    const [name, file] = files[chance.below(files.length)] as [string, SimFile];
    this.flip(name, chance.below(file.durable.length), 1 << chance.below(8));
    return true;
  }

  /** Turns these bits of one stored byte, for reads too. */
  flip(name: string, at: number, bits: number): void {
    const file = this.#names.get(name);
    assert(file !== undefined && at < file.durable.length, `${name} holds a byte at ${at}`);
    file.durable[at] = (file.durable[at] ?? 0) ^ bits;
    if (at < file.bytes.length) file.bytes[at] = (file.bytes[at] ?? 0) ^ bits;
  }

  stall(by: 1 | -1): void {
    this.stalled += by;
    if (this.stalled > 0) return;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** For the trace hash and for tests: what a power loss now would certainly leave. */
  durableState(): Record<string, Uint8Array> {
    const entries = [...this.#durableNames].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([name, file]) => [name, file.durable]));
  }

  // -------------------------------------------------------------------------------------------------

  #open(name: string): SimFile {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const file = { bytes: new Uint8Array(), durable: new Uint8Array(), dirty: new Set<number>() };
    this.#change({ op: 'create', name, file });
    return file;
  }

  #put(file: SimFile, offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    if (end > file.bytes.length) file.bytes = grown(file.bytes, end);
    file.bytes.set(bytes, offset);
    for (let at = offset; at < end; at += SECTOR_BYTES) file.dirty.add(sectorOf(at));
    if (bytes.length > 0) file.dirty.add(sectorOf(end - 1));
  }

  /** A sector of this file or another one, but not the right one. */
  #elsewhere(name: string, offset: number): { readonly name: string; readonly offset: number } {
    this.misdirected -= 1;
    const chance = this.#host.random('disk/misdirected');
    const files = [...this.#names].sort(([a], [b]) => (a < b ? -1 : 1));
    const places = files.flatMap(([other, { bytes }]) =>
      Array.from({ length: sectorOf(bytes.length) + 1 }, (_, sector) => ({
        name: other,
        offset: sector * SECTOR_BYTES,
      })),
    );
    const wrong = places.filter((place) => place.name !== name || place.offset !== offset);
    return (
      wrong[chance.below(Math.max(1, wrong.length))] ?? { name, offset: offset + SECTOR_BYTES }
    );
  }

  #change(change: NameChange): void {
    apply(this.#names, change);
    this.#nameChanges.push(change);
  }

  /** The work happens when it completes: until then a crash leaves nothing of it. */
  #ask<T>(what: DiskWork, name: string, done: Completion<T>, work: () => Outcome<T>): void {
    const host = this.#host;
    this.#latency ??= host.random('disk');
    const latencyUs = this.#latency.between(this.plan.latencyMinUs, this.plan.latencyMaxUs);
    this.#lastUs = Math.max(this.#lastUs, host.world.nowUs + latencyUs);
    const { incarnation } = host;
    this.#schedule(this.#lastUs, { what, name, done, work, incarnation } as Asked<unknown>);
  }

  #schedule(atUs: number, asked: Asked<unknown>): void {
    const { what, name, incarnation } = asked;
    const host = this.#host;
    if (host.incarnation !== incarnation) return;
    host.world.schedule(atUs, what, host.name, name, this.#completed, host, incarnation, asked);
  }

  readonly #completed = ({ context }: SimEvent): void => {
    const asked = context as Asked<unknown>;
    if (this.stalled > 0) {
      this.#waiting.push(() => this.#schedule(this.#host.world.nowUs, asked));
      return;
    }
    asked.done(asked.work());
  };
}

function apply(names: Map<string, SimFile>, change: NameChange): void {
  if (change.op === 'rename') {
    names.delete(change.from);
    names.set(change.to, change.file);
  } else if (change.op === 'create') {
    names.set(change.name, change.file);
  } else {
    names.delete(change.name);
  }
}

/** In place, where the length stays: a sync costs what was written, not what the file holds. */
function sync(file: SimFile): void {
  const { bytes, durable, dirty } = file;
  if (durable.length !== bytes.length) {
    file.durable = withSectors(durable, file, dirty);
    return;
  }
  for (const sector of dirty) {
    const from = sector * SECTOR_BYTES;
    durable.set(bytes.subarray(from, from + SECTOR_BYTES), from);
  }
}

/** `durable` after some sectors of the file reached it: those that were not written stay as they were. */
function withSectors(
  durable: Uint8Array,
  { bytes }: SimFile,
  sectors: Iterable<number>,
): Uint8Array<ArrayBuffer> {
  let end = Math.min(durable.length, bytes.length);
  const reached = [...sectors];
  for (const sector of reached) {
    end = Math.max(end, Math.min(bytes.length, (sector + 1) * SECTOR_BYTES));
  }
  const after = grown(durable.subarray(0, end), end);
  for (const sector of reached) {
    const from = sector * SECTOR_BYTES;
    after.set(bytes.subarray(from, from + SECTOR_BYTES), from);
  }
  return after;
}

function sectorOf(offset: number): number {
  return Math.floor(offset / SECTOR_BYTES);
}

function grown(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(length);
  longer.set(bytes);
  return longer;
}

function storageError(errno: string, message: string): DwcpError {
  const hint = 'This is a simulated disk: the fault plan says why.';
  return new DwcpError('ERR_DWCP_STORAGE', message, { errno, hint });
}
