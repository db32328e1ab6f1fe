/** What two agents say over the control channel, and frames of pages beside it. Queue pairs are named by themselves. */
import type { PathId } from '../../src/protocols/rdma/types.ts';
import type { QueuePair } from './queue-pair.ts';
import type { RdmaRegion } from './region.ts';

/** One end of a path that the destination offers. */
export interface OfferedEnd {
  readonly path: PathId;
  readonly pair: QueuePair;
  readonly key: RdmaRegion;
}

export type ToDestination =
  | { readonly type: 'hello'; readonly move: number }
  /** So that a source finds out when nobody is there any more. */
  | { readonly type: 'ping' }
  | { readonly type: 'reopen' }
  | { readonly type: 'drain'; readonly path: PathId }
  | {
      readonly type: 'frame';
      readonly seq: number;
      readonly pages: readonly (readonly [page: number, version: number])[];
    }
  | { readonly type: 'fenced' };

export type ToSource =
  | {
      readonly type: 'welcome';
      readonly session: number;
      readonly slots: number;
      readonly depth: number;
      readonly ends: readonly OfferedEnd[];
    }
  | { readonly type: 'opened'; readonly end: OfferedEnd }
  | { readonly type: 'landed'; readonly seq: number }
  | { readonly type: 'drained'; readonly path: PathId }
  | { readonly type: 'committed' };
