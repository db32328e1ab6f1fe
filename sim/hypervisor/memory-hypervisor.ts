/**
 * The Hypervisor port over simulated memory guests: the same steps in the same order as
 * `src/hypervisors/memory/`, each after a time that is drawn.
 */
import type {
  Guest,
  GuestDescription,
  GuestKind,
  GuestReference,
  GuestState,
  Hypervisor,
  IncomingGuest,
  IncomingOptions,
  OutgoingMigration,
  OutgoingOptions,
  PreflightOptions,
  RoundReport,
  TransferProgress,
  WorkloadReport,
} from '../../src/ports/hypervisor.ts';
import { PAGE_DIGEST_BYTES, PAGE_HASH_BYTES, PAGE_HASH_KEY_BYTES } from '../../src/ports/memory.ts';
import type { PageReceiver, PageSender, SendEvent } from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';
import type { GuestProcess } from './guest-process.ts';
import { gone, type HostGuests } from './host-guests.ts';
import { PAGE_BYTES, SimPageSet, SimRegion } from './memory.ts';

export class MemoryHypervisorModel implements Hypervisor {
  readonly kind = 'memory';
  readonly #guests: HostGuests;

  constructor(guests: HostGuests) {
    this.#guests = guests;
  }

  adopt(reference: GuestReference, done: Completion<Guest>): void {
    this.#guests.answer(done, () => {
      const process = this.#guests.find(reference);
      if (process === null) return failed(gone(reference.name));
      return succeeded(new MemoryGuestModel(this.#guests, process));
    });
  }

  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    const { description, epoch } = options;
    const { name: vm, memoryBytes } = description;
    this.#guests.afterStart(() => {
      const pageCount = memoryBytes / PAGE_BYTES;
      const process = this.#guests.start({ kind: 'memory', vm, pageCount, epoch });
      try {
        done(succeeded(new Incoming(new MemoryGuestModel(this.#guests, process), options, false)));
      } catch (error) {
        process.kill();
        if (!(error instanceof DwcpError)) throw error;
        done(failed(error));
      }
    });
  }

  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void {
    removeOrphans(this.#guests, this.kind, keep, done);
  }
}

/** Kills what earlier attempts left behind; what is in `keep` stays. */
export function removeOrphans(
  guests: HostGuests,
  kind: GuestKind,
  keep: ReadonlySet<string>,
  done: Completion<readonly string[]>,
): void {
  guests.answer(done, () => {
    const orphans = [...guests.processes].filter(
      ([path, process]) => process.kind === kind && process.isAlive && !keep.has(path),
    );
    for (const [, process] of orphans) process.kill();
    return succeeded(orphans.map(([path]) => path));
  });
}

export class MemoryGuestModel implements Guest {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  readonly process: GuestProcess;
  readonly guests: HostGuests;
  #isKilled = false;
  #isDetached = false;
  readonly #cleanUps: (() => void)[] = [];

  constructor(guests: HostGuests, process: GuestProcess) {
    this.guests = guests;
    this.process = process;
    this.reference = process.reference;
    this.description = {
      ...{ kind: 'memory', name: process.vm, pageBytes: PAGE_BYTES },
      memoryBytes: process.memory.pageCount * PAGE_BYTES,
      ...{ machine: { architecture: 'simulated' }, launch: {} },
    };
  }

  onExit(listener: (error: DwcpError | null) => void): void {
    const exited = (): void => {
      if (this.#isDetached && !this.#isKilled) return;
      listener(this.#isKilled ? null : gone(this.process.vm));
    };
    this.process.whenExited(() => this.guests.later([50, 3_000], exited));
  }

  onDetach(cleanUp: () => void): void {
    this.#cleanUps.push(cleanUp);
  }

  state(done: Completion<GuestState>): void {
    this.#ask(done, () => {
      if (this.process.isFrozen) return 'fenced';
      return this.process.runs ? 'running' : 'paused';
    });
  }

  workload(done: Completion<WorkloadReport | null>): void {
    this.#ask(done, () => {
      if (this.process.isFrozen) return null;
      this.process.catchUp();
      return {
        ...{ operations: this.process.counter, longestGapMs: 0, invariantHeld: true },
        ...{ dirtyBytesPerSec: 0, askedDirtyBytesPerSec: 0 },
      };
    });
  }

  /** Between two operations; it goes on writing until it heard of it. */
  pause(done: Completion<void>): void {
    this.guests.later([30, 2_000], () => {
      this.process.setRunning(false);
      this.#ask(done, () => undefined);
    });
  }

  preflight(_options: PreflightOptions, done: Completion<void>): void {
    this.guests.answer(done, () => succeeded(undefined));
  }

  unfence(done: Completion<void>): void {
    this.process.thaw();
    this.#ask(done, () => this.process.setRunning(true));
  }

  openOutgoing(options: OutgoingOptions, done: Completion<OutgoingMigration>): void {
    this.guests.answer(done, () => {
      if (!this.process.isAlive) return failed(gone(this.process.vm));
      return attempt(() => new Outgoing(this, options));
    });
  }

  resumeIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    this.guests.answer(done, () => {
      if (!this.process.isAlive) return failed(gone(this.process.vm));
      return attempt(() => new Incoming(this, options, true));
    });
  }

  kill(done: Completion<void>): void {
    this.#isKilled = true;
    this.guests.kill(this.process, (outcome) => {
      this.detach();
      done(outcome);
    });
  }

  detach(): void {
    this.#isDetached = true;
    for (const cleanUp of this.#cleanUps.splice(0)) cleanUp();
  }

  #ask<T>(done: Completion<T>, work: () => T): void {
    this.guests.answer(done, () =>
      this.process.isAlive ? succeeded(work()) : failed(gone(this.process.vm)),
    );
  }
}

interface Round {
  readonly done: Completion<RoundReport>;
  readonly sentPages: number;
  readonly startedUs: number;
  readonly isLast: boolean;
}

class Outgoing implements OutgoingMigration {
  readonly holdKey: Uint8Array = new Uint8Array(PAGE_HASH_KEY_BYTES);
  readonly #guest: MemoryGuestModel;
  readonly #dirty: SimPageSet;
  readonly #sender: PageSender;
  readonly #onFailure: (error: DwcpError) => void;
  #round: Round | null = null;
  #dirtyBytesPerSec = 0;
  #isScanned = false;
  #isClosed = false;

  constructor(guest: MemoryGuestModel, options: OutgoingOptions) {
    this.#guest = guest;
    this.#onFailure = options.onFailure;
    const { process } = guest;
    const { memory } = process;
    memory.trackAnew();
    this.#dirty = new SimPageSet(memory.pageCount);
    const { transferId, epoch } = options;
    const region = new SimRegion(memory, () => process.catchUp());
    this.#sender = options.link.sendPages({ transferId, epoch, region }, (event) =>
      this.#sent(event),
    );
  }

  held(firstPage: number, hashes: Uint8Array, done: Completion<number>): void {
    const { guests, process } = this.#guest;
    guests.answer(done, () => {
      if (!process.isAlive || this.#isClosed) return failed(gone(process.vm));
      if (!this.#isScanned) this.#scan();
      this.#isScanned = true;
      return succeeded(this.#removeEqual(firstPage, hashes));
    });
  }

  #removeEqual(firstPage: number, hashes: Uint8Array): number {
    const { memory } = this.#guest.process;
    const count = hashes.length / PAGE_HASH_BYTES;
    const own = memory.hashes(firstPage, count);
    let equal = 0;
    for (let index = 0; index < count; index += 1) {
      const page = firstPage + index;
      const at = index * PAGE_HASH_BYTES;
      const isEqual = own
        .subarray(at, at + PAGE_HASH_BYTES)
        .every((byte, offset) => byte === hashes[at + offset]);
      const { guests, process } = this.#guest;
      if (!isEqual) guests.world.missing(process, page);
      if (!isEqual || !this.#dirty.pages.delete(page)) continue;
      guests.world.held(process, page);
      equal += 1;
    }
    return equal;
  }

  round(done: Completion<RoundReport>): void {
    this.#send(done, false);
  }

  throttle(_percent: number, done: Completion<void>): void {
    const what = 'a memory guest cannot be slowed down';
    this.#guest.guests.answer(done, () => failed(new DwcpError('ERR_DWCP_UNSUPPORTED', what)));
  }

  stopAndCopy(done: Completion<RoundReport>): void {
    const { guests, process } = this.#guest;
    this.#guest.pause((paused) => {
      if (!paused.ok) return done(paused);
      guests.freeze(process, (frozen) => {
        if (!frozen.ok) return done(frozen);
        this.#send(done, true);
      });
    });
  }

  fence(done: Completion<void>): void {
    const { guests, process } = this.#guest;
    const message = `"${process.vm}" is not stopped`;
    guests.answer(done, () =>
      process.isFrozen && process.isAlive
        ? succeeded(undefined)
        : failed(new DwcpError('ERR_DWCP_GUEST_STATE', message)),
    );
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const { guests, process } = this.#guest;
    guests.answer(done, () => succeeded(process.memory.digests(firstPage, pageCount)));
  }

  progress(): TransferProgress {
    const { pendingPages, ...counters } = this.#sender.counters();
    return {
      ...counters,
      remainingBytes: pendingPages * PAGE_BYTES,
      dirtyBytesPerSec: this.#dirtyBytesPerSec,
    };
  }

  abort(done: Completion<void>): void {
    this.#close();
    this.#guest.unfence(done);
  }

  release(done: Completion<void>): void {
    this.#close();
    this.#guest.kill(done);
  }

  writeReturn(): void {
    throw new DwcpError('ERR_DWCP_PROTOCOL', 'a memory guest has no return path');
  }

  #send(done: Completion<RoundReport>, isLast: boolean): void {
    assert(this.#round === null, 'one round at a time');
    if (!this.#guest.process.isAlive) {
      return this.#guest.guests.answer(done, () => failed(gone(this.#guest.process.vm)));
    }
    this.#scan();
    const startedUs = this.#nowUs();
    this.#round = { done, sentPages: this.#dirty.size(), startedUs, isLast };
    this.#sender.send(this.#dirty);
    this.#dirty.clear();
  }

  #sent(event: SendEvent): void {
    if (event.type === 'failed') return this.#failed(event.error);
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    const elapsedUs = Math.max(1, this.#nowUs() - round.startedUs);
    if (!round.isLast) {
      if (!this.#guest.process.isAlive) return round.done(failed(gone(this.#guest.process.vm)));
      this.#scan();
    }
    const remainingBytes = this.#dirty.size() * PAGE_BYTES;
    if (!round.isLast) this.#dirtyBytesPerSec = Math.round((remainingBytes / elapsedUs) * 1e6);
    const { sentPages, isLast: stopped } = round;
    round.done(succeeded({ sentPages, remainingBytes, elapsedUs, stopped }));
  }

  /** Scans and protects first; what is written while the pages are read is in the next scan. */
  #scan(): void {
    const { process } = this.#guest;
    process.catchUp();
    process.memory.scan(this.#dirty);
  }

  #failed(error: DwcpError): void {
    const round = this.#round;
    this.#round = null;
    if (round !== null) return round.done(failed(error));
    if (!this.#isClosed) this.#onFailure(error);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#sender.close();
  }

  #nowUs(): number {
    return this.#guest.guests.host.clock.nowUs();
  }
}

