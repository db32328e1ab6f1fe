/**
 * Stopping a guest's process so that nothing of it can run, and knowing it. A pid may be reused, so a
 * process is addressed by pid and start time; stopped counts only when every thread is seen stopped.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of `/proc/PID/stat`, in clock ticks since boot. */
  readonly startTicks: number;
}

const STOP_TIMEOUT_MS = 5_000;
const EXIT_TIMEOUT_MS = 10_000;
const POLL_INTERVAL_MS = 1;

/** Null when there is no such process, or only its unreaped remains. */
export function readStartTicks(pid: number): number | null {
  const stat = readStat(`/proc/${pid}/stat`);
  return stat === null || stat.state === 'Z' || stat.state === 'X' ? null : stat.startTicks;
}

export function isAlive(identity: ProcessIdentity): boolean {
  return readStartTicks(identity.pid) === identity.startTicks;
}

/** True when the process lives and each of its threads is stopped (state `T`). */
export function allThreadsStopped(identity: ProcessIdentity): boolean {
  if (!isAlive(identity)) return false;
  try {
    const tasks = readdirSync(`/proc/${identity.pid}/task`);
    return tasks.every(
      (task) => readStat(`/proc/${identity.pid}/task/${task}/stat`)?.state === 'T',
    );
  } catch {
    return false;
  }
}

/** SIGSTOP; done when every thread is seen stopped. */
export function freeze(identity: ProcessIdentity, done: Completion<void>): void {
  signal(identity, 'SIGSTOP');
  pollUntil(
    { holds: () => allThreadsStopped(identity), isPossible: () => isAlive(identity) },
    { timeoutMs: STOP_TIMEOUT_MS, complaint: `process ${identity.pid} did not stop` },
    done,
  );
}

/** SIGCONT. False when the process is gone. */
export function thaw(identity: ProcessIdentity): boolean {
  return signal(identity, 'SIGCONT');
}

/** SIGKILL; done when the process has exited, at once when it was gone already. */
export function kill(identity: ProcessIdentity, done: Completion<void>): void {
  signal(identity, 'SIGKILL');
  pollUntil(
    { holds: () => !isAlive(identity), isPossible: () => true },
    {
      timeoutMs: EXIT_TIMEOUT_MS,
      complaint: `process ${identity.pid} did not exit after SIGKILL`,
    },
    done,
  );
}

function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, name);
  } catch {
    return false;
  }
}

/** For what the kernel tells nobody of, such as a process that stopped. */
export function pollUntil(
  { holds, isPossible }: { readonly holds: () => boolean; readonly isPossible: () => boolean },
  { timeoutMs, complaint }: { readonly timeoutMs: number; readonly complaint: string },
  done: Completion<void>,
): void {
  const deadlineMs = performance.now() + timeoutMs;
  const poll = (): void => {
    if (holds()) return done(succeeded(undefined));
    if (!isPossible() || performance.now() > deadlineMs) {
      return done(
        failed(
          new DwcpError('ERR_DWCP_GUEST_FAILED', complaint, {
            hint: 'Look at the process with ps; it may be gone, or stuck in the kernel.',
          }),
        ),
      );
    }
    setTimeout(poll, POLL_INTERVAL_MS);
  };
  setImmediate(poll);
}

function readStat(path: string): { readonly state: string; readonly startTicks: number } | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return null;
  }
  // The name in parentheses may itself hold spaces and parentheses; the last one ends it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields[0], Number(fields[19])];
  return state === undefined || !Number.isSafeInteger(startTicks) ? null : { state, startTicks };
}
