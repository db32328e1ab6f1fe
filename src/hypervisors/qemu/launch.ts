/** Starts QEMU in a session of its own, so that our death neither stops nor wakes it. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { QemuBinary } from '../../ports/hypervisor.ts';
import { DwcpError } from '../../util/errors.ts';
import { promised } from '../../util/promised.ts';
import { type ProcessIdentity, pollUntil, readStartTicks } from '../process-fence.ts';
import { isListening } from './find-process.ts';
import { RUN_DIRECTORY } from './launch-arguments.ts';
import { Qmp, type QmpOptions } from './qmp.ts';

export interface RunningQemu {
  readonly process: ProcessIdentity;
  readonly qmpPath: string;
}

const START_WITHIN_MS = 10_000;
const LOG_BYTES_SHOWN = 800;

/** Rejects with QEMU's own words. `@RUN@` in `args` stands for `runDirectory`. */
export async function launchQemu(
  qemu: QemuBinary,
  args: readonly string[],
  runDirectory: string,
): Promise<RunningQemu> {
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
  const qmpPath = join(runDirectory, 'qmp');
  const log = openSync(join(runDirectory, 'log'), 'w', 0o600);
  const placed = args.map((arg) => arg.replaceAll(RUN_DIRECTORY, runDirectory));
  const qmp = ['-qmp', qmpArgument(runDirectory)];
  const child = spawn(qemu.binary, [...qemu.args, ...placed, ...qmp], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...qemu.env },
  });
  closeSync(log);
  let missing: NodeJS.ErrnoException | null = null;
  child.on('error', (error) => {
    missing = error;
  });
  let hasExited = false;
  child.on('exit', () => {
    hasExited = true;
  });
  child.unref();
  await promised<void>((done) =>
    pollUntil(
      { holds: () => isListening(qmpPath), isPossible: () => missing === null && !hasExited },
      { timeoutMs: START_WITHIN_MS, complaint: 'QEMU made no QMP socket' },
      done,
    ),
  ).catch((error: unknown) => {
    child.kill('SIGKILL');
    if (missing !== null) throw notFound(qemu.binary, missing);
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU did not start: ${lastWords(runDirectory)}`, {
      cause: error,
      hint: `Its arguments are in the message or in ${runDirectory}/log; the machine may lack a device or file they name.`,
    });
  });
  const pid = child.pid ?? 0;
  const startTicks = readStartTicks(pid);
  if (startTicks === null) {
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU did not start: ${lastWords(runDirectory)}`);
  }
  return { process: { pid, startTicks }, qmpPath };
}

/** Tells a QEMU of this folder from all others, also before it made its socket. */
export function qmpArgument(runDirectory: string): string {
  return `unix:${join(runDirectory, 'qmp')},server=on,wait=off`;
}

/** What QEMU said last; empty when it said nothing. */
export function lastWords(runDirectory: string): string {
  try {
    return readFileSync(join(runDirectory, 'log'), 'utf8').trim().slice(-LOG_BYTES_SHOWN);
  } catch {
    return '';
  }
}

export function openQmp(options: QmpOptions): Promise<Qmp> {
  return promised((done) => Qmp.open(options, done));
}

function notFound(binary: string, cause: NodeJS.ErrnoException): DwcpError {
  return new DwcpError('ERR_DWCP_QEMU_MISSING', `cannot run ${binary}: ${cause.message}`, {
    hint: 'Install qemu-system-x86 (on Debian 12 from bookworm-backports), or name it as qemu.binary in the configuration; "dwcp doctor" shows how to fetch one.',
    cause,
  });
}
