/** Opens a log on any disk and drives it, waiting for each answer. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Disk } from '../../src/ports/disk.ts';
import type { RaftLog, RaftLogIdentity, RaftWrite } from '../../src/ports/raft-log.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import type {
  Entry,
  HardState,
  Persist,
  Restored,
  Snapshot,
} from '../../src/protocols/raft/types.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import type { RaftLogOptions } from '../../src/storage/raft-log/options.ts';
import type { Completion, DwcpError } from '../../src/util/errors.ts';

export const identity: RaftLogIdentity = { group: 'owners', replica: 2 };
export const founding: Restored = founder([1, 2, 3]);
/** Small, so that a few writes fill segments. */
export const small: RaftLogOptions = {
  segmentBytes: 3072,
  batchBytes: 4096,
  growthBytesMin: 1024,
  growthBytesMax: 4096,
};

export const digestOf = (data: Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');

export type Result<T> = T | DwcpError;

/** Runs what was asked at once; the disk answers when `run` is called. */
export function ask<T>(run: () => void, work: (done: Completion<T>) => void): Result<T> {
  const answers: Result<T>[] = [];
  work((outcome) => answers.push(outcome.ok ? outcome.value : outcome.error));
  assert.equal(answers.length, 0, 'a completion never runs inside the call that asked');
  run();
  assert.equal(answers.length, 1, 'a completion comes once');
  return answers[0] as Result<T>;
}

export interface OpenLog {
  readonly log: RaftLog;
  readonly restored: Restored;
  readonly write: (write: RaftWrite) => Result<void>;
}

export function open(
  disk: Disk,
  run: () => void,
  options: Partial<RaftLogOptions> = small,
  who: RaftLogIdentity = identity,
): Result<OpenLog> {
  const result = ask<{ log: RaftLog; restored: Restored }>(run, (done) =>
    openRaftLog(disk, who, founding, digestOf, done, options),
  );
  if (result instanceof Error) return result;
  const { log, restored } = result;
  return { log, restored, write: (write) => ask<void>(run, (done) => log.write(write, done)) };
}

export function opened(result: Result<OpenLog>): OpenLog {
  if (result instanceof Error) throw result;
  return result;
}

export function command(index: number, term: number, text: string = `${index}@${term}`): Entry {
  return { kind: 'command', index, term, data: new TextEncoder().encode(text) };
}

export function persist(
  hardState: HardState,
  entries: readonly Entry[] = [],
  snapshot: Snapshot | null = null,
): Persist {
  return { type: 'persist', token: 1, hardState, entries, snapshot };
}

/** `index@term`, in order. */
export function print(entries: readonly Entry[]): string {
  return entries.map(({ index, term }) => `${index}@${term}`).join(' ');
}

export function snapshotOf(index: number, term: number, data: Uint8Array): Snapshot {
  const { configuration } = founding.snapshot;
  return { index, term, configuration, sizeBytes: data.length, digest: digestOf(data) };
}
