/**
 * What a host keeps of the pages that came and went: contents by a hash that is keyed per tenant, so that a
 * page that is here already is not sent again, by whichever guest. Filled and read by native threads alone.
 */

export interface ContentCacheOptions {
  /** Its own; made when it is missing. One process at a time. */
  readonly dir: string;
  /** All its files together, 1 MiB at least. What was used least gives way. */
  readonly maxBytes: number;
  /**
   * 32 bytes at least, in a file that its owner alone may read, the same on every host of a tenant: hosts with
   * another secret understand nothing of what this one holds. It never leaves the host.
   */
  readonly secretFile: string;
}

export interface ContentCacheCounters {
  readonly pages: number;
  /** Of its files. */
  readonly bytes: number;
  readonly bytesMax: number;
  readonly segments: number;
  /** Pages that a peer named and that were here, or were not. */
  readonly hits: number;
  readonly misses: number;
  /** Of memory that peers named and did not send, less its names; before any codec. */
  readonly savedBytes: number;
  /** Of the misses: what was read did not have its hash. */
  readonly corruptPages: number;
  /** Since the start. */
  readonly storedPages: number;
  readonly evictedPages: number;
  /** Files that told nothing any more, and were removed. */
  readonly damagedSegments: number;
  readonly writeErrors: number;
  /** Pages of guests that moved are being stored. */
  readonly isFilling: boolean;
}
