/** A process named by pid and start time, so that a reused pid is never signalled. */
import { readdirSync, readFileSync } from 'node:fs';
import { DwcpError } from '../../util/errors.ts';

export interface ProcessName {
  readonly pid: number;
  readonly startTicks: number;
}

const POLL_MS = 2;
const GIVE_UP_MS = 5_000;

/** Null when no such process runs; a zombie has exited. */
export function processName(pid: number): ProcessName | null {
  const fields = statFields(`/proc/${pid}/stat`);
  const isGone = fields === null || fields[0] === 'Z' || fields[0] === 'X';
  return isGone ? null : { pid, startTicks: Number(fields[19]) };
}

export function isAlive(name: ProcessName): boolean {
  return processName(name.pid)?.startTicks === name.startTicks;
}

/** SIGSTOP; resolves when every thread is seen stopped. */
export async function freeze(name: ProcessName): Promise<void> {
  signal(name, 'SIGSTOP');
  await until(() => allThreadsStopped(name), `process ${name.pid} did not stop`);
}

export function thaw(name: ProcessName): void {
  signal(name, 'SIGCONT');
}

/** SIGKILL; resolves when the process has exited. Killing what is gone succeeds. */
export async function kill(name: ProcessName): Promise<void> {
  if (isAlive(name)) process.kill(name.pid, 'SIGKILL');
  await until(() => !isAlive(name), `process ${name.pid} did not exit`);
}

function allThreadsStopped(name: ProcessName): boolean {
  if (!isAlive(name)) throw gone(name);
  const threads = readdirSync(`/proc/${name.pid}/task`);
  return threads.every((id) => {
    const state = statFields(`/proc/${name.pid}/task/${id}/stat`)?.[0];
    return state === undefined || state === 'T' || state === 't';
  });
}

function signal(name: ProcessName, which: NodeJS.Signals): void {
  if (!isAlive(name)) throw gone(name);
  process.kill(name.pid, which);
}

function gone(name: ProcessName): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU process ${name.pid} is gone`);
}

/** Polls: /proc tells nobody of a change. */
export async function until(holds: () => boolean, otherwise: string): Promise<void> {
  const startMs = performance.now();
  while (!holds()) {
    if (performance.now() - startMs > GIVE_UP_MS) {
      throw new DwcpError('ERR_DWCP_TIMEOUT', `${otherwise} within ${GIVE_UP_MS} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** From field 3 (state) on: the command in field 2 may hold blanks and parentheses. */
function statFields(path: string): string[] | null {
  try {
    const text = readFileSync(path, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}
