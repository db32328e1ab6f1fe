/** For tests that watch a process from the outside. */
import {
  kill as killProcess,
  type ProcessIdentity,
  pollUntil,
} from '../../src/hypervisors/process-fence.ts';
import { promised } from '../../src/util/promised.ts';

const WITHIN_MS = 5_000;

/** Rejects with the complaint when it does not come to hold. */
export function until(holds: () => boolean, complaint: string): Promise<void> {
  const condition = { holds, isPossible: () => true };
  return promised((done) => pollUntil(condition, { timeoutMs: WITHIN_MS, complaint }, done));
}

export function kill(process: ProcessIdentity): Promise<void> {
  return promised((done) => killProcess(process, done));
}
