/**
 * The destination's end of moving a QEMU guest: an empty twin that loads the carried stream, and whose
 * last word on the return path, "loaded", is kept from the source.
 */
import { digestPages, type NativeRegion } from '../../native.ts';
import type {
  Guest,
  GuestReference,
  IncomingEndpoint,
  IncomingGuest,
  IncomingOptions,
} from '../../ports/hypervisor.ts';
import type { ByteReceiveEvent } from '../../ports/transport.ts';
import { ReturnPath } from '../../protocols/qemu/return-path.ts';
import { stagingBytes } from '../../protocols/qemu/staging.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { complete, promised } from '../../util/promised.ts';
import { POSTCOPY_WINDOW_BYTES, WINDOW_BYTES } from './carrier.ts';
import { QemuFeeder } from './feeder.ts';
import type { QemuGuest } from './guest.ts';
import { lastWords } from './launch.ts';
import { mapQemuMemory, PAGE_BYTES } from './memory.ts';
import type { Qmp, QmpEvent } from './qmp.ts';

/** Gratuitous ARP and the like: milliseconds between the five announcements, growing. */
const ANNOUNCE = { initial: 50, max: 550, rounds: 5, step: 100 };

export interface IncomingParts {
  readonly guest: QemuGuest;
  readonly qmp: Qmp;
  /** Where the QEMU waits for its migration. */
  readonly qemuPath: string;
  readonly byPages: boolean;
  readonly options: IncomingOptions;
}

export class QemuIncoming implements IncomingGuest {
  readonly endpoint: IncomingEndpoint;
  readonly reference: GuestReference;
  readonly #guest: QemuGuest;
  readonly #qmp: Qmp;
  readonly #options: IncomingOptions;
  readonly #feeder: QemuFeeder | null;
  readonly #closeReceiver: () => void;
  readonly #returnPath = new ReturnPath();
  #memory: NativeRegion | null = null;
  /** Of what landed, once the guest runs and its memory is its own. */
  #landed: BigUint64Array | null = null;
  #isResumed = false;
  #saidLoaded = false;
  #isCompleted = false;
  #waiting: Completion<void> | null = null;
  #isOver = false;
  /** Post-copy: the guest was let run before all of its memory was here. */
  #isEarly = false;
  #running: Completion<void> | null = null;

