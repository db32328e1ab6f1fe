/** The log that the records of all batches, taken in order, amount to. */
import type { LogPosition } from '../../protocols/raft/log.ts';
import type { Entry, Snapshot } from '../../protocols/raft/types.ts';
import type { Batch } from './batch-format.ts';
import { corrupt } from './log-error.ts';
import type { LogRecord } from './record-format.ts';
import type { LogSummary } from './segment-header.ts';

export class Replay {
  /** Right after {@link #before}, contiguous. */
  #entries: Entry[] = [];
  #before: LogPosition;
  #last: LogPosition;
  #commit: number;
  #snapshot: Snapshot;
  #compacted: LogPosition | null;

  /** From where the oldest segment begins: its header says what was before. */
  constructor({ last, commit, snapshot, compacted }: LogSummary) {
    this.#before = last;
    this.#last = last;
    this.#commit = commit;
    this.#snapshot = snapshot;
    this.#compacted = compacted;
  }

  get last(): LogPosition {
    return this.#last;
  }
  get commit(): number {
    return this.#commit;
  }
  get snapshot(): Snapshot {
    return this.#snapshot;
  }
  get compacted(): LogPosition | null {
    return this.#compacted;
  }

  /** Throws `ERR_DWCP_CORRUPT` when records do not follow from what is there. */
  take({ header, records, end }: Batch, file: string): void {
    for (const record of records) {
      if (!this.#take(record)) throw corrupt(file, end, 'its entries do not follow one another');
    }
    const { index, term } = header.last;
    if (index !== this.#last.index || term !== this.#last.term) {
      throw corrupt(file, end, `the log ends at ${this.#last.index}, a header says ${index}`);
    }
    this.#commit = header.commit;
  }

  /** What counts of the entries: those above the compacted part, or the snapshot. */
  entries(file: string): readonly Entry[] {
    const base = (this.#compacted ?? this.#snapshot).index;
    if (this.#last.index <= base) return [];
    if (this.#before.index > base) {
      throw corrupt(file, 0, `the entries from ${base + 1} to ${this.#before.index} are missing`);
    }
    return this.#entries.slice(base - this.#before.index);
  }

  #take(record: LogRecord): boolean {
    switch (record.type) {
      case 'entry':
        return this.#append(record.entry);
      case 'compact':
        this.#compacted = record.through;
        return record.through.index <= this.#snapshot.index;
      case 'snapshot':
        this.#snapshot = record.snapshot;
        if (record.replacesLog) this.#replace(record.snapshot);
        return true;
    }
  }

  #append(entry: Entry): boolean {
    const { index, term } = entry;
    if (index > this.#last.index + 1) return false;
    if (index <= this.#before.index) {
      this.#entries = [];
      this.#before = { index: index - 1, term: 0 };
    }
    this.#entries.length = index - this.#before.index - 1;
    const previous = this.#entries.at(-1)?.term ?? this.#before.term;
    if (term < previous) return false;
    this.#entries.push(entry);
    this.#last = { index, term };
    return true;
  }

  #replace({ index, term }: Snapshot): void {
    this.#entries = [];
    this.#before = { index, term };
    this.#last = { index, term };
    this.#compacted = null;
  }
}
