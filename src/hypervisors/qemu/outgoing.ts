/**
 * The source's end of moving a QEMU guest. QEMU writes its own migration stream into a unix socket of
 * ours and finds its own dirty pages; we carry the stream, say when to stop, and freeze the process
 * before anybody may believe that the guest is elsewhere.
 */
import { freemem } from 'node:os';
import { join } from 'node:path';
import type { NativeRegion } from '../../native.ts';
import { digestPages } from '../../native.ts';
import type {
  OutgoingMigration,
  OutgoingOptions,
  RoundReport,
  TransferProgress,
} from '../../ports/hypervisor.ts';
import { goesByPages } from '../../protocols/qemu/staging.ts';
import { assert } from '../../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { complete, promised } from '../../util/promised.ts';
import * as fence from '../process-fence.ts';
import { type Carrier, POSTCOPY_WINDOW_BYTES, passThrough } from './carrier.ts';
import type { QemuGuest } from './guest.ts';
import { mapQemuMemory, PAGE_BYTES } from './memory.ts';
import {
  endMigration,
  isOver,
  isRunning,
  type MigrationInfo,
  prepareMigration,
  queryMigration,
  throttleMigration,
} from './migrate.ts';
import { PageCarrier } from './page-carrier.ts';
import type { Qmp, QmpEvent } from './qmp.ts';

const SAMPLE_INTERVAL_MS = 100;
/**
 * QEMU switches by itself as soon as what is left fits its limit, so given the whole budget it spends
 * it. Under this one it goes on with its passes until the session, which knows the rates, says stop.
 */
const OWN_SWITCH_LIMIT_MS = 5;
/** QEMU's largest: once we stopped the guest, nothing holds the last pass back. */
const UNLIMITED_DOWNTIME_MS = 2_000_000;
/** Of the budget, what the waiting QEMU may still have to load when the guest stops. */
const LOAD_SHARE = 0.5;
/** While that is too much, QEMU rests so long before each further pass. */
const FEED_PAUSE_MS = 50;
/** A waiting QEMU that gets no closer in so many passes makes this a round like any other. */
const FEED_PASSES_MAX = 10;
const PROGRESS_SHARE = 0.95;

export function openQemuOutgoing(
  guest: QemuGuest,
  options: OutgoingOptions,
  done: Completion<OutgoingMigration>,
): void {
  complete(async () => {
    const qmp = await guest.qmp();
    const info = await queryMigration(qmp);
    if (!isOver(info)) {
      throw new DwcpError(
        'ERR_DWCP_GUEST_STATE',
        `"${guest.reference.name}" is already in a migration of its own (${info.status})`,
        { hint: 'Cancel it with QMP migrate_cancel first.' },
      );
    }
    const { memoryBytes } = guest.description;
    const { endpoint, link } = options;
    const pays = goesByPages({ endpoint, memoryBytes, policy: link.codecPolicy() });
    // The shadow holds what the guest's memory holds.
    const { mayThrottle = false, mayPostcopy = false } = options;
    const byPages = pays && !mayPostcopy && freemem() > memoryBytes;
    await prepareMigration(qmp, 'source', { byPages, mayThrottle, mayPostcopy });
    if (mayThrottle) await throttleMigration(qmp, 0);
    await qmp.ask('migrate-set-parameters', {
      // The link's bucket and window hold QEMU back; a second limit would only hide the first.
      'max-bandwidth': 0,
      'downtime-limit': OWN_SWITCH_LIMIT_MS,
      ...(mayPostcopy ? { 'max-postcopy-bandwidth': 0 } : {}),
    });
    return new QemuOutgoing({ guest, qmp, wasRunning: await isRunning(qmp), byPages, options });
  }, done);
}

interface Round {
  readonly done: Completion<RoundReport>;
  readonly startedUs: number;
  /** QEMU's count of passes that ends this round. */
  readonly endsAtPass: number;
  /** Passes that it went on for the waiting QEMU's sake without bringing it closer. */
  readonly vainPasses: number;
  readonly leastLoadMs: number;
}

