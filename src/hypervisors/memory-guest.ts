/** The embedded default guest: a real workload in a native process of its own, moved like a VM. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
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
import { type MemoryGuest, openGuest } from './memory/guest.ts';
import { MemoryIncoming } from './memory/incoming.ts';
import { PAGE_BYTES } from './memory/memory.ts';
import { kill, readStartTicks } from './process-fence.ts';

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
    if (readStartTicks(reference.pid) !== reference.startTicks) {
      const message = `the process of "${reference.name}" (pid ${reference.pid}) is gone`;
      setImmediate(() => done(failed(new DwcpError('ERR_DWCP_GUEST_FAILED', message))));
      return;
    }
    openGuest(reference, () => false, done);
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
      (outcome) => done(outcome.ok ? receive(outcome.value, options) : outcome),
    );
  }

  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void {
    const orphans = readGuestFiles(this.#dataDir).filter(({ socketPath }) => !keep.has(socketPath));
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
        removeFile(orphan.socketPath);
        removeFile(pidFile(orphan.socketPath));
        left -= 1;
        if (left === 0) finish();
      });
    }
  }
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

function receive(guest: MemoryGuest, options: IncomingOptions): Outcome<IncomingGuest> {
  try {
    return succeeded(new MemoryIncoming(guest, options));
  } catch (error) {
    guest.kill(() => {});
    if (error instanceof DwcpError) return failed(error);
    return failed(new DwcpError('ERR_DWCP_GUEST_FAILED', String(error), { cause: error }));
  }
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
    const message = `cannot use ${directory}: ${cause instanceof Error ? cause.message : cause}`;
    setImmediate(() => done(failed(new DwcpError('ERR_DWCP_STORAGE', message, { cause }))));
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
    removeFile(socketPath);
    removeFile(pidFile(socketPath));
  });
  openGuest(
    { name: options.name, socketPath },
    () => !isOver,
    (outcome) => {
      if (outcome.ok) writePidFile(outcome.value.reference);
      done(outcome);
    },
  );
}

// ---- which guests this data directory started ---------------------------------------------------

function guestDirectory(dataDir: string): string {
  return join(dataDir, 'memory-guests');
}

function pidFile(socketPath: string): string {
  return socketPath.replace(/\.sock$/, '.pid');
}

function writePidFile(reference: GuestReference): void {
  writeFileSync(
    pidFile(reference.socketPath),
    `${reference.pid} ${reference.startTicks} ${reference.name}\n`,
    { mode: 0o600 },
  );
}

function readGuestFiles(dataDir: string): readonly GuestReference[] {
  const directory = guestDirectory(dataDir);
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((file) => {
    if (!file.endsWith('.pid')) return [];
    const text = readFileSync(join(directory, file), 'utf8');
    const match = /^([0-9]+) ([0-9]+) (.+)\n$/.exec(text);
    if (match === null) return [];
    const socketPath = join(directory, file.replace(/\.pid$/, '.sock'));
    const [, pid, startTicks, name = ''] = match;
    return [{ kind: 'memory', name, pid: Number(pid), startTicks: Number(startTicks), socketPath }];
  });
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already: that is what was wanted.
  }
}
