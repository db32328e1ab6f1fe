/**
 * What a link's own traffic tells of its way, interval by interval. Each figure is a bound: a link that had
 * nothing to send proves nothing about its rate but what it carried, and round trips under our own load are
 * those of our own queues, so they prove only that the way is not longer.
 */
import type { BulkPathFacts } from '../../ports/transport.ts';

/** Null is unknown, and stays so. */
export interface Bounds {
  readonly least: number | null;
  readonly most: number | null;
}

export interface PathSample {
  readonly atUs: number;
  readonly rttUs: Bounds;
  readonly bytesPerSec: Bounds;
  /** Segments sent again, of those sent. */
  readonly lossShare: number | null;
  readonly jitterUs: number | null;
}

export interface PathInput {
  readonly nowUs: number;
  readonly facts: BulkPathFacts;
  /** Of a ping that was answered since the last look. */
  readonly pingUs: number | null;
  /** We hold ourselves back to this; 0 is unlimited. */
  readonly limitBytesPerSec: number;
}

/** Of the time, with something to send on every stream. */
const BUSY_SHARE = 0.8;
/** Of that time, at most so much waiting for the peer or for our own buffers. */
const HELD_SHARE = 0.2;
/** A rate this close to our own limit is our limit's. */
const LIMIT_SHARE = 0.9;
const UNKNOWN: Bounds = { least: null, most: null };

export class PathMeter {
  #last: { readonly nowUs: number; readonly facts: BulkPathFacts } | null = null;

  /** Null when nothing can be said of the interval: at first, and when a stream came or went. */
  sample(input: PathInput): PathSample | null {
    const { nowUs, facts, pingUs } = input;
    const last = this.#last;
    this.#last = { nowUs, facts };
    if (last === null || nowUs <= last.nowUs || facts.streams !== last.facts.streams) return null;
    const acked = facts.ackedBytes - last.facts.ackedBytes;
    const sent = facts.segmentsSent - last.facts.segmentsSent;
    if (acked < 0 || sent < 0) return null;
    const isLoaded = acked > 0 && facts.idlePulls === last.facts.idlePulls;
    const resent = facts.segmentsResent - last.facts.segmentsResent;
    return {
      atUs: nowUs,
      rttUs: roundTrips(facts, acked > 0, isLoaded, pingUs),
      bytesPerSec: acked === 0 ? UNKNOWN : rates(input, last, acked, isLoaded),
      lossShare: sent > 0 ? Math.max(0, resent) / sent : null,
      jitterUs: acked > 0 ? facts.rttVarUs : null,
    };
  }

  /** Other streams, whose counters begin anew. */
  reset(): void {
    this.#last = null;
  }
}

function roundTrips(
  facts: BulkPathFacts,
  isUsed: boolean,
  isLoaded: boolean,
  pingUs: number | null,
): Bounds {
  if (isLoaded && facts.rttUs > 0) return { least: facts.rttMinUs || null, most: facts.rttUs };
  if (isUsed && facts.rttUs > 0) return { least: facts.rttUs, most: facts.rttUs };
  return pingUs === null ? UNKNOWN : { least: pingUs, most: pingUs };
}

function rates(
  { nowUs, facts, limitBytesPerSec }: PathInput,
  last: { readonly nowUs: number; readonly facts: BulkPathFacts },
  acked: number,
  isLoaded: boolean,
): Bounds {
  const passedUs = nowUs - last.nowUs;
  const least = (acked / passedUs) * 1e6;
  const busyUs = facts.busyUs - last.facts.busyUs;
  const heldUs = facts.heldUs - last.facts.heldUs;
  const isBusy = busyUs >= BUSY_SHARE * passedUs * facts.streams;
  const isHeld = heldUs > HELD_SHARE * busyUs;
  const isLimited = limitBytesPerSec > 0 && least >= LIMIT_SHARE * limitBytesPerSec;
  return { least, most: isLoaded && isBusy && !isHeld && !isLimited ? least : null };
}
