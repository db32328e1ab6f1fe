import type { Disk } from '../../ports/disk.ts';
import { type Completion, failed } from '../../util/errors.ts';
import { atPlace } from './log-error.ts';
import { TEMPORARY_SUFFIX } from './names.ts';
import { type Step, steps } from './steps.ts';

/** A file that is there whole and for good, or not at all. */
export function createDurably(
  disk: Disk,
  name: string,
  bytes: Uint8Array,
  done: Completion<void>,
): void {
  const temporary = `${name}${TEMPORARY_SUFFIX}`;
  const work: readonly Step[] = [
    // What an earlier attempt left there may be longer.
    (next) => disk.remove(temporary, next),
    (next) => disk.writeAt(temporary, 0, bytes, next),
    (next) => disk.fdatasync(temporary, next),
    (next) => disk.rename(temporary, name, next),
    (next) => disk.syncDir(next),
  ];
  steps(work, (outcome) => done(outcome.ok ? outcome : failed(atPlace(name, 0, outcome.error))));
}