class Incoming implements IncomingGuest {
  /** What was there before anything landed over this link; null when nothing was. */
  readonly #before: Map<number, Uint8Array> | null;
  readonly endpoint = {};
  readonly reference: GuestReference;
  readonly #guest: MemoryGuestModel;
  readonly #receiver: PageReceiver;
  readonly #closeReceiver: () => void;
  #isResumed = false;

  constructor(guest: MemoryGuestModel, options: IncomingOptions, isResumed: boolean) {
    this.#guest = guest;
    this.#before = isResumed ? new Map() : null;
    this.reference = guest.reference;
    const { transferId, epoch, link } = options;
    const region = new SimRegion(guest.process.memory);
    let isOpen = true;
    this.#receiver = link.receivePages({ transferId, epoch, region }, (event) => {
      if (!this.#isResumed && isOpen) options.onFailure(event.error);
    });
    this.#closeReceiver = () => {
      if (!isOpen) return;
      isOpen = false;
      this.#receiver.close();
    };
    guest.onDetach(this.#closeReceiver);
  }

  loaded(done: Completion<void>): void {
    this.#guest.guests.answer(done, () => succeeded(undefined));
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const digests = this.#landed(firstPage, pageCount);
    this.#guest.guests.answer(done, () => digests);
    const isLast = (firstPage + pageCount) * PAGE_BYTES >= this.#guest.description.memoryBytes;
    if (isLast && this.#isResumed) this.#closeReceiver();
  }

  held(firstPage: number, pageCount: number, _key: Uint8Array, done: Completion<Uint8Array>): void {
    const { guests, process } = this.#guest;
    guests.answer(done, () => {
      if (!process.isAlive) return failed(gone(process.vm));
      for (let page = firstPage; page < firstPage + pageCount; page += 1) {
        this.#before?.set(page, process.memory.digests(page, 1));
      }
      return succeeded(guests.world.hashes(process, firstPage, pageCount));
    });
  }

  suspend(done: Completion<Guest>): void {
    this.#closeReceiver();
    this.#guest.guests.answer(done, () => succeeded(this.#guest));
  }

  #landed(firstPage: number, pageCount: number): Outcome<Uint8Array> {
    try {
      const digests = this.#receiver.digests(firstPage, pageCount);
      for (const [page, before] of this.#before ?? []) {
        const at = (page - firstPage) * PAGE_DIGEST_BYTES;
        if (at < 0 || at >= digests.length) continue;
        const digest = digests.subarray(at, at + PAGE_DIGEST_BYTES);
        if (digest.every((byte) => byte === 0xff)) digests.set(before, at);
      }
      return succeeded(digests);
    } catch (cause) {
      const message = 'the notes of what landed went with the link';
      return failed(new DwcpError('ERR_DWCP_VERIFY_FAILED', message, { cause }));
    }
  }

  resume(done: Completion<Guest>): void {
    this.#isResumed = true;
    this.#guest.unfence((outcome) => done(outcome.ok ? succeeded(this.#guest) : outcome));
  }

  discard(done: Completion<void>): void {
    this.#guest.kill(done);
  }
}

function attempt<T>(run: () => T): Outcome<T> {
  try {
    return succeeded(run());
  } catch (error) {
    if (!(error instanceof DwcpError)) throw error;
    return failed(error);
  }
}
