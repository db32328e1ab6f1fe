/**
 * The log above its compacted part, in memory. Its upper end is unstable: known here, not yet
 * durable. Nothing is acknowledged, counted or applied before it is stable.
 *
 *   ...compacted | first ........ stable | ....... last
 *                 durable, may be sent    being written
 */
import { assert } from '../../util/assert.ts';
import { entryBytes } from './entry-size.ts';
import type { Entry, LogIndex, Term } from './types.ts';

export interface LogPosition {
  readonly index: LogIndex;
  readonly term: Term;
}

export class RaftLog {
  #base: LogPosition;
  #entries: Entry[] = [];
  #bytes = 0;
  /** Durable up to here; never above `lastIndex`. */
  stableIndex: LogIndex;

  constructor(base: LogPosition, entries: readonly Entry[]) {
    this.#base = base;
    this.stableIndex = base.index;
    this.append(entries);
    this.stableIndex = this.lastIndex;
  }

  get firstIndex(): LogIndex {
    return this.#base.index + 1;
  }
  get lastIndex(): LogIndex {
    return this.#base.index + this.#entries.length;
  }
  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#base.term;
  }
  get bytes(): number {
    return this.#bytes;
  }

  /** Null where it was compacted away or is not there yet. */
  termAt(index: LogIndex): Term | null {
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term ?? null;
  }

  at(index: LogIndex): Entry {
    const entry = this.#entries[index - this.#base.index - 1];
    assert(entry !== undefined, 'the entry is in the log');
    return entry;
  }

  matches(index: LogIndex, term: Term): boolean {
    return this.termAt(index) === term;
  }

  /** Whether a log that ends in (index, term) misses nothing that ours may have had committed. */
  isCoveredBy(index: LogIndex, term: Term): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex);
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      // Fixed texts: an assertion on the hot path must not build a sentence each time it holds.
      assert(entry.index === this.lastIndex + 1, 'entries are contiguous');
      assert(entry.term >= this.lastTerm, 'terms never go down');
      this.#entries.push(entry);
      this.#bytes += entryBytes(entry);
    }
  }

  /** Drops everything from `index` on: another leader wrote something else there. */
  truncate(index: LogIndex): void {
    assert(index >= this.firstIndex && index <= this.lastIndex, `${index} can be truncated`);
    for (const dropped of this.#entries.splice(index - this.firstIndex)) {
      this.#bytes -= entryBytes(dropped);
    }
    this.stableIndex = Math.min(this.stableIndex, index - 1);
  }

  compact(throughIndex: LogIndex): void {
    const term = this.termAt(throughIndex);
    assert(term !== null && throughIndex <= this.stableIndex, `${throughIndex} is stable`);
    for (const dropped of this.#entries.splice(0, throughIndex - this.#base.index)) {
      this.#bytes -= entryBytes(dropped);
    }
    this.#base = { index: throughIndex, term };
  }

  /** A snapshot took the place of everything. It is not durable yet. */
  reset(base: LogPosition): void {
    this.#base = base;
    this.#entries = [];
    this.#bytes = 0;
    this.stableIndex = 0;
  }

  /** Entries `from..to` within `bytesMax`, but at least one, or nothing would ever move. */
  slice(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] {
    const start = from - this.firstIndex;
    const end = Math.min(to, this.lastIndex) - this.#base.index;
    assert(start >= 0, 'the entries are not compacted');
    let bytes = 0;
    let stop = start;
    for (; stop < end; stop += 1) {
      const entry = this.#entries[stop];
      assert(entry !== undefined, 'the log has no gap');
      bytes += entryBytes(entry);
      if (stop > start && bytes > bytesMax) break;
    }
    return this.#entries.slice(start, stop);
  }

  /**
   * The highest place at or below `index` whose term is at most `term`: nothing above it can agree
   * with a log that has `term` there. Skips whole terms where probing would go entry by entry.
   */
  agreement(index: LogIndex, term: Term): LogPosition {
    let at = Math.min(index, this.lastIndex);
    for (; at >= this.#base.index; at -= 1) {
      const own = this.termAt(at);
      assert(own !== null, 'the log has no gap');
      if (own <= term) return { index: at, term: own };
    }
    // Below the compacted part: who needs that gets a snapshot.
    return { index: at, term: 0 };
  }
}