  /** `byPages`: there is room to stage the guest's memory outside of QEMU. */
  constructor({ guest, qmp, qemuPath, byPages, options }: IncomingParts) {
    this.#guest = guest;
    this.#qmp = qmp;
    this.#options = options;
    this.reference = guest.reference;
    guest.onEvent((event) => this.#happened(event));
    guest.onExit(() => this.#died());
    const onEvent = (event: ByteReceiveEvent): void => this.#carried(event);
    this.endpoint = byPages ? { stagingBytes: stagingBytes(guest.description.memoryBytes) } : {};
    this.#feeder = byPages ? new QemuFeeder({ incoming: options, qemuPath, onEvent }) : null;
    const feeder = this.#feeder;
    this.#closeReceiver = feeder === null ? this.#receive(qemuPath) : () => feeder.close();
  }

  /** The stream as it is, straight into QEMU. */
  #receive(connectPath: string): () => void {
    const { link, transferId, epoch, mayPostcopy = false } = this.#options;
    const windowBytes = mayPostcopy ? POSTCOPY_WINDOW_BYTES : WINDOW_BYTES;
    const receiver = link.receiveBytes({ transferId, epoch, connectPath, windowBytes }, (event) =>
      this.#carried(event),
    );
    return () => receiver.close();
  }

  /** QEMU says so twice: to its source, which we hold back, and to us. */
  loaded(done: Completion<void>): void {
    this.#waiting = done;
    this.#maybeLoaded();
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    complete(async () => {
      if (this.#isResumed) return this.#landedDigests(firstPage, pageCount);
      this.#memory ??= mapQemuMemory(this.reference.pid, this.#guest.description.memoryBytes);
      return digestPages(this.#memory, firstPage, pageCount);
    }, done);
  }

  resume(done: Completion<Guest>): void {
    complete(async () => {
      if (this.#saidLoaded && this.#isCompleted) {
        await this.#qmp.ask('cont');
        this.#keepLanded();
        this.#close();
      } else {
        await this.#runEarly();
        this.#maybeLoaded();
      }
      // Switches learn where the guest is now; a guest without a network has nobody to tell.
      await this.#qmp.ask('announce-self', ANNOUNCE);
      return this.#guest;
    }, done);
  }

  /**
   * Post-copy: a QEMU that still waits for its devices takes `cont` as leave to run once they came. What it
   * says at the end goes to its source, too: from here on nobody gives the guest back.
   */
  async #runEarly(): Promise<void> {
    const isRunning = promised<void>((done) => {
      this.#running = done;
    });
    // Whether it fails before or behind the command, somebody waits for it.
    isRunning.catch(() => {});
    this.#isEarly = true;
    await this.#qmp.ask('cont');
    const withheld = this.#returnPath.letGo();
    if (withheld.byteLength > 0) this.#options.onReturn(withheld);
    await isRunning;
  }

  #keepLanded(): void {
    this.#isResumed = true;
    if (this.#options.verify !== 'after') return;
    const { memoryBytes } = this.#guest.description;
    this.#landed = this.#feeder?.landedDigests(memoryBytes / PAGE_BYTES) ?? null;
  }

  #landedDigests(firstPage: number, pageCount: number): Uint8Array {
    const landed = this.#landed;
    if (landed === null) {
      const what = 'the stream passed as it is, and what landed is the memory of a guest that runs';
      throw new DwcpError('ERR_DWCP_VERIFY_FAILED', what, {
        hint: 'The guest runs here; only the comparison is missing. --verify strict compares before.',
      });
    }
    const pages = landed.slice(firstPage, firstPage + pageCount);
    if (firstPage + pageCount >= landed.length) this.#landed = null;
    return new Uint8Array(pages.buffer);
  }

  discard(done: Completion<void>): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) {
      const error = new DwcpError('ERR_DWCP_CANCELLED', 'the incoming guest was discarded');
      setImmediate(() => waiting(failed(error)));
    }
    this.#close();
    this.#guest.kill(done);
  }

  #carried(event: ByteReceiveEvent): void {
    if (this.#isOver) return;
    if (event.type === 'failed') return this.#failed(event.error);
    if (event.type === 'closed' && !this.#saidLoaded) {
      return this.#failed(this.#refused('closed the stream before the guest was loaded'));
    }
    if (event.type !== 'return') return;
    try {
      const step = this.#returnPath.push(event.bytes);
      if (step.forward.byteLength > 0) {
        if (this.#feeder === null) this.#options.onReturn(step.forward);
        else this.#feeder.say(step.forward);
      }
      if (step.failure !== null) return this.#failed(this.#refused(`ended with ${step.failure}`));
      this.#saidLoaded = step.loaded;
      this.#maybeLoaded();
    } catch (error) {
      if (!(error instanceof DwcpError)) throw error;
      this.#failed(error);
    }
  }

  #happened(event: QmpEvent): void {
    if (this.#isOver) return;
    if (event.name === 'RESUME') this.#runs(succeeded(undefined));
    if (event.name !== 'MIGRATION') return;
    const status = event.data['status'];
    if (status === 'failed') return this.#failed(this.#refused('could not load the guest'));
    if (status === 'postcopy-paused') return this.#failed(this.#refused('lost the stream'));
    if (status === 'completed') this.#isCompleted = true;
    this.#maybeLoaded();
  }

  #maybeLoaded(): void {
    const done = this.#waiting;
    if (done === null || !this.#saidLoaded || !this.#isCompleted) return;
    this.#waiting = null;
    // A guest that runs is looked after by whoever has it; what is left of this is only its stream.
    if (this.#isEarly && this.#running === null) this.#close();
    setImmediate(() => done(succeeded(undefined)));
  }

  #died(): void {
    if (!this.#isOver) this.#failed(this.#refused('is gone'));
  }

  #runs(outcome: Outcome<void>): void {
    const running = this.#running;
    this.#running = null;
    if (running !== null) setImmediate(() => running(outcome));
  }

  #failed(error: DwcpError): void {
    this.#runs(failed(error));
    const done = this.#waiting;
    this.#waiting = null;
    if (done !== null) setImmediate(() => done(failed(error)));
    else this.#options.onFailure(error);
  }

  #refused(what: string): DwcpError {
    const said = lastWords(this.#guest.runDirectory);
    return new DwcpError(
      'ERR_DWCP_GUEST_FAILED',
      `the incoming QEMU ${what}${said === '' ? '' : `: ${said}`}`,
      { hint: 'Its devices or its version may differ from the source; the guest goes on there.' },
    );
  }

  /** From here on the guest belongs to whoever got it. */
  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#guest.onEvent(() => {});
    if (!this.#isEarly) this.#guest.onExit(() => {});
    this.#closeReceiver();
    this.#memory?.close();
  }
}
