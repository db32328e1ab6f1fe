/** Asks another program for its version without letting it hang the doctor. */
import { spawnSync } from 'node:child_process';

const PATIENCE_MS = 5_000;

/** What it printed, or null when it is not installed or failed. */
export function runForText(command: string, args: readonly string[]): string | null {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: PATIENCE_MS });
  return result.error === undefined && result.status === 0 ? result.stdout.trim() : null;
}
