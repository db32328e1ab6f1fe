/**
 * QEMU's stream taken apart: its pages go into a shadow of its RAM and from there as any guest's pages do,
 * all else goes in order beside them. A page that QEMU writes again before it was sent is sent once.
 */
import {
  createPageSet,
  createRegion,
  type NativePageSet,
  type NativeQemuSource,
  type NativeRegion,
  openQemuSource,
  type QemuSourceEvent,
} from '../../native.ts';
import type { ByteSender, PageSender, SendEvent } from '../../ports/transport.ts';
import { Load } from '../../protocols/qemu/load.ts';
import { ReturnFrames } from '../../protocols/qemu/return-frames.ts';
import { pagesTransferId, stagingBytes } from '../../protocols/qemu/staging.ts';
import { DwcpError } from '../../util/errors.ts';
import { type Carried, type Carrier, type CarrierOptions, WINDOW_BYTES } from './carrier.ts';
import { PAGE_BYTES } from './memory.ts';

/** May wait here: what a round brings is sent before the next, so that none of it is there when the guest stops. */
const BACKLOG_BYTES = 8 * 2 ** 20;
/** What is on its way is in them until it is acknowledged: enough of them for a long way. */
const BATCHES_MAX = 8;
/** Fewer wait for company while others are under way: pages that are encoded together take fewer bytes. */
const BATCH_PAGES_MIN = 256;
/** A report that does not come is not waited for any longer: what is known bounds it. */
const SILENT_MS = 2_000;

export class PageCarrier implements Carrier {
  readonly #shadow: NativeRegion;
  readonly #dirty: NativePageSet;
  readonly #pages: PageSender;
  readonly #control: ByteSender;
  readonly #source: NativeQemuSource;
  readonly #onFailure: (error: DwcpError) => void;
  readonly #load = new Load();
  readonly #returned = new ReturnFrames();
  #isWhole = false;
  #batches = 0;
  #ramEnded = false;
  #stillZeroPages = 0;
  #onLoadKnown: (() => void) | null = null;
  #onCarried: (() => void) | null = null;
  #isClosed = false;

  constructor(options: CarrierOptions, memoryBytes: number) {
    const { link, transferId, epoch, profile, listenPath } = options;
    this.#onFailure = options.onFailure;
    const sizeBytes = stagingBytes(memoryBytes);
    this.#shadow = createRegion({ name: 'dwcp-qemu-shadow', sizeBytes, hugePages: false });
    this.#dirty = createPageSet(sizeBytes / PAGE_BYTES);
    this.#pages = link.sendPages(
      { transferId: pagesTransferId(transferId), epoch, profile, region: this.#shadow },
      (event) => this.#sent(event),
    );
    const controlPath = `${listenPath}.c`;
    let control: ByteSender | null = null;
    try {
      control = link.sendBytes(
        { transferId, epoch, listenPath: controlPath, windowBytes: WINDOW_BYTES },
        (event) => {
          if (event.type === 'failed') this.#failed(event.error);
        },
      );
      this.#control = control;
      this.#source = openQemuSource(
        { shadow: this.#shadow, listenPath, controlPath, backlogBytes: BACKLOG_BYTES },
        (event) => this.#happened(event),
      );
    } catch (error) {
      control?.close();
      this.#pages.close();
      this.#shadow.close();
      throw error;
    }
  }

  counters(): Carried {
    const { pendingPages, ackedBytes, wireBytes, zeroPages, ...pages } = this.#pages.counters();
    const control = this.#control.counters();
    const taken = this.#source.counters();
    this.#stillZeroPages = taken?.stillZeroPages ?? this.#stillZeroPages;
    return {
      pages: this.#isWhole ? null : { ...pages, zeroPages: zeroPages + this.#stillZeroPages },
      wireBytes: wireBytes + control.wireBytes,
      ackedBytes: ackedBytes + control.ackedBytes,
      waitingBytes: (pendingPages + (taken?.dirtyPages ?? 0)) * PAGE_BYTES,
    };
  }

  writeReturn(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#isWhole) return this.#control.writeReturn(bytes);
    try {
      for (const frame of this.#returned.push(bytes)) {
        if (frame.type === 'bytes') this.#control.writeReturn(frame.bytes);
        else this.#load.reported(frame.report);
      }
      if (this.#load.isKnown()) this.#told();
    } catch (error) {
      if (!(error instanceof DwcpError)) throw error;
      this.#failed(error);
    }
  }

  roundEnded(sentPages: number): void {
    if (this.#isWhole) return;
    this.#load.roundEnded(sentPages);
    this.#source.endRound();
  }

  setReading(reading: boolean): void {
    this.#source.setReading(reading);
  }

  whenCarried(done: () => void): void {
    if (this.#isWhole) {
      setImmediate(done);
      return;
    }
    this.#onCarried = done;
    setImmediate(() => this.#pump());
  }

  loadMs(): number {
    return this.#isWhole ? 0 : this.#load.loadMs();
  }

  whenLoadIsKnown(done: () => void): void {
    if (this.#isWhole || this.#load.isKnown()) {
      setImmediate(done);
      return;
    }
    const timer = setTimeout(() => this.#told(), SILENT_MS);
    this.#onLoadKnown = () => {
      clearTimeout(timer);
      done();
    };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#told();
    this.#source.close();
    this.#control.close();
    this.#pages.close();
    this.#shadow.close();
  }

  #happened(event: QemuSourceEvent): void {
    if (this.#isClosed) return;
    if (event.type === 'passThrough') this.#isWhole = true;
    if (event.type === 'failed') {
      const message = `QEMU's stream: ${event.message}`;
      const hint =
        'The guest goes on here; this version of QEMU may have a feature on that dwcp lacks.';
      return this.#failed(new DwcpError('ERR_DWCP_PROTOCOL', message, { hint }));
    }
    if (event.type === 'ramEnded') this.#ramEnded = true;
    this.#pump();
  }

  #sent(event: SendEvent): void {
    if (this.#isClosed) return;
    if (event.type === 'failed') return this.#failed(event.error);
    this.#batches -= 1;
    this.#pump();
  }

  #pump(): void {
    if (this.#isClosed) return;
    const waiting = this.#source.counters()?.dirtyPages ?? 0;
    const isWorth = waiting >= BATCH_PAGES_MIN || this.#batches === 0 || this.#ramEnded;
    if (waiting > 0 && isWorth && this.#batches < BATCHES_MAX) {
      this.#dirty.clear();
      this.#source.takeDirty(this.#dirty);
      this.#batches += 1;
      this.#pages.send(this.#dirty);
    } else if (waiting === 0 && this.#ramEnded && this.#batches === 0) {
      this.#ramEnded = false;
      this.#source.release();
    }
    if (waiting > 0 || this.#batches > 0) return;
    const carried = this.#onCarried;
    this.#onCarried = null;
    carried?.();
  }

  #told(): void {
    const done = this.#onLoadKnown;
    this.#onLoadKnown = null;
    done?.();
  }

  #failed(error: DwcpError): void {
    if (!this.#isClosed) this.#onFailure(error);
  }
}
