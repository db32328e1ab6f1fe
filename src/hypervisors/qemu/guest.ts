/** A QEMU process that an agent manages over QMP and that outlives it. */
import type {
  Guest,
  GuestDescription,
  GuestReference,
  GuestState,
  OutgoingMigration,
  OutgoingOptions,
  PreflightOptions,
  WorkloadReport,
} from '../../ports/hypervisor.ts';
import { type Completion, DwcpError, succeeded } from '../../util/errors.ts';
import { complete, promised } from '../../util/promised.ts';
import * as fence from '../process-fence.ts';
import { openQmp } from './launch.ts';
import { memoryFile, PAGE_BYTES } from './memory.ts';
import { endMigration, isRunning, queryMigration } from './migrate.ts';
import { openQemuOutgoing } from './outgoing.ts';
import { checkDisks } from './preflight.ts';
import type { Qmp, QmpEvent, QmpListener } from './qmp.ts';
import { type QemuRecord, removeRunDirectory } from './run-directory.ts';

/** Without its socket a QEMU ends within this, or it lives and somebody else closed the socket. */
const END_WITHIN_MS = 30_000;

export interface QemuGuestParts {
  readonly reference: GuestReference;
  readonly record: QemuRecord;
  readonly runDirectory: string;
  /** Null when nobody is connected yet. */
  readonly qmp: Qmp | null;
}

export class QemuGuest implements Guest {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  readonly runDirectory: string;
  readonly #record: QemuRecord;
  readonly #listener: QmpListener = {
    onEvent: (event) => this.#onEvent(event),
    onClose: () => this.#disconnected(),
  };
  #qmp: Promise<Qmp> | null;
  #onExit: (error: DwcpError | null) => void = () => {};
  #onEvent: (event: QmpEvent) => void = () => {};
  #isKilled = false;
  #isDetached = false;
  #hasExited = false;

  constructor({ reference, record, runDirectory, qmp }: QemuGuestParts) {
    this.reference = reference;
    this.runDirectory = runDirectory;
    this.#record = record;
    qmp?.subscribe(this.#listener);
    this.#qmp = qmp === null ? null : Promise.resolve(qmp);
    this.description = {
      kind: 'qemu',
      name: reference.name,
      memoryBytes: record.memoryBytes,
      pageBytes: PAGE_BYTES,
      machine: record.machine,
      launch: { args: record.args, sharedDisks: record.sharedDisks },
    };
  }

  onExit(listener: (error: DwcpError | null) => void): void {
    this.#onExit = listener;
  }

  onEvent(listener: (event: QmpEvent) => void): void {
    this.#onEvent = listener;
  }

  /** The one connection that QEMU allows; a frozen process does not answer a new one. */
  qmp(): Promise<Qmp> {
    if (this.#qmp !== null) return this.#qmp;
    const opening = openQmp({ path: this.reference.socketPath, ...this.#listener });
    this.#qmp = opening;
    opening.catch(() => {
      this.#qmp = null;
    });
    return opening;
  }

  state(done: Completion<GuestState>): void {
    complete(async () => {
      if (!fence.isAlive(this.reference)) throw this.#exited();
      if (fence.allThreadsStopped(this.reference)) return 'fenced';
      return (await isRunning(await this.qmp())) ? 'running' : 'paused';
    }, done);
  }

  /** What runs inside is not ours to know. */
  workload(done: Completion<WorkloadReport | null>): void {
    setImmediate(() => done(succeeded(null)));
  }

  preflight({ verify }: PreflightOptions, done: Completion<void>): void {
    complete(async () => {
      if (verify !== 'off') this.#requireSharedMemory();
      await checkDisks(await this.qmp(), new Set(this.#record.sharedDisks));
    }, done);
  }

  unfence(done: Completion<void>): void {
    complete(async () => {
      fence.thaw(this.reference);
      const qmp = await this.qmp();
      await endMigration(qmp);
      if (!(await isRunning(qmp))) await qmp.ask('cont');
    }, done);
  }

  openOutgoing(options: OutgoingOptions, done: Completion<OutgoingMigration>): void {
    openQemuOutgoing(this, options, done);
  }

  hasLeft(done: Completion<boolean>): void {
    complete(async () => (await queryMigration(await this.qmp())).status === 'completed', done);
  }

  kill(done: Completion<void>): void {
    this.#isKilled = true;
    complete(async () => {
      await promised<void>((killed) => fence.kill(this.reference, killed));
      this.#disconnect();
      removeRunDirectory(this.runDirectory);
    }, done);
  }

  detach(): void {
    this.#isDetached = true;
    this.#disconnect();
  }

  #disconnect(): void {
    this.#qmp?.then(
      (qmp) => qmp.close(),
      () => {},
    );
    this.#qmp = null;
  }

  /**
   * The socket closes while the process is still ending: looking once would miss most deaths. Somebody
   * may ask for a new connection meanwhile, which tells nothing about the process.
   */
  #disconnected(): void {
    this.#qmp = null;
    const { name, pid } = this.reference;
    fence.pollUntil(
      {
        holds: () => !fence.isAlive(this.reference),
        isPossible: () => !this.#isDetached && !this.#hasExited,
      },
      { timeoutMs: END_WITHIN_MS, complaint: `QEMU of "${name}" (pid ${pid}) lives on` },
      (ended) => {
        if (ended.ok) this.#exited();
      },
    );
  }

  #exited(): DwcpError {
    const { name, pid } = this.reference;
    const error = new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU of "${name}" (pid ${pid}) is gone`);
    if (!this.#hasExited && !this.#isDetached) {
      this.#hasExited = true;
      this.#onExit(this.#isKilled ? null : error);
    }
    return error;
  }

  #requireSharedMemory(): void {
    const { name, pid } = this.reference;
    if (memoryFile(pid, this.#record.memoryBytes) !== null) return;
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', `the RAM of "${name}" is not shared by memfd`, {
      hint: 'Give QEMU a memory-backend-memfd with share=on, or migrate with --verify off.',
    });
  }
}
