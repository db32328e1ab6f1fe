/**
 * The source's end of moving a QEMU guest. QEMU writes its own migration stream into a unix socket of
 * ours and finds its own dirty pages; we carry the bytes, say when to stop, and freeze the process
 * before anybody may believe that the guest is elsewhere.
 */
import { join } from 'node:path';
import type { NativeRegion } from '../../native.ts';
import { digestPages } from '../../native.ts';
import type {
  OutgoingMigration,
  OutgoingOptions,
  RoundReport,
  TransferProgress,
} from '../../ports/hypervisor.ts';
import type { ByteSendEvent, ByteSender } from '../../ports/transport.ts';
import { assert } from '../../util/assert.ts';
import { type Completion, DwcpError, failed } from '../../util/errors.ts';
import { complete, promised } from '../../util/promised.ts';
import * as fence from '../process-fence.ts';
import type { QemuGuest } from './guest.ts';
import { mapQemuMemory, PAGE_BYTES } from './memory.ts';
import {
  endMigration,
  isOver,
  isRunning,
  type MigrationInfo,
  prepareMigration,
  queryMigration,
} from './migrate.ts';
import type { Qmp, QmpEvent } from './qmp.ts';

/** Bytes on their way count as sent to QEMU; more of them would make it misjudge the downtime. */
const WINDOW_BYTES = 8 * 2 ** 20;
const SAMPLE_INTERVAL_MS = 100;
/**
 * QEMU switches by itself as soon as what is left fits its limit, so given the whole budget it spends
 * it. Under this one it goes on with its passes until the session, which knows the rates, says stop.
 */
const OWN_SWITCH_LIMIT_MS = 5;
/** QEMU's largest: once we stopped the guest, nothing holds the last pass back. */
const UNLIMITED_DOWNTIME_MS = 2_000_000;

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
    await prepareMigration(qmp, 'source');
    await qmp.ask('migrate-set-parameters', {
      // The link's bucket and window hold QEMU back; a second limit would only hide the first.
      'max-bandwidth': 0,
      'downtime-limit': OWN_SWITCH_LIMIT_MS,
    });
    return new QemuOutgoing(guest, qmp, await isRunning(qmp), options);
  }, done);
}

interface Round {
  readonly done: Completion<RoundReport>;
  readonly startedUs: number;
  /** QEMU's count of passes that ends this round. */
  readonly endsAtPass: number;
}

class QemuOutgoing implements OutgoingMigration {
  readonly #guest: QemuGuest;
  readonly #qmp: Qmp;
  readonly #wasRunning: boolean;
  readonly #sender: ByteSender;
  readonly #socketPath: string;
  readonly #onFailure: (error: DwcpError) => void;
  readonly #sampling: NodeJS.Timeout;
  #memory: NativeRegion | null = null;
  #round: Round | null = null;
  #info: MigrationInfo = {};
  #pass = 0;
  #roundsDone = 0;
  #sentPages = 0;
  #hasStopped = false;
  #isClosed = false;

  constructor(guest: QemuGuest, qmp: Qmp, wasRunning: boolean, options: OutgoingOptions) {
    this.#guest = guest;
    this.#qmp = qmp;
    this.#wasRunning = wasRunning;
    this.#onFailure = options.onFailure;
    this.#socketPath = join(guest.runDirectory, `out-${options.transferId.toString(36)}`);
    this.#sender = options.link.sendBytes(
      {
        transferId: options.transferId,
        epoch: options.epoch,
        listenPath: this.#socketPath,
        windowBytes: WINDOW_BYTES,
      },
      (event) => this.#carried(event),
    );
    guest.onEvent((event) => this.#happened(event));
    this.#sampling = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
    this.#sampling.unref();
  }

  round(done: Completion<RoundReport>): void {
    assert(this.#round === null, 'one round at a time');
    // QEMU counts the scan at the beginning as its first pass.
    const endsAtPass = this.#roundsDone + 2;
    this.#round = { done, startedUs: nowUs(), endsAtPass };
    if (this.#roundsDone > 0) return this.#maybeEndRound();
    this.#qmp.execute('migrate', { uri: `unix:${this.#socketPath}` }, (outcome) => {
      if (!outcome.ok) this.#failed(outcome.error);
    });
  }

  progress(): TransferProgress {
    const { ram } = this.#info;
    const { wireBytes, ackedBytes } = this.#sender.counters();
    return {
      zeroPages: ram?.duplicate ?? 0,
      ...{ duplicatePages: 0, deltaPages: 0, compressedPages: 0 },
      rawPages: ram?.normal ?? 0,
      rawBytes: (ram?.normal ?? 0) * PAGE_BYTES,
      wireBytes,
      ackedBytes,
      remainingBytes: ram?.remaining ?? 0,
      dirtyBytesPerSec: (ram?.['dirty-pages-rate'] ?? 0) * PAGE_BYTES,
    };
  }

  /** What is left follows by itself; the destination's `loaded` says when all of it arrived. */
  stopAndCopy(done: Completion<RoundReport>): void {
    const startedUs = nowUs();
    complete(async () => {
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
    if (!this.#isClosed) this.#sender.writeReturn(bytes);
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
    if (status === 'failed' || status === 'cancelled') this.#endedEarly(String(status));
  }

  #maybeEndRound(): void {
    const round = this.#round;
    if (round === null || !(this.#hasStopped || this.#pass >= round.endsAtPass)) return;
    this.#round = null;
    this.#roundsDone += 1;
    complete(() => this.#report(round.startedUs, this.#hasStopped), round.done);
  }

  async #report(startedUs: number, stopped: boolean): Promise<RoundReport> {
    this.#info = await queryMigration(this.#qmp);
    const { ram } = this.#info;
    const pages = (ram?.normal ?? 0) + (ram?.duplicate ?? 0);
    const sentPages = Math.max(0, pages - this.#sentPages);
    this.#sentPages = pages;
    return {
      sentPages,
      remainingBytes: ram?.remaining ?? 0,
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

  #carried(event: ByteSendEvent): void {
    if (event.type === 'failed') this.#failed(event.error);
  }

  #failed(error: DwcpError): void {
    if (this.#isClosed) return;
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
    this.#sender.close();
    this.#memory?.close();
  }
}

function nowUs(): number {
  return performance.now() * 1000;
}
