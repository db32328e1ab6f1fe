/**
 * The source's end of moving a memory guest: scan and protect, send, and at the end park the workload,
 * freeze the process, and scan once more.
 */
import { randomBytes } from 'node:crypto';
import {
  createPageSet,
  createTracker,
  digestPages,
  type NativeRegion,
  removeEqualPages,
} from '../../native.ts';
import type {
  GuestReference,
  OutgoingMigration,
  OutgoingOptions,
  RoundReport,
  TransferProgress,
} from '../../ports/hypervisor.ts';
import { type DirtyTracker, PAGE_HASH_KEY_BYTES, type PageSet } from '../../ports/memory.ts';
import type { PageSender, SendEvent } from '../../ports/transport.ts';
import { assert } from '../../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { guestError } from '../../util/promised.ts';
import * as fence from '../process-fence.ts';
import type { GuestProcess } from './control.ts';
import { mapGuestMemory, PAGE_BYTES } from './memory.ts';

/** What moving asks of the guest it moves. */
export interface MovableGuest {
  readonly reference: GuestReference;
  readonly process: GuestProcess;
  /** Parks the workload between two operations. */
  pause(done: Completion<void>): void;
  unfence(done: Completion<void>): void;
  kill(done: Completion<void>): void;
}

export function openMemoryOutgoing(
  guest: MovableGuest,
  options: OutgoingOptions,
  done: Completion<OutgoingMigration>,
): void {
  let outcome: Outcome<OutgoingMigration>;
  try {
    outcome = succeeded(new MemoryOutgoing(guest, options));
  } catch (error) {
    outcome = failed(guestError(error));
  }
  setImmediate(() => done(outcome));
}

interface Round {
  readonly done: Completion<RoundReport>;
  readonly sentPages: number;
  readonly startedUs: number;
  readonly isLast: boolean;
}

class MemoryOutgoing implements OutgoingMigration {
  readonly holdKey: Uint8Array = randomBytes(PAGE_HASH_KEY_BYTES);
  readonly #guest: MovableGuest;
  readonly #region: NativeRegion;
  readonly #tracker: DirtyTracker;
  readonly #dirty: PageSet;
  readonly #sender: PageSender;
  readonly #onFailure: (error: DwcpError) => void;
  #round: Round | null = null;
  #dirtyBytesPerSec = 0;
  #isScanned = false;
  #isClosed = false;

  constructor(guest: MovableGuest, options: OutgoingOptions) {
    this.#guest = guest;
    this.#onFailure = options.onFailure;
    const { pid, address, sizeBytes } = guest.process;
    this.#region = mapGuestMemory(guest.process);
    this.#tracker = createTracker({
      backend: 'auto',
      pid,
      address: BigInt(address),
      region: this.#region,
    });
    this.#dirty = createPageSet(sizeBytes / PAGE_BYTES);
    const { transferId, epoch, profile } = options;
    this.#sender = options.link.sendPages(
      { transferId, epoch, profile, region: this.#region },
      (event) => this.#sent(event),
    );
  }

  /** Scanned and protected first: what is written behind the comparison is in the next scan. */
  held(firstPage: number, hashes: Uint8Array, done: Completion<number>): void {
    const compared = attempt(() => {
      if (this.#isClosed) throw aborted(this.#guest.reference.name);
      if (!this.#isScanned) this.#tracker.scan(this.#dirty);
      this.#isScanned = true;
      const pages = { region: this.#region, firstPage, key: this.holdKey };
      return removeEqualPages(pages, hashes, this.#dirty);
    });
    setImmediate(() => done(compared));
  }

  round(done: Completion<RoundReport>): void {
    this.#send(done, false);
  }

  /** Its writers keep the rate they were started with. */
  throttle(_percent: number, done: Completion<void>): void {
    const what = 'a memory guest cannot be slowed down';
    setImmediate(() => done(failed(new DwcpError('ERR_DWCP_UNSUPPORTED', what))));
  }

  stopAndCopy(done: Completion<RoundReport>): void {
    this.#guest.pause((paused) => {
      if (!paused.ok) return done(paused);
      // Aborted meanwhile: a freeze now would stop a guest that runs again, and nobody would thaw it.
      if (this.#isClosed) return done(failed(aborted(this.#guest.reference.name)));
      fence.freeze(this.#guest.reference, (frozen) => {
        if (!frozen.ok) return done(frozen);
        if (this.#isClosed) return done(failed(aborted(this.#guest.reference.name)));
        this.#send(done, true);
      });
    });
  }

  fence(done: Completion<void>): void {
    const isStopped = fence.allThreadsStopped(this.#guest.reference);
    const { name } = this.#guest.reference;
    setImmediate(() =>
      done(
        isStopped
          ? succeeded(undefined)
          : failed(new DwcpError('ERR_DWCP_GUEST_STATE', `"${name}" is not stopped`)),
      ),
    );
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    setImmediate(() => done(attempt(() => digestPages(this.#region, firstPage, pageCount))));
  }

  progress(): TransferProgress {
    const counters = this.#sender.counters();
    return {
      zeroPages: counters.zeroPages,
      duplicatePages: counters.duplicatePages,
      deltaPages: counters.deltaPages,
      compressedPages: counters.compressedPages,
      rawPages: counters.rawPages,
      rawBytes: counters.rawBytes,
      wireBytes: counters.wireBytes,
      ackedBytes: counters.ackedBytes,
      remainingBytes: counters.pendingPages * PAGE_BYTES,
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
    const startedUs = nowUs();
    const scanned = this.#scan();
    if (!scanned.ok) {
      setImmediate(() => done(scanned));
      return;
    }
    this.#round = { done, sentPages: this.#dirty.size(), startedUs, isLast };
    this.#sender.send(this.#dirty);
    this.#dirty.clear();
  }

  #sent(event: SendEvent): void {
    if (event.type === 'failed') return this.#failed(event.error);
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    const elapsedUs = Math.max(1, Math.round(nowUs() - round.startedUs));
    if (!round.isLast) {
      const scanned = this.#scan();
      if (!scanned.ok) return round.done(scanned);
    }
    const remainingBytes = this.#dirty.size() * PAGE_BYTES;
    if (!round.isLast) this.#dirtyBytesPerSec = Math.round((remainingBytes / elapsedUs) * 1e6);
    round.done(
      succeeded({ sentPages: round.sentPages, remainingBytes, elapsedUs, stopped: round.isLast }),
    );
  }

  #scan(): Outcome<void> {
    return attempt(() => void this.#tracker.scan(this.#dirty));
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
    this.#tracker.close();
    this.#region.close();
  }
}

function attempt<T>(run: () => T): Outcome<T> {
  try {
    return succeeded(run());
  } catch (error) {
    return failed(guestError(error));
  }
}

function aborted(name: string): DwcpError {
  return new DwcpError('ERR_DWCP_CANCELLED', `the move of "${name}" was aborted`);
}

function nowUs(): number {
  return performance.now() * 1000;
}
