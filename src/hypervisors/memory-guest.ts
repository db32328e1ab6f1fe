/** The embedded default guest: a real workload in a native process of its own, moved like a VM. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type {
  Guest,
  GuestHandle,
  GuestReference,
  Hypervisor,
  IncomingGuest,
  IncomingOptions,
} from '../ports/hypervisor.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { type MemoryGuest, openFrozenGuest, openGuest } from './memory/guest.ts';
import {
  type GuestFile,
  guestDirectory,
  listGuestFiles,
  readGuestFile,
  removeGuestFiles,
  writeGuestFile,
} from './memory/guest-files.ts';
import { openMemoryIncoming } from './memory/incoming.ts';
import { PAGE_BYTES } from './memory/memory.ts';
import { allThreadsStopped, isAlive, kill, readStartTicks } from './process-fence.ts';

// Seen from dist/src/hypervisors.
const BINARY = fileURLToPath(new URL('../../../native/build/Release/dwcp-guest', import.meta.url));

export interface MemoryGuestOptions {
  readonly name: string;
  /** A multiple of 4096, at least 1 MiB. */
  readonly memoryBytes: number;
  /** Distinct pages written per second, times the page size. Default 0. */
  readonly dirtyBytesPerSec?: number;
  /** Default: all of the memory. */
  readonly workingSetBytes?: number;
  /** Share of pages that start as zeros, 0 to 1. Default 0.25. */
  readonly zeroShare?: number;
}

/** Starts a guest process that outlives this one. */
export function memoryGuest(options: MemoryGuestOptions): GuestHandle {
  const {
    name,
    memoryBytes,
    dirtyBytesPerSec = 0,
    workingSetBytes = 0,
    zeroShare = 0.25,
  } = options;
  const flags = [
    ...['--dirty-rate', String(dirtyBytesPerSec), '--working-set', String(workingSetBytes)],
    ...['--zero-permille', String(Math.round(zeroShare * 1000))],
  ];
  return {
    kind: 'memory',
    name,
    open: ({ dataDir }) =>
      new Promise<Guest>((resolve, reject) => {
        launch({ dataDir, name, sizeBytes: memoryBytes, flags }, (outcome) =>
          outcome.ok ? resolve(outcome.value) : reject(outcome.error),
        );
      }),
  };
}

export function memoryHypervisor(options: { readonly dataDir: string }): Hypervisor {
  return new MemoryHypervisor(options.dataDir);
}

class MemoryHypervisor implements Hypervisor {
  readonly kind = 'memory';
  readonly #dataDir: string;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  adopt(reference: GuestReference, done: Completion<Guest>): void {
    const answer: Completion<Guest> = (outcome) => {
      if (outcome.ok || !isAlive(reference)) return done(outcome);
      done(failed(silent(reference, outcome.error)));
    };
    if (!isAlive(reference)) {
      const message = `the process of "${reference.name}" (pid ${reference.pid}) is gone`;
      setImmediate(() => done(failed(new DwcpError('ERR_DWCP_GUEST_FAILED', message))));
      return;
    }
    // A frozen process takes connections, by its kernel, and answers nothing.
    const known = readGuestFile(reference.socketPath)?.process ?? null;
    if (known !== null && allThreadsStopped(reference)) openFrozenGuest(reference, known, answer);
    else openGuest(reference, () => false, answer);
  }

  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    const refusal = preflight(options);
    if (refusal !== null) {
      setImmediate(() => done(failed(refusal)));
      return;
    }
    const { name, memoryBytes } = options.description;
    launch(
      { dataDir: this.#dataDir, name, sizeBytes: memoryBytes, flags: ['--incoming'] },
      (outcome) => {
        if (!outcome.ok) return done(outcome);
        const guest = outcome.value;
        openMemoryIncoming(guest, { ...options, isResumed: false }, (opened) => {
          if (!opened.ok) guest.kill(() => {});
          done(opened);
        });
      },
    );
  }

  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void {
    const orphans = listGuestFiles(this.#dataDir).filter(({ socketPath }) => !keep.has(socketPath));
    let left = orphans.length;
    const removed: string[] = [];
    const finish = (): void => done(succeeded(removed));
    if (left === 0) {
      setImmediate(finish);
      return;
    }
    for (const orphan of orphans) {
      kill(orphan, (outcome) => {
        if (outcome.ok) removed.push(orphan.socketPath);
        removeGuestFiles(orphan.socketPath);
        left -= 1;
        if (left === 0) finish();
      });
    }
  }
}

