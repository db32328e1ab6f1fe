/**
 * The Hypervisor port over the QEMU model: the same steps in the same order as `src/hypervisors/qemu/`,
 * with commands and events that take their time.
 */
import type {
  Guest,
  GuestDescription,
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
import type { ByteReceiveEvent, ByteReceiver, ByteSender } from '../../src/ports/transport.ts';
import { ReturnPath } from '../../src/protocols/qemu/return-path.ts';
import { assert } from '../../src/util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import { gone, type HostGuests } from './host-guests.ts';
import { PAGE_BYTES } from './memory.ts';
import { removeOrphans } from './memory-hypervisor.ts';
import { type QemuEvent, QemuProcess } from './qemu-process.ts';

const WINDOW_BYTES = 8 * 2 ** 20;
const OWN_SWITCH_LIMIT_US = 5_000;
const UNLIMITED_DOWNTIME_US = 2_000_000_000;
const EVENT_US: readonly [number, number] = [20, 2_000];
/** A monitor that does not answer for so long is given up. */
const SILENT_US = 10_000_000;

export class QemuHypervisorModel implements Hypervisor {
  readonly kind = 'qemu';
  readonly #guests: HostGuests;

  constructor(guests: HostGuests) {
    this.#guests = guests;
  }

  adopt(reference: GuestReference, done: Completion<Guest>): void {
    this.#guests.answer(done, () => {
      const process = this.#guests.find(reference);
      if (!(process instanceof QemuProcess)) return failed(gone(reference.name));
      return succeeded(new QemuGuestModel(this.#guests, process));
    });
  }

  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    const { description, epoch } = options;
    this.#guests.afterStart(() => {
      const pageCount = description.memoryBytes / PAGE_BYTES;
      const vm = description.name;
      const process = this.#guests.start({ kind: 'qemu', vm, pageCount, epoch });
      assert(process instanceof QemuProcess, 'a QEMU was started');
      process.listen();
      try {
        done(succeeded(new Incoming(new QemuGuestModel(this.#guests, process), options)));
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

export class QemuGuestModel implements Guest {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  readonly process: QemuProcess;
  readonly guests: HostGuests;
  #isKilled = false;
  #isDetached = false;
  #onEvent: (event: QemuEvent) => void = () => {};

  constructor(guests: HostGuests, process: QemuProcess) {
    this.guests = guests;
    this.process = process;
    this.reference = process.reference;
    this.description = {
      ...{ kind: 'qemu', name: process.vm, pageBytes: PAGE_BYTES },
      memoryBytes: process.memory.pageCount * PAGE_BYTES,
      ...{ machine: { type: 'simulated' }, launch: { args: [], sharedDisks: [] } },
    };
    process.onEvent((event) => guests.later(EVENT_US, () => this.#onEvent(event)));
  }

  onExit(listener: (error: DwcpError | null) => void): void {
    const exited = (): void => {
      if (this.#isDetached && !this.#isKilled) return;
      listener(this.#isKilled ? null : gone(this.process.vm));
    };
    this.process.whenExited(() => this.guests.later([50, 30_000], exited));
  }

  onEvent(listener: (event: QemuEvent) => void): void {
    this.#onEvent = listener;
  }

  /** A command of the monitor, answered after a time; never while the process is frozen. */
  command<T>(done: Completion<T>, work: () => T): void {
    const { clock } = this.guests.host;
    let isOver = false;
    const finish: Completion<T> = (outcome) => {
      if (isOver) return;
      isOver = true;
      timer.cancel();
      done(outcome);
    };
    const timer = clock.setTimer(clock.nowUs() + SILENT_US, () => {
      finish(failed(new DwcpError('ERR_DWCP_TIMEOUT', `"${this.process.vm}" does not answer`)));
    });
    this.guests.later([30, 3_000], () => {
      if (!this.process.isAlive) return finish(failed(gone(this.process.vm)));
      this.process.ask(() => {
        if (isOver) return;
        const value = work();
        this.guests.answer(finish, () => succeeded(value));
      });
    });
  }

  state(done: Completion<GuestState>): void {
    if (!this.process.isAlive) return this.guests.answer(done, () => failed(gone(this.process.vm)));
    if (this.process.isFrozen) return this.guests.answer(done, () => succeeded('fenced'));
    this.command<GuestState>(done, () => (this.process.runs ? 'running' : 'paused'));
  }

  workload(done: Completion<WorkloadReport | null>): void {
    this.guests.answer(done, () => succeeded(null));
  }

  preflight({ verify }: PreflightOptions, done: Completion<void>): void {
    const message = 'the memory of a QEMU changes as soon as it runs at the destination';
    this.guests.answer(done, () =>
      verify === 'after'
        ? failed(new DwcpError('ERR_DWCP_UNSUPPORTED', message))
        : succeeded(undefined),
    );
  }

  unfence(done: Completion<void>): void {
    this.process.thaw();
    this.endMigration(true, done);
  }

  /** QEMU refuses to run a guest while a migration of it is under way. */
  endMigration(andRun: boolean, done: Completion<void>): void {
    this.command<void>(
      (outcome) => {
        if (!outcome.ok || !andRun) return done(outcome);
        this.command(done, () => this.process.cont());
      },
      () => this.process.cancel(),
    );
  }

  openOutgoing(options: OutgoingOptions, done: Completion<OutgoingMigration>): void {
    const { process } = this;
    this.command<boolean>(
      (outcome) => {
        if (!outcome.ok) return done(outcome);
        try {
          done(succeeded(new Outgoing(this, outcome.value, options)));
        } catch (error) {
          if (!(error instanceof DwcpError)) throw error;
          done(failed(error));
        }
      },
      () => {
        process.downtimeLimitUs = OWN_SWITCH_LIMIT_US;
        return process.runs;
      },
    );
  }

  kill(done: Completion<void>): void {
    this.#isKilled = true;
    this.guests.kill(this.process, done);
  }

  detach(): void {
    this.#isDetached = true;
  }
}

interface Round {
  readonly done: Completion<RoundReport>;
  readonly startedUs: number;
  /** QEMU's count of passes that ends this round. */
  readonly endsAtPass: number;
}

class Outgoing implements OutgoingMigration {
  readonly #guest: QemuGuestModel;
  readonly #wasRunning: boolean;
  readonly #sender: ByteSender;
  readonly #path: string;
  readonly #onFailure: (error: DwcpError) => void;
  readonly #mayThrottle: boolean;
  #round: Round | null = null;
  #pass = 0;
  #roundsDone = 0;
  #sentPages = 0;
  #hasStopped = false;
  #isClosed = false;

  constructor(guest: QemuGuestModel, wasRunning: boolean, options: OutgoingOptions) {
    this.#guest = guest;
    this.#wasRunning = wasRunning;
    this.#onFailure = options.onFailure;
    this.#mayThrottle = options.mayThrottle ?? false;
    const { transferId, epoch, link } = options;
    this.#path = `${guest.reference.socketPath}-out-${transferId}`;
    this.#sender = link.sendBytes(
      { transferId, epoch, listenPath: this.#path, windowBytes: WINDOW_BYTES },
      (event) => {
        if (event.type === 'failed') this.#failed(event.error);
      },
    );
    guest.onEvent((event) => this.#happened(event));
  }

  round(done: Completion<RoundReport>): void {
    assert(this.#round === null, 'one round at a time');
    const endsAtPass = this.#roundsDone + 2;
    this.#round = { done, startedUs: this.#nowUs(), endsAtPass };
    if (this.#roundsDone > 0) return this.#maybeEndRound();
    const { process } = this.#guest;
    this.#guest.command<void>(
      (outcome) => {
        if (!outcome.ok) this.#failed(outcome.error);
      },
      () => process.migrate(this.#path),
    );
  }

  throttle(percent: number, done: Completion<void>): void {
    const { guests, process } = this.#guest;
    if (!this.#mayThrottle) {
      const what = 'this migration began without leave to do so';
      return guests.answer(done, () => failed(new DwcpError('ERR_DWCP_UNSUPPORTED', what)));
    }
    this.#guest.command(done, () => process.throttle(percent));
  }

  progress(): TransferProgress {
    const { wireBytes, ackedBytes } = this.#sender.counters();
    const { sentPages, remainingPages } = this.#guest.process;
    return {
      ...{ zeroPages: 0, duplicatePages: 0, deltaPages: 0, compressedPages: 0 },
      ...{ rawPages: sentPages, rawBytes: sentPages * PAGE_BYTES },
      ...{ wireBytes, ackedBytes, dirtyBytesPerSec: 0 },
      remainingBytes: remainingPages * PAGE_BYTES,
    };
  }

  stopAndCopy(done: Completion<RoundReport>): void {
    const startedUs = this.#nowUs();
    const { process } = this.#guest;
    this.#guest.command<boolean>(
      (outcome) => {
        if (!outcome.ok) return done(outcome);
        if (outcome.value) return done(failed(this.#stillRuns()));
        this.#report(startedUs, true, done);
      },
      () => {
        process.stop();
        process.downtimeLimitUs = UNLIMITED_DOWNTIME_US;
        return process.runs;
      },
    );
  }

  fence(done: Completion<void>): void {
    const { process, guests } = this.#guest;
    this.#guest.command<boolean>(
      (outcome) => {
        if (!outcome.ok) return done(outcome);
        if (outcome.value) return done(failed(this.#stillRuns()));
        guests.freeze(process, done);
      },
      () => process.runs,
    );
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const { process, guests } = this.#guest;
    guests.answer(done, () => succeeded(process.memory.digests(firstPage, pageCount)));
  }

  abort(done: Completion<void>): void {
    this.#close();
    this.#guest.process.thaw();
    this.#guest.endMigration(this.#wasRunning, done);
  }

  release(done: Completion<void>): void {
    this.#close();
    this.#guest.kill(done);
  }

  writeReturn(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#sender.writeReturn(bytes);
  }

  #happened(event: QemuEvent): void {
    if (this.#isClosed) return;
    if (event.name === 'MIGRATION_PASS') this.#pass = Math.max(this.#pass, event.pass);
    if (event.name === 'STOP') this.#hasStopped = true;
    if (event.name === 'MIGRATION') {
      if (event.status !== 'failed' && event.status !== 'cancelled') return;
      const message = `QEMU's migration ${event.status}`;
      return this.#failed(new DwcpError('ERR_DWCP_GUEST_FAILED', message));
    }
    this.#maybeEndRound();
  }

  #maybeEndRound(): void {
    const round = this.#round;
    if (round === null || !(this.#hasStopped || this.#pass >= round.endsAtPass)) return;
    this.#round = null;
    this.#roundsDone += 1;
    this.#report(round.startedUs, this.#hasStopped, round.done);
  }

  #report(startedUs: number, stopped: boolean, done: Completion<RoundReport>): void {
    const { process } = this.#guest;
    this.#guest.command<RoundReport>(done, () => {
      const sentPages = Math.max(0, process.sentPages - this.#sentPages);
      this.#sentPages = process.sentPages;
      return {
        ...{ sentPages, stopped, remainingBytes: process.remainingPages * PAGE_BYTES },
        elapsedUs: Math.max(1, this.#nowUs() - startedUs),
      };
    });
  }

  #failed(error: DwcpError): void {
    if (this.#isClosed) return;
    const round = this.#round;
    this.#round = null;
    if (round === null) this.#onFailure(error);
    else this.#guest.guests.answer(round.done, () => failed(error));
  }

  #stillRuns(): DwcpError {
    const message = `"${this.#guest.process.vm}" still runs after it was stopped`;
    return new DwcpError('ERR_DWCP_GUEST_STATE', message);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#guest.onEvent(() => {});
    this.#sender.close();
  }

  #nowUs(): number {
    return this.#guest.guests.host.clock.nowUs();
  }
}

class Incoming implements IncomingGuest {
  readonly endpoint = {};
  readonly reference: GuestReference;
  readonly #guest: QemuGuestModel;
  readonly #options: IncomingOptions;
  readonly #receiver: ByteReceiver;
  readonly #returnPath = new ReturnPath();
  readonly #stopWatching: () => void;
  #saidLoaded = false;
  #isCompleted = false;
  #waiting: Completion<void> | null = null;
  #isOver = false;

  constructor(guest: QemuGuestModel, options: IncomingOptions) {
    this.#guest = guest;
    this.#options = options;
    this.reference = guest.reference;
    guest.onEvent((event) => this.#happened(event));
    this.#stopWatching = guest.process.whenExited(() => {
      guest.guests.later([50, 30_000], () => this.#died());
    });
    const { transferId, epoch, link } = options;
    const connectPath = guest.process.incomingPath;
    this.#receiver = link.receiveBytes(
      { transferId, epoch, connectPath, windowBytes: WINDOW_BYTES },
      (event) => this.#carried(event),
    );
  }

  /** QEMU says so twice: to its source, which we hold back, and to us. */
  loaded(done: Completion<void>): void {
    this.#waiting = done;
    this.#maybeLoaded();
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const { process, guests } = this.#guest;
    guests.answer(done, () => succeeded(process.memory.digests(firstPage, pageCount)));
  }

  resume(done: Completion<Guest>): void {
    this.#guest.command<void>(
      (outcome) => {
        if (!outcome.ok) return done(outcome);
        this.#close();
        done(succeeded(this.#guest));
      },
      () => this.#guest.process.cont(),
    );
  }

  discard(done: Completion<void>): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) {
      const error = new DwcpError('ERR_DWCP_CANCELLED', 'the incoming guest was discarded');
      this.#guest.guests.answer(waiting, () => failed(error));
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
    const step = this.#returnPath.push(event.bytes);
    if (step.forward.byteLength > 0) this.#options.onReturn(step.forward);
    if (step.failure !== null) return this.#failed(this.#refused(`ended with ${step.failure}`));
    this.#saidLoaded = step.loaded;
    this.#maybeLoaded();
  }

  #happened(event: QemuEvent): void {
    if (this.#isOver || event.name !== 'MIGRATION') return;
    if (event.status === 'failed') return this.#failed(this.#refused('could not load the guest'));
    if (event.status === 'completed') this.#isCompleted = true;
    this.#maybeLoaded();
  }

  #maybeLoaded(): void {
    const done = this.#waiting;
    if (done === null || !this.#saidLoaded || !this.#isCompleted) return;
    this.#waiting = null;
    this.#guest.guests.answer(done, () => succeeded(undefined));
  }

  #died(): void {
    if (!this.#isOver) this.#failed(this.#refused('is gone'));
  }

  #failed(error: DwcpError): void {
    const done = this.#waiting;
    this.#waiting = null;
    if (done !== null) this.#guest.guests.answer(done, () => failed(error));
    else this.#options.onFailure(error);
  }

  #refused(what: string): DwcpError {
    return new DwcpError('ERR_DWCP_GUEST_FAILED', `the incoming QEMU ${what}`);
  }

  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#guest.onEvent(() => {});
    this.#stopWatching();
    this.#receiver.close();
  }
}
