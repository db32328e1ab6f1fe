/**
 * A replica whose log's end is damaged cannot tell a write that a power loss tore from one that was
 * synced, acknowledged and flipped later. It remembers where its log may have ended, at most, and votes
 * as if it still ended there: for logs that reach it. That alone would lock up a group whose replicas
 * all came back with a torn end, so such a replica also grants pre-votes by what it still has, marked
 * as damaged, and those count only together with the grants of all voters: then nobody holds more,
 * what was torn off was on no majority that still exists, and the campaign says so (`unanimous`).
 */
import type { LogPosition } from './log.ts';
import type { ReplicaState } from './state.ts';
import type { Restored, Term } from './types.ts';

/** `lastTerm` and `lastIndex` of the log that was read; null when nothing can be missing. */
export function lostEndOf(
  { damagedIndex, damagedTerm }: Restored,
  term: Term,
  last: LogPosition,
): LogPosition | null {
  if (damagedIndex === null) return null;
  const lost = { index: damagedIndex, term: damagedTerm ?? term };
  return reaches(last, lost) ? null : lost;
}

/** Whether a log that ends there misses nothing that the damaged one may have held. */
export function reachesLostEnd({ lostEnd }: ReplicaState, last: LogPosition): boolean {
  return lostEnd === null || reaches(last, lostEnd);
}

/** Our log equals a leader's up to `position`. */
export function heal(state: ReplicaState, position: LogPosition): void {
  if (reachesLostEnd(state, position)) state.lostEnd = null;
}

export function reaches(last: LogPosition, lost: LogPosition): boolean {
  return last.term > lost.term || (last.term === lost.term && last.index >= lost.index);
}
