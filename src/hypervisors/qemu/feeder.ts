/**
 * The destination's end of a QEMU stream whose pages travel apart: they land in staging, and the waiting
 * QEMU is fed from there (`protocols/qemu/feeding.ts` says when). A stream that its source passes through
 * whole is given to QEMU as it comes.
 */
import {
  createRegion,
  type NativeQemuTarget,
  type NativeRegion,
  openQemuTarget,
  pageKernels,
  type QemuTargetEvent,
} from '../../native.ts';
import type { IncomingOptions } from '../../ports/hypervisor.ts';
import type { ByteReceiveEvent, ByteReceiver, PageReceiver } from '../../ports/transport.ts';
import { Feeding, type PagesToFeed } from '../../protocols/qemu/feeding.ts';
import { encodeReport, encodeReturn } from '../../protocols/qemu/return-frames.ts';
import { pagesTransferId, stagingBytes } from '../../protocols/qemu/staging.ts';
import { DwcpError } from '../../util/errors.ts';
import { WINDOW_BYTES } from './carrier.ts';
import { PAGE_BYTES } from './memory.ts';

const NEVER = 0xffffffffffffffffn;
/** Of the first round, which may take minutes. */
const LOOK_EVERY_MS = 250;

export interface FeederOptions {
  readonly incoming: IncomingOptions;
  /** Where QEMU waits. */
  readonly qemuPath: string;
  readonly onEvent: (event: ByteReceiveEvent) => void;
}

