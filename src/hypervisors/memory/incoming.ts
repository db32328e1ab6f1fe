/** The destination's end: an empty guest process whose memory the link's pages land in. */
import type {
  Guest,
  GuestReference,
  IncomingEndpoint,
  IncomingGuest,
  IncomingOptions,
} from '../../ports/hypervisor.ts';
import type { PageReceiver } from '../../ports/transport.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import type { MemoryGuest } from './guest.ts';
import { mapGuestMemory, PAGE_BYTES } from './memory.ts';

export class MemoryIncoming implements IncomingGuest {
  readonly endpoint: IncomingEndpoint = {};
  readonly reference: GuestReference;
  readonly #guest: MemoryGuest;
  readonly #receiver: PageReceiver;
  readonly #closeReceiver: () => void;
  #isResumed = false;

  constructor(guest: MemoryGuest, options: IncomingOptions) {
    this.#guest = guest;
    this.reference = guest.reference;
    const region = mapGuestMemory(guest.process);
    this.#receiver = options.link.receivePages(
      { transferId: options.transferId, epoch: options.epoch, region },
      (event) => {
        if (!this.#isResumed) options.onFailure(event.error);
      },
    );
    let isOpen = true;
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

  /** What landed is noted by the link: with it, the notes are gone. */
  #landed(firstPage: number, pageCount: number): Outcome<Uint8Array> {
    try {
      return succeeded(this.#receiver.digests(firstPage, pageCount));
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
