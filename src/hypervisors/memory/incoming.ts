/** The destination's end: an empty guest process whose memory the link's pages land in. */
import { digestPages, hashPages, type NativeRegion } from '../../native.ts';
import type {
  Guest,
  GuestReference,
  IncomingEndpoint,
  IncomingGuest,
  IncomingOptions,
} from '../../ports/hypervisor.ts';
import { PAGE_DIGEST_BYTES } from '../../ports/memory.ts';
import type { PageReceiver } from '../../ports/transport.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { guestError } from '../../util/promised.ts';
import type { MemoryGuest } from './guest.ts';
import { mapGuestMemory, PAGE_BYTES } from './memory.ts';

export interface MemoryIncomingOptions extends IncomingOptions {
  /** An earlier agent, or link, has filled some of its memory already. */
  readonly isResumed: boolean;
}

export function openMemoryIncoming(
  guest: MemoryGuest,
  options: MemoryIncomingOptions,
  done: Completion<IncomingGuest>,
): void {
  let outcome: Outcome<IncomingGuest>;
  try {
    outcome = succeeded(new MemoryIncoming(guest, options));
  } catch (error) {
    outcome = failed(guestError(error));
  }
  setImmediate(() => done(outcome));
}

/** Of a page that never landed over this link; see `native/engine/transfer.h`. */
const NEVER_LANDED = 0xff;

class MemoryIncoming implements IncomingGuest {
  readonly endpoint: IncomingEndpoint = {};
  readonly reference: GuestReference;
  readonly #guest: MemoryGuest;
  readonly #receiver: PageReceiver;
  readonly #closeReceiver: () => void;
  readonly #region: NativeRegion;
  readonly #hasBefore: boolean;
  /** By first page: what was there before anything landed over this link. */
  readonly #before = new Map<number, Uint8Array>();
  #isResumed = false;

  constructor(guest: MemoryGuest, options: MemoryIncomingOptions) {
    this.#guest = guest;
    this.reference = guest.reference;
    const region = mapGuestMemory(guest.process);
    this.#region = region;
    this.#hasBefore = options.isResumed;
    let isOpen = true;
    this.#receiver = options.link.receivePages(
      { transferId: options.transferId, epoch: options.epoch, region },
      (event) => {
        if (!this.#isResumed && isOpen) options.onFailure(event.error);
      },
    );
    this.#closeReceiver = () => {
      if (!isOpen) return;
      isOpen = false;
      this.#receiver.close();
      region.close();
    };
    // What landed stays comparable after the resume, until the guest is let go of.
    guest.onDetach(this.#closeReceiver);
  }

  /** Every chunk was acknowledged before the session asks, and acknowledged means landed. */
  loaded(done: Completion<void>): void {
    setImmediate(() => done(succeeded(undefined)));
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const digests = this.#landed(firstPage, pageCount);
    setImmediate(() => done(digests));
    const isLast = (firstPage + pageCount) * PAGE_BYTES >= this.#guest.description.memoryBytes;
    if (isLast && this.#isResumed) this.#closeReceiver();
  }

  held(firstPage: number, pageCount: number, key: Uint8Array, done: Completion<Uint8Array>): void {
    let hashed: Outcome<Uint8Array>;
    try {
      const region = this.#region;
      if (this.#hasBefore) this.#before.set(firstPage, digestPages(region, firstPage, pageCount));
      hashed = succeeded(hashPages({ region, firstPage, key }, pageCount));
    } catch (error) {
      hashed = failed(guestError(error));
    }
    setImmediate(() => done(hashed));
  }

  suspend(done: Completion<Guest>): void {
    this.#closeReceiver();
    setImmediate(() => done(succeeded(this.#guest)));
  }

  /** What landed is noted by the link: with it, the notes are gone. */
  #landed(firstPage: number, pageCount: number): Outcome<Uint8Array> {
    try {
      const digests = this.#receiver.digests(firstPage, pageCount);
      for (const [first, before] of this.#before) fillIn(digests, firstPage, before, first);
      return succeeded(digests);
    } catch (cause) {
      return failed(
        new DwcpError('ERR_DWCP_VERIFY_FAILED', 'the notes of what landed went with the link', {
          hint: 'The guest runs here; only the comparison is missing.',
          cause,
        }),
      );
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

/** Gives the pages that never landed over this link the digest that they had before it. */
function fillIn(
  digests: Uint8Array,
  firstPage: number,
  before: Uint8Array,
  firstBefore: number,
): void {
  const shift = (firstPage - firstBefore) * PAGE_DIGEST_BYTES;
  if (shift >= before.length || shift + digests.length <= 0) return;
  for (let at = 0; at < digests.length; at += PAGE_DIGEST_BYTES) {
    const from = at + shift;
    if (from < 0 || from >= before.length) continue;
    const digest = digests.subarray(at, at + PAGE_DIGEST_BYTES);
    if (digest.every((byte) => byte === NEVER_LANDED)) {
      digests.set(before.subarray(from, from + PAGE_DIGEST_BYTES), at);
    }
  }
}