function silent(reference: GuestReference, cause: DwcpError): DwcpError {
  return new DwcpError(
    'ERR_DWCP_GUEST_STATE',
    `the process of "${reference.name}" (pid ${reference.pid}) lives and does not answer: ${cause.message}`,
    { hint: 'It is left as it is. Restart the agent when the host is less busy.', cause },
  );
}

function preflight({ description }: IncomingOptions): DwcpError | null {
  if (description.pageBytes !== PAGE_BYTES || description.memoryBytes % PAGE_BYTES !== 0) {
    const message = `page size ${description.pageBytes} of "${description.name}" is not ${PAGE_BYTES}`;
    return new DwcpError('ERR_DWCP_INCOMPATIBLE', message);
  }
  const architecture = description.machine['architecture'];
  if (architecture !== process.arch) {
    const message = `architecture ${architecture} of "${description.name}" is not ${process.arch}`;
    return new DwcpError('ERR_DWCP_INCOMPATIBLE', message);
  }
  // What the kernel could give without swapping: more than what lies idle.
  const availableBytes = freemem();
  if (description.memoryBytes <= availableBytes) return null;
  return new DwcpError(
    'ERR_DWCP_NO_ROOM',
    `"${description.name}" needs ${description.memoryBytes} bytes, available are ${availableBytes}`,
    { hint: 'Free memory on this host, or choose another destination.' },
  );
}

interface LaunchOptions {
  readonly dataDir: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly flags: readonly string[];
}

function launch(options: LaunchOptions, done: Completion<MemoryGuest>): void {
  const directory = guestDirectory(options.dataDir);
  let log: number;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    log = openSync(join(directory, 'guests.log'), 'a', 0o600);
  } catch (cause) {
    setImmediate(() => done(failed(unusable(directory, cause))));
    return;
  }
  const socketPath = join(directory, `${randomBytes(6).toString('hex')}.sock`);
  const required = ['--name', options.name, '--size', String(options.sizeBytes)];
  const child = spawn(BINARY, [...required, '--socket', socketPath, ...options.flags], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  child.unref();
  let isOver = false;
  child.on('error', () => {
    isOver = true;
  });
  child.on('exit', () => {
    isOver = true;
    removeGuestFiles(socketPath);
  });
  const { name } = options;
  const { pid } = child;
  const startTicks = pid === undefined ? null : readStartTicks(pid);
  if (pid !== undefined && startTicks !== null) {
    const noted = note(socketPath, { name, pid, startTicks, process: null });
    if (!noted.ok) {
      child.kill('SIGKILL');
      setImmediate(() => done(noted));
      return;
    }
  }
  openGuest(
    { name, socketPath },
    () => !isOver,
    (outcome) => {
      if (!outcome.ok) return done(outcome);
      const { reference, process } = outcome.value;
      const noted = note(socketPath, { ...reference, process });
      if (noted.ok) return done(outcome);
      outcome.value.kill(() => done(noted));
    },
  );
}

/** A guest that no later agent could find is not started at all. */
function note(socketPath: string, file: GuestFile): Outcome<void> {
  try {
    return succeeded(writeGuestFile(socketPath, file));
  } catch (cause) {
    return failed(unusable(socketPath, cause));
  }
}

function unusable(path: string, cause: unknown): DwcpError {
  const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
  return new DwcpError('ERR_DWCP_STORAGE', `cannot write ${path}: ${errno}`, {
    hint: 'Free some space in the data directory, and give this user the right to write there.',
    errno,
    cause,
  });
}
