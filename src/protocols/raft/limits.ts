/** Bounds and times where the embedder names none, and the relations they must keep. */
import { assert } from '../../util/assert.ts';
import type { RaftLimits, RaftTiming } from './types.ts';

export const DEFAULT_LIMITS: RaftLimits = {
  messageBytes: 1 << 20,
  inflightMessages: 256,
  inflightBytes: 8 << 20,
  uncommittedBytes: 64 << 20,
  applyingBytes: 8 << 20,
  waitingReads: 4096,
  snapshotChunkBytes: 256 << 10,
  snapshotEveryEntries: 10_000,
  keptTailEntries: 1_000,
  logBytes: 256 << 20,
};

export const DEFAULT_TIMING: RaftTiming = {
  heartbeatUs: 50_000,
  electionUs: 150_000,
  diskStallUs: 300_000,
};

export function checkedLimits(given: Partial<RaftLimits> | undefined): RaftLimits {
  const limits = { ...DEFAULT_LIMITS, ...given };
  for (const [name, value] of Object.entries(limits)) {
    const least = name === 'snapshotEveryEntries' || name === 'keptTailEntries' ? 0 : 1;
    assert(Number.isSafeInteger(value) && value >= least, `${name} is an integer from ${least} on`);
  }
  return limits;
}

export function checkedTiming(given: Partial<RaftTiming> | undefined): RaftTiming {
  const timing = { ...DEFAULT_TIMING, ...given };
  for (const [name, value] of Object.entries(timing)) {
    assert(Number.isSafeInteger(value) && value > 0, `${name} is a positive integer`);
  }
  // One lost heartbeat must not cost a leader its office.
  assert(timing.electionUs >= 2 * timing.heartbeatUs, 'an election waits for two heartbeats');
  return timing;
}
