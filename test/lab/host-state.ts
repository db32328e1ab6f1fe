/** What a link could leave on this machine. */
import { readdirSync, readFileSync } from 'node:fs';

/** Of the link whose guardian is `owner`. */
export function namespacesLeft(owner: number): readonly string[] {
  return readdirSync('/run/netns').filter((name) => name.startsWith(`dwcp-lab-${owner}-`));
}

/** Ids of processes whose command line has `word` as one of its words. */
export function processesWith(word: string): readonly number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid && hasWord(pid, word));
}

function hasWord(pid: number, word: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word);
  } catch {
    return false; // It ended meanwhile.
  }
}

export async function until(otherwise: string, holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(otherwise);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