interface OutgoingParts {
  readonly guest: QemuGuest;
  readonly qmp: Qmp;
  readonly wasRunning: boolean;
  /** The destination takes pages apart from the rest of the stream. */
  readonly byPages: boolean;
  readonly options: OutgoingOptions;
}

class QemuOutgoing implements OutgoingMigration {
  readonly #guest: QemuGuest;
  readonly #qmp: Qmp;
  readonly #wasRunning: boolean;
  readonly #carrier: Carrier;
  readonly #byPages: boolean;
  readonly #maxDowntimeMs: number;
  readonly #mayThrottle: boolean;
  readonly #socketPath: string;
  readonly #onFailure: (error: DwcpError) => void;
  readonly #sampling: NodeJS.Timeout;
  #memory: NativeRegion | null = null;
  #round: Round | null = null;
  #info: MigrationInfo = {};
  #pass = 0;
  #roundsDone = 0;
  /** QEMU's count of pages: now, and when the last round ended. */
  #pages = 0;
  #roundPages = 0;
  #pagesWithBytes = 0;
  #isMeasuring = false;
  /** Waits for the last page. */
  #leaving: Completion<void> | null = null;
  #hasStopped = false;
  #isClosed = false;

  constructor({ guest, qmp, wasRunning, byPages, options }: OutgoingParts) {
    this.#guest = guest;
    this.#qmp = qmp;
    this.#wasRunning = wasRunning;
    this.#byPages = byPages;
    this.#maxDowntimeMs = options.maxDowntimeMs;
    this.#mayThrottle = options.mayThrottle ?? false;
    this.#onFailure = options.onFailure;
    this.#socketPath = join(guest.runDirectory, `out-${options.transferId.toString(36)}`);
    const carried = {
      ...{ link: options.link, transferId: options.transferId, epoch: options.epoch },
      profile: options.profile,
      ...{ listenPath: this.#socketPath, onFailure: (error: DwcpError) => this.#failed(error) },
    };
    this.#carrier = byPages
      ? new PageCarrier(carried, guest.description.memoryBytes)
      : passThrough(
          options.mayPostcopy ? { ...carried, windowBytes: POSTCOPY_WINDOW_BYTES } : carried,
        );
    guest.onEvent((event) => this.#happened(event));
    this.#sampling = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
    this.#sampling.unref();
  }

  round(done: Completion<RoundReport>): void {
    assert(this.#round === null, 'one round at a time');
    // QEMU counts the scan at the beginning as its first pass.
    const endsAtPass = Math.max(this.#roundsDone + 2, this.#byPages ? this.#pass + 1 : 0);
    const startedUs = nowUs();
    this.#round = { done, startedUs, endsAtPass, vainPasses: 0, leastLoadMs: Infinity };
    if (this.#roundsDone > 0) return this.#maybeEndRound();
    this.#qmp.execute('migrate', { uri: `unix:${this.#socketPath}` }, (outcome) => {
      if (!outcome.ok) this.#failed(outcome.error);
    });
  }

  throttle(percent: number, done: Completion<void>): void {
    complete(async () => {
      if (!this.#mayThrottle) {
        throw new DwcpError('ERR_DWCP_UNSUPPORTED', 'this migration began without leave to do so');
      }
      await throttleMigration(this.#qmp, percent);
    }, done);
  }

  progress(): TransferProgress {
    const { ram } = this.#info;
    const { pages, wireBytes, ackedBytes, waitingBytes } = this.#carrier.counters();
    const asQemuSays = {
      zeroPages: ram?.duplicate ?? 0,
      ...{ duplicatePages: 0, deltaPages: 0, compressedPages: 0 },
      rawPages: ram?.normal ?? 0,
      rawBytes: (ram?.normal ?? 0) * PAGE_BYTES,
    };
    return {
      ...(pages ?? asQemuSays),
      wireBytes,
      ackedBytes,
      remainingBytes: (ram?.remaining ?? 0) + waitingBytes,
      dirtyBytesPerSec: (ram?.['dirty-pages-rate'] ?? 0) * PAGE_BYTES,
    };
  }

  /** What is left follows by itself; the destination's `loaded` says when all of it arrived. */
  stopAndCopy(done: Completion<RoundReport>): void {
    const startedUs = nowUs();
    complete(async () => {
      this.#carrier.setReading(true);
      if (!this.#hasStopped) await this.#qmp.ask('stop');
      const limit = { 'downtime-limit': UNLIMITED_DOWNTIME_MS };
      await this.#qmp.ask('migrate-set-parameters', limit);
      if (await isRunning(this.#qmp)) throw this.#stillRuns();
      return this.#report(startedUs, true);
    }, done);
  }

  fence(done: Completion<void>): void {
    complete(async () => {
      if (await isRunning(this.#qmp)) throw this.#stillRuns();
      clearInterval(this.#sampling);
      await promised<void>((frozen) => fence.freeze(this.#guest.reference, frozen));
    }, done);
  }

  /** QEMU was told to stop before it would have stopped by itself, so it never starts by itself either. */
  stopForPostcopy(done: Completion<void>): void {
    complete(async () => {
      if (!this.#hasStopped) await this.#qmp.ask('stop');
      if (await isRunning(this.#qmp)) throw this.#stillRuns();
    }, done);
  }

  /** From its start on QEMU itself refuses to run the guest here. */
  postcopy(done: Completion<void>): void {
    this.#leaving = done;
    complete(
      async () => {
        await this.#qmp.ask('migrate-start-postcopy');
        return (await queryMigration(this.#qmp)).status;
      },
      (status) => {
        if (status.ok) this.#maybeLeft(status.value);
        else this.#left(status);
      },
    );
  }

  #maybeLeft(status: string | undefined): void {
    if (status === 'completed') return this.#left(succeeded(undefined));
    if (status !== 'postcopy-paused' && status !== 'failed') return;
    const what = `QEMU's post-copy is ${status}: the stream to its twin is gone`;
    this.#left(failed(new DwcpError('ERR_DWCP_GUEST_FAILED', what)));
  }

  #left(outcome: Outcome<void>): void {
    const leaving = this.#leaving;
    this.#leaving = null;
    if (leaving !== null) setImmediate(() => leaving(outcome));
  }

  digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    const { pid } = this.#guest.reference;
    const { memoryBytes } = this.#guest.description;
    complete(async () => {
      this.#memory ??= mapQemuMemory(pid, memoryBytes);
      return digestPages(this.#memory, firstPage, pageCount);
    }, done);
  }

  abort(done: Completion<void>): void {
    this.#close();
    complete(async () => {
      fence.thaw(this.#guest.reference);
      const qmp = await this.#guest.qmp();
      await endMigration(qmp);
      if (this.#wasRunning && !(await isRunning(qmp))) await qmp.ask('cont');
    }, done);
  }

  release(done: Completion<void>): void {
    this.#close();
    this.#guest.kill(done);
  }

  writeReturn(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#carrier.writeReturn(bytes);
  }

  #happened(event: QmpEvent): void {
    if (this.#isClosed) return;
    if (event.name === 'MIGRATION_PASS') {
      this.#pass = Math.max(this.#pass, Number(event.data['pass']) || 0);
      return this.#maybeEndRound();
    }
    if (event.name === 'STOP') {
      this.#hasStopped = true;
      return this.#maybeEndRound();
    }
    if (event.name !== 'MIGRATION') return;
    const status = event.data['status'];
    if (this.#leaving !== null) return this.#maybeLeft(String(status));
    if (status === 'failed' || status === 'cancelled') this.#endedEarly(String(status));
  }

  #maybeEndRound(): void {
    const round = this.#round;
    if (round === null || !(this.#hasStopped || this.#pass >= round.endsAtPass)) return;
    if (this.#isMeasuring) return;
    this.#isMeasuring = true;
    // QEMU's passes end in our backlog. What the link carries is known when that is at the other host;
    // on a slow one rounds would otherwise go by in which nothing got less.
    this.#carrier.setReading(false);
    this.#carrier.whenCarried(() => this.#measure(round));
  }

  #measure(round: Round): void {
    complete(
      () => this.#report(round.startedUs, this.#hasStopped),
      (outcome) => {
        this.#isMeasuring = false;
        if (this.#isClosed || this.#round !== round) return;
        if (!outcome.ok || outcome.value.stopped || !this.#isLoadTooMuch()) {
          this.#carrier.setReading(true);
          return this.#endRound(round, outcome);
        }
        // What is known of it may be old: the guest runs on while the other side counts again.
        this.#carrier.whenLoadIsKnown(() => {
          if (this.#isClosed || this.#round !== round) return;
          if (this.#isLoadTooMuch() && this.#goesOn(round)) return;
          this.#carrier.setReading(true);
          this.#endRound(round, outcome);
        });
      },
    );
  }

  #endRound(round: Round, outcome: Outcome<RoundReport>): void {
    this.#round = null;
    this.#roundsDone += 1;
    this.#roundPages = this.#pages;
    if (!outcome.ok) return round.done(outcome);
    const { sentPages, elapsedUs } = outcome.value;
    // What the other side has to load costs the guest as much as what the wire has to carry.
    const bytesPerMs = (sentPages * PAGE_BYTES * 1000) / elapsedUs;
    const loadBytes = Math.ceil(this.#carrier.loadMs() * bytesPerMs);
    const remainingBytes = outcome.value.remainingBytes + loadBytes;
    round.done(succeeded({ ...outcome.value, remainingBytes }));
  }

  #isLoadTooMuch(): boolean {
    return this.#carrier.loadMs() > this.#maxDowntimeMs * LOAD_SHARE;
  }

  /** QEMU goes another pass, a little later: meanwhile its twin is fed, and pages come to stand still. */
  #goesOn(round: Round): boolean {
    const loadMs = this.#carrier.loadMs();
    const vainPasses = loadMs < round.leastLoadMs * PROGRESS_SHARE ? 0 : round.vainPasses + 1;
    if (vainPasses > FEED_PASSES_MAX) return false;
    const leastLoadMs = Math.min(loadMs, round.leastLoadMs);
    this.#round = { ...round, endsAtPass: this.#pass + 1, vainPasses, leastLoadMs };
    setTimeout(() => {
      if (!this.#isClosed) this.#carrier.setReading(true);
    }, FEED_PAUSE_MS);
    return true;
  }

  async #report(startedUs: number, stopped: boolean): Promise<RoundReport> {
    this.#info = await queryMigration(this.#qmp);
    const { ram } = this.#info;
    this.#pages = (ram?.normal ?? 0) + (ram?.duplicate ?? 0);
    const sentPages = Math.max(0, this.#pages - this.#roundPages);
    const withBytes = ram?.normal ?? 0;
    this.#carrier.roundEnded(Math.max(0, withBytes - this.#pagesWithBytes));
    this.#pagesWithBytes = withBytes;
    const { waitingBytes } = this.#carrier.counters();
    return {
      sentPages,
      remainingBytes: (ram?.remaining ?? 0) + waitingBytes,
      elapsedUs: Math.max(1, Math.round(nowUs() - startedUs)),
      stopped,
    };
  }

  #sample(): void {
    this.#qmp.execute('query-migrate', {}, (outcome) => {
      if (outcome.ok && !this.#isClosed) this.#info = outcome.value as MigrationInfo;
    });
  }

  #endedEarly(status: string): void {
    complete(
      () => queryMigration(this.#qmp),
      (outcome) => {
        const why = outcome.ok ? (outcome.value['error-desc'] ?? 'no reason given') : '';
        this.#failed(
          new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU's migration ${status}: ${why}`, {
            hint: 'The guest goes on here; the log of the destination may say more.',
          }),
        );
      },
    );
  }

  #failed(error: DwcpError): void {
    if (this.#isClosed) return;
    if (this.#leaving !== null) return this.#left(failed(error));
    const round = this.#round;
    this.#round = null;
    if (round === null) this.#onFailure(error);
    else setImmediate(() => round.done(failed(error)));
  }

  #stillRuns(): DwcpError {
    const { name } = this.#guest.reference;
    return new DwcpError('ERR_DWCP_GUEST_STATE', `"${name}" still runs after it was stopped`);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#sampling);
    this.#guest.onEvent(() => {});
    this.#carrier.close();
    this.#memory?.close();
  }
}

function nowUs(): number {
  return performance.now() * 1000;
}
