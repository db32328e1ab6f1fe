/** Starts QEMU in a session of its own, so that our death neither stops nor wakes it. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DwcpError } from '../../util/errors.ts';
import { type ProcessName, processName, until } from './process.ts';
import { Qmp, type QmpOptions } from './qmp.ts';

/** What `scripts/qemu.mjs` prints. */
export interface QemuBinary {
  readonly binary: string;
  readonly version: string;
  readonly env: Readonly<Record<string, string>>;
  /** Go before all others, such as `-L` paths. */
  readonly args: readonly string[];
}

export interface RunningQemu {
  readonly process: ProcessName;
  readonly qmpPath: string;
}

/** `@RUN@` in `args` stands for `runDir`, so that two twins on one host do not share a path. */
export async function launchQemu(
  qemu: QemuBinary,
  args: readonly string[],
  runDir: string,
): Promise<RunningQemu> {
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const qmpPath = join(runDir, 'qmp');
  const logPath = join(runDir, 'log');
  const log = openSync(logPath, 'w');
  const placed = args.map((arg) => arg.replaceAll('@RUN@', runDir));
  const qmp = ['-qmp', `unix:${qmpPath},server=on,wait=off`];
  const child = spawn(qemu.binary, [...qemu.args, ...placed, ...qmp], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...qemu.env },
  });
  closeSync(log);
  let refused: string | null = null;
  child.on('error', (error) => {
    refused = error.message;
  });
  child.on('exit', () => {
    refused ??= readFileSync(logPath, 'utf8').trim().slice(-800);
  });
  child.unref();
  await until(() => refused !== null || existsSync(qmpPath), 'QEMU made no QMP socket');
  const name = child.pid === undefined ? null : processName(child.pid);
  if (refused !== null || name === null) {
    throw new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU did not start: ${refused}`);
  }
  return { process: name, qmpPath };
}

export function openQmp(options: QmpOptions): Promise<Qmp> {
  return new Promise((resolve, reject) =>
    Qmp.open(options, (outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error))),
  );
}
