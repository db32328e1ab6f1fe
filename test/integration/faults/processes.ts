/** Processes as the kernel knows them. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { allThreadsStopped, readStartTicks } from '../../../src/hypervisors/process-fence.ts';

export interface FoundProcess {
  readonly pid: number;
  readonly words: readonly string[];
}

/** Those whose program is called so, or starts with it. */
export function guestProcesses(program: string): readonly FoundProcess[] {
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.some((word) => basename(word).startsWith(program)) ? [{ pid, words }] : [];
    } catch {
      return []; // It ended meanwhile.
    }
  });
}

export function isFrozen(pid: number): boolean {
  const startTicks = readStartTicks(pid);
  return startTicks !== null && allThreadsStopped({ pid, startTicks });
}