export class QemuFeeder {
  readonly #options: FeederOptions;
  readonly #staging: NativeRegion;
  readonly #fed: BigUint64Array;
  readonly #target: NativeQemuTarget;
  readonly #pages: PageReceiver;
  readonly #control: ByteReceiver;
  #feeding: Feeding | null = null;
  /** What the source sends: its stream as it is, or pages apart from the rest; null until its head is read. */
  #form: 'whole' | 'pages' | null = null;
  /** QEMU may answer before the head's news is here: at most its first words. */
  #unsaid: Uint8Array[] = [];
  #rounds = 0;
  #looks: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(options: FeederOptions) {
    this.#options = options;
    const { link, transferId, epoch, description } = options.incoming;
    const sizeBytes = stagingBytes(description.memoryBytes);
    this.#staging = createRegion({ name: 'dwcp-qemu-staging', sizeBytes, hugePages: false });
    this.#fed = new BigUint64Array(sizeBytes / PAGE_BYTES).fill(NEVER);
    const listenPath = `${options.qemuPath}.c`;
    const { qemuPath } = options;
    this.#target = openQemuTarget(
      { staging: this.#staging, fed: this.#fed, listenPath, qemuPath },
      (event) => this.#happened(event),
    );
    const fail = (error: DwcpError): void => this.#tell({ type: 'failed', error });
    let pages: PageReceiver | null = null;
    try {
      pages = link.receivePages(
        { transferId: pagesTransferId(transferId), epoch, region: this.#staging },
        (event) => fail(event.error),
      );
      this.#pages = pages;
      this.#control = link.receiveBytes(
        { transferId, epoch, connectPath: listenPath, windowBytes: WINDOW_BYTES },
        (event) => this.#tell(event),
      );
    } catch (error) {
      // The source died meanwhile, and its link with it.
      pages?.close();
      this.#target.close();
      this.#staging.close();
      throw error;
    }
  }

  /** Of the return path: goes to the source in the form that it expects. */
  say(bytes: Uint8Array): void {
    if (this.#form === null) this.#unsaid.push(bytes);
    else this.#options.incoming.onReturn(this.#form === 'whole' ? bytes : encodeReturn(bytes));
  }

  /**
   * Of the guest's RAM as it landed, which is QEMU's first block: its digests, by page. A page that QEMU was not given
   * as it landed has one that nothing has.
   */
  landedDigests(pageCount: number): BigUint64Array | null {
    if (this.#feeding === null || (this.#target.counters()?.pages ?? 0) < pageCount) return null;
    const landed = this.#pages.digests(0, pageCount);
    const digests = new BigUint64Array(landed.buffer, landed.byteOffset, pageCount).slice();
    const zero = pageKernels.digestPage(new Uint8Array(PAGE_BYTES), false);
    for (let page = 0; page < pageCount; page += 1) {
      if (digests[page] === NEVER) digests[page] = zero;
      if (this.#fed[page] !== digests[page]) digests[page] = NEVER;
    }
    return digests;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endLooks();
    this.#control.close();
    this.#pages.close();
    this.#target.close();
    this.#staging.close();
  }

  #tell(event: ByteReceiveEvent): void {
    if (!this.#isClosed) this.#options.onEvent(event);
  }

  #happened(event: QemuTargetEvent): void {
    if (this.#isClosed) return;
    try {
      this.#take(event);
    } catch (error) {
      // What landed is noted by the link, and went with it.
      if (!(error instanceof DwcpError)) throw error;
      this.#tell({ type: 'failed', error });
    }
  }

  #take(event: QemuTargetEvent): void {
    switch (event.type) {
      case 'passThrough':
        return this.#isOf('whole');
      case 'pages':
        this.#feeding = new Feeding(this.#target.counters()?.pages ?? 0, zeroDigest());
        this.#looks = setInterval(() => this.#look(), LOOK_EVERY_MS);
        return this.#isOf('pages');
      case 'round':
        this.#endLooks();
        this.#rounds += 1;
        this.#roundEnded();
        return this.#report();
      case 'fed':
        return this.#report();
      case 'ramEnded':
        this.#endLooks();
        return this.#feed((feeding, landed) => feeding.last(landed, words(this.#fed)), true);
      case 'failed': {
        const message = `the stream beside QEMU's pages: ${event.message}`;
        return this.#tell({ type: 'failed', error: new DwcpError('ERR_DWCP_PROTOCOL', message) });
      }
    }
  }

  #isOf(form: 'whole' | 'pages'): void {
    this.#form = form;
    for (const bytes of this.#unsaid.splice(0)) this.say(bytes);
  }

  #look(): void {
    const isFeeding = this.#isFeeding();
    const fed = words(this.#fed);
    this.#feed((feeding, landed) => feeding.meanwhile(landed, fed, isFeeding), false);
  }

  #endLooks(): void {
    if (this.#looks !== null) clearInterval(this.#looks);
    this.#looks = null;
  }

  #roundEnded(): void {
    const isFeeding = this.#isFeeding();
    const fed = words(this.#fed);
    this.#feed((feeding, landed) => feeding.roundEnded(landed, fed, isFeeding), false);
  }

  #isFeeding(): boolean {
    return (this.#target.counters()?.queuedPages ?? 0) > 0;
  }

  #feed(choose: (feeding: Feeding, landed: Uint32Array) => PagesToFeed, isLast: boolean): void {
    if (this.#feeding === null) return;
    const { pages, zeros } = choose(this.#feeding, this.#landed());
    if (isLast || pages.length + zeros.length > 0) this.#target.feed(pages, zeros, isLast);
  }

  #landed(): Uint32Array {
    const digests = this.#pages.digests(0, this.#target.counters()?.pages ?? 0);
    return words(digests);
  }

  #report(): void {
    const counters = this.#target.counters();
    if (this.#feeding === null || counters === null) return;
    const { pages, zeros } = this.#feeding.last(this.#landed(), words(this.#fed));
    const { fedPages, busyUs } = counters;
    this.#options.incoming.onReturn(
      encodeReport({
        round: this.#rounds,
        // A zero page is 9 bytes to QEMU, and a look at one of its own.
        unfedPages: pages.length + Math.ceil(zeros.length / 64),
        loadBytesPerSec: busyUs > 0 ? (fedPages * PAGE_BYTES * 1e6) / busyUs : 0,
      }),
    );
  }
}

function words(digests: BigUint64Array | Uint8Array): Uint32Array {
  return new Uint32Array(digests.buffer, digests.byteOffset, digests.byteLength / 4);
}

function zeroDigest(): readonly [number, number] {
  const digest = pageKernels.digestPage(new Uint8Array(PAGE_BYTES), false);
  return [Number(digest & 0xffffffffn), Number(digest >> 32n)];
}
