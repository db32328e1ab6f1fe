/** Queue pairs under the streams of a link: what is wished, and what came of it. */
export type RdmaWish = 'off' | 'prefer' | 'require';

/** Of the queue pairs of a link, those that are gone included, but for `streams`. */
export interface BulkRdmaCounters {
  /** That queue pairs carry right now. */
  readonly streams: number;
  /** One-sided writes and credits; how often the card was told of them, and told us that it was done. */
  readonly workRequests: number;
  readonly doorbells: number;
  readonly completions: number;
  /** Doorbells and credits of the peer. */
  readonly arrivals: number;
  readonly writtenBytes: number;
  /** Of these, through a copy: acknowledgements, and chunks whose memory may not be pinned. */
  readonly copiedBytes: number;
  /** How often a stream was carried by its connection instead, and why the last time; empty for never. */
  readonly fallbacks: number;
  readonly fallback: string;
}

export const NO_RDMA_COUNTERS: BulkRdmaCounters = {
  ...{ streams: 0, workRequests: 0, doorbells: 0, completions: 0, arrivals: 0 },
  ...{ writtenBytes: 0, copiedBytes: 0, fallbacks: 0, fallback: '' },
};
