/**
 * Pages that a card writes into the memory of another host. It lands them without asking anybody, so neither side's
 * software can refuse one that comes late; what keeps an old write from doing harm are the rules of the two machines
 * here, which the native side mirrors:
 *
 * - A chunk that was posted on a queue pair goes another way only after its destination moved its own end to ERROR,
 *   saw all of its work flushed, and said so. The error of the source's end alone proves nothing: what left the card
 *   may still be on the wire.
 * - A page is never on two ways at once.
 * - Before a commit the destination destroys every queue pair, then invalidates the keys, then arms its dirty tracker.
 * - The source gives its region back only when every posted piece of work has completed, well or flushed.
 * - A completion at the source says that the card is done with its memory, and nothing about the guest: only the
 *   destination's word that it landed does.
 *
 * What the destination says comes over the control channel, in order and once, or that channel and with it the
 * session ends.
 */

/** A queue pair, or the TCP streams beside it. Numbers are not used again within a session. */
export type PathId = number;

export type PathKind = 'queuePair' | 'tcp';

export interface SourceOptions {
  /** Chunks that the destination has room to hear of at once: a slot each, held until it is known what became of it. */
  readonly slots: number;
  readonly pagesPerChunk: number;
}

export type SourceInput =
  /** It stands, and carries at most `depth` chunks at once. */
  | {
      readonly type: 'open';
      readonly path: PathId;
      readonly kind: PathKind;
      readonly depth: number;
    }
  /** These are to be read and sent from now on. */
  | { readonly type: 'send'; readonly pages: readonly number[] }
  /** Of the doorbell of a chunk, and so of all work of that chunk. */
  | {
      readonly type: 'completed';
      readonly path: PathId;
      readonly seq: number;
      readonly isOk: boolean;
    }
  /** Our end of it is in ERROR, whatever brought it there. */
  | { readonly type: 'broken'; readonly path: PathId }
  /** The destination has it in its place. */
  | { readonly type: 'landed'; readonly seq: number }
  /** The destination's end of it is in ERROR and flushed; it told before of all that landed. */
  | { readonly type: 'drained'; readonly path: PathId }
  /** Nothing will be sent any more. */
  | { readonly type: 'finish' };

/** In this order. */
export type SourceEffect =
  /** One-sided writes of these pages, read when the card gets to them. */
  | Posting
  /** A write with immediate data behind them, on the same queue pair: they are in their place before it is heard. */
  | {
      readonly type: 'ring';
      readonly path: PathId;
      readonly seq: number;
      readonly pages: readonly number[];
    }
  /** As a frame over TCP. */
  | {
      readonly type: 'sendFrame';
      readonly path: PathId;
      readonly seq: number;
      readonly pages: readonly number[];
    }
  | { readonly type: 'toError'; readonly path: PathId }
  /** Asks the destination to move its end to ERROR, and to say when nothing more can come. */
  | { readonly type: 'askDrain'; readonly path: PathId }
  /** Nothing of it is left; it may be set up anew, under another number. */
  | { readonly type: 'retired'; readonly path: PathId }
  /** Pages go over TCP from here on, or no longer. To be reported. */
  | { readonly type: 'fellBack'; readonly isOn: boolean }
  /** All that was to be sent is in its place. */
  | { readonly type: 'allLanded' }
  /** The card is done with our memory. */
  | { readonly type: 'freeRegion' };

export interface Posting {
  readonly type: 'write';
  readonly path: PathId;
  readonly seq: number;
  readonly pages: readonly number[];
}

export type DestinationInput =
  /** Our end of it can receive, and so many doorbells are awaited. */
  | { readonly type: 'open'; readonly path: PathId; readonly receives: number }
  /** The doorbell of a chunk: its pages are in their places. */
  | {
      readonly type: 'rung';
      readonly path: PathId;
      readonly seq: number;
      readonly pages: readonly number[];
    }
  /** A chunk over TCP. */
  | { readonly type: 'frame'; readonly seq: number; readonly pages: readonly number[] }
  | { readonly type: 'askedToDrain'; readonly path: PathId }
  /** Our end is in ERROR, whatever brought it there. */
  | { readonly type: 'broken'; readonly path: PathId }
  /** Our end is in ERROR and all of its work has completed: no byte comes through it any more. */
  | { readonly type: 'flushed'; readonly path: PathId }
  /** Nothing may be written any more: before a commit, and when a session ends. */
  | { readonly type: 'revoke' }
  | { readonly type: 'destroyed'; readonly path: PathId }
  | { readonly type: 'keysInvalid' };

/** In this order. */
export type DestinationEffect =
  | { readonly type: 'postReceive'; readonly path: PathId }
  /** Puts the pages of a frame into their places. */
  | { readonly type: 'land'; readonly seq: number; readonly pages: readonly number[] }
  | { readonly type: 'tellLanded'; readonly seq: number }
  | { readonly type: 'toError'; readonly path: PathId }
  | { readonly type: 'tellDrained'; readonly path: PathId }
  | { readonly type: 'destroy'; readonly path: PathId }
  | { readonly type: 'invalidateKeys' }
  | { readonly type: 'armTracker' }
  /** Nothing can write into the region but its guest. */
  | { readonly type: 'revoked' };
