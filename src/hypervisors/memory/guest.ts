/** A running memory guest: a process that outlives its agent, with its own memory and tracking. */
import type {
  Guest,
  GuestDescription,
  GuestReference,
  GuestState,
  IncomingGuest,
  IncomingOptions,
  OutgoingMigration,
  OutgoingOptions,
  PreflightOptions,
  WorkloadReport,
} from '../../ports/hypervisor.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../util/errors.ts';
import * as fence from '../process-fence.ts';
import {
  acknowledgedSchema,
  connectControl,
  descriptionSchema,
  type GuestControl,
  type GuestProcess,
  reportSchema,
} from './control.ts';
import { openMemoryIncoming } from './incoming.ts';
import { PAGE_BYTES } from './memory.ts';
import { openMemoryOutgoing } from './outgoing.ts';

export class MemoryGuest implements Guest {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  readonly process: GuestProcess;
  readonly control: GuestControl;
  #onExit: (error: DwcpError | null) => void = () => {};
  #isKilled = false;
  readonly #cleanUps: (() => void)[] = [];

  constructor(reference: GuestReference, process: GuestProcess, control: GuestControl) {
    this.reference = reference;
    this.process = process;
    this.control = control;
    this.description = {
      kind: 'memory',
      name: reference.name,
      memoryBytes: process.sizeBytes,
      pageBytes: PAGE_BYTES,
      machine: { architecture: globalThis.process.arch },
      launch: {},
    };
    control.onClose(() => this.#exited());
  }

  onExit(listener: (error: DwcpError | null) => void): void {
    this.#onExit = listener;
  }

  /** Runs when the guest is let go of, such as unmapping the memory it arrived in. */
  onDetach(cleanUp: () => void): void {
    this.#cleanUps.push(cleanUp);
  }

  state(done: Completion<GuestState>): void {
    if (fence.allThreadsStopped(this.reference)) {
      setImmediate(() => done(succeeded('fenced')));
      return;
    }
    this.control.ask('describe', descriptionSchema, (outcome) => {
      done(outcome.ok ? succeeded(outcome.value.isRunning ? 'running' : 'paused') : outcome);
    });
  }

  workload(done: Completion<WorkloadReport | null>): void {
    if (fence.allThreadsStopped(this.reference)) {
      setImmediate(() => done(succeeded(null)));
      return;
    }
    this.control.ask('report', reportSchema, (outcome) => {
      if (!outcome.ok) return done(outcome);
      const { longestGapUs, ...rest } = outcome.value;
      done(succeeded({ ...rest, longestGapMs: longestGapUs / 1000 }));
    });
  }

  /** Between two operations; the process itself goes on and answers. */
  pause(done: Completion<void>): void {
    this.#command('pause', done);
  }

  /** Nothing about it ties it to its host. */
  preflight(_options: PreflightOptions, done: Completion<void>): void {
    setImmediate(() => done(succeeded(undefined)));
  }

  unfence(done: Completion<void>): void {
    fence.thaw(this.reference);
    this.#command('resume', done);
  }

  openOutgoing(options: OutgoingOptions, done: Completion<OutgoingMigration>): void {
    openMemoryOutgoing(this, options, done);
  }

  resumeIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    openMemoryIncoming(this, { ...options, isResumed: true }, done);
  }

  kill(done: Completion<void>): void {
    this.#isKilled = true;
    fence.kill(this.reference, (outcome) => {
      this.detach();
      done(outcome);
    });
  }

  detach(): void {
    this.control.close();
    for (const cleanUp of this.#cleanUps.splice(0)) cleanUp();
  }

  #command(command: string, done: Completion<void>): void {
    this.control.ask(command, acknowledgedSchema, (outcome) => {
      done(outcome.ok ? succeeded(undefined) : outcome);
    });
  }

  #exited(): void {
    const wasKilled = this.#isKilled;
    this.detach();
    this.#onExit(
      wasKilled
        ? null
        : new DwcpError('ERR_DWCP_GUEST_FAILED', `the process of "${this.reference.name}" is gone`),
    );
  }
}

/** Connects to a guest process and checks that it is the one the reference names. */
export function openGuest(
  reference: Pick<GuestReference, 'name' | 'socketPath'> & { readonly startTicks?: number },
  isPossible: () => boolean,
  done: Completion<MemoryGuest>,
): void {
  connectControl(reference.socketPath, isPossible, (connected) => {
    if (!connected.ok) return done(connected);
    const control = connected.value;
    control.ask('describe', descriptionSchema, (outcome) => {
      const startTicks = outcome.ok ? fence.readStartTicks(outcome.value.pid) : null;
      const isOther = reference.startTicks !== undefined && reference.startTicks !== startTicks;
      if (!outcome.ok || startTicks === null || isOther) {
        control.close();
        if (!outcome.ok) return done(outcome);
        return done(
          failed(
            new DwcpError(
              'ERR_DWCP_GUEST_UNKNOWN',
              `another process answers at ${reference.socketPath}`,
            ),
          ),
        );
      }
      const { name, socketPath } = reference;
      const { pid } = outcome.value;
      const found: GuestReference = { kind: 'memory', name, pid, startTicks, socketPath };
      done(succeeded(new MemoryGuest(found, outcome.value, control)));
    });
  });
}

/** A frozen guest cannot be asked, so the caller says what it is; it answers once it is unfenced. */
export function openFrozenGuest(
  reference: GuestReference,
  process: GuestProcess,
  done: Completion<MemoryGuest>,
): void {
  connectControl(
    reference.socketPath,
    () => false,
    (connected) =>
      done(
        connected.ok ? succeeded(new MemoryGuest(reference, process, connected.value)) : connected,
      ),
  );
}
