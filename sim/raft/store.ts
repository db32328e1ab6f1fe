/**
 * What one replica has on its disk, record by record: the fastest of the three depths. Writes become
 * durable in order, many at once; a crash keeps a prefix of what was under way.
 */
import type {
  Effect,
  Entry,
  HardState,
  Persist,
  PersistSnapshotChunk,
  Restored,
  Snapshot,
} from '../../src/protocols/raft/types.ts';
import { assert } from '../../src/util/assert.ts';
import type { LabelledStream } from '../world/decisions.ts';

type Discard = Extract<Effect, { type: 'discardSnapshot' }>;
type Compact = Extract<Effect, { type: 'compact' }>;
export type StoreWrite = Persist | PersistSnapshotChunk | Discard | Compact;

export class RaftStore {
  #hardState: HardState;
  #snapshot: Snapshot;
  #compacted: Restored['compacted'];
  /** Contiguous, the first one right after `compacted`, or the snapshot where nothing is kept. */
  #entries: Entry[];
  #partial: { readonly snapshot: Snapshot; bytes: Uint8Array } | null = null;
  readonly #files = new Map<string, Uint8Array>();
  readonly #pending: StoreWrite[] = [];

  constructor(founding: Restored) {
    this.#hardState = founding.hardState;
    this.#snapshot = founding.snapshot;
    this.#compacted = founding.compacted;
    this.#entries = [...founding.entries];
  }

  /** Of what was written, durable or not; after a crash what is left of it. */
  newestHardState(): HardState {
    const newest = this.#pending.findLast(({ type }) => type === 'persist');
    return newest?.type === 'persist' ? newest.hardState : this.#hardState;
  }

  get durableHardState(): HardState {
    return this.#hardState;
  }

  get pending(): number {
    return this.#pending.length;
  }

  write(write: StoreWrite): void {
    this.#pending.push(write);
  }

  /** The oldest `count` writes are durable; answers the last token among them. */
  sync(count: number): number | null {
    let token: number | null = null;
    for (let done = 0; done < count; done += 1) {
      const write = this.#pending.shift();
      assert(write !== undefined, 'only what was asked for becomes durable');
      this.#do(write);
      if (write.type === 'persist' || write.type === 'persistSnapshotChunk') token = write.token;
    }
    return token;
  }

  crash(chance: LabelledStream): void {
    this.sync(chance.below(this.#pending.length + 1));
    this.#pending.length = 0;
  }

  /** Whether a durable entry, or a snapshot over it, is here. */
  holds(index: number, term: number): boolean {
    if (index <= this.#snapshot.index) return true;
    const first = this.#entries[0]?.index ?? 0;
    return this.#entries[index - first]?.term === term;
  }

  keep(snapshot: Snapshot, data: Uint8Array): void {
    this.#files.set(nameOf(snapshot), data);
    if (snapshot.index > this.#snapshot.index) this.#snapshot = snapshot;
  }

  read(snapshot: Snapshot): Uint8Array | null {
    return this.#files.get(nameOf(snapshot)) ?? null;
  }

  received(snapshot: Snapshot): Uint8Array | null {
    const partial = this.#partial;
    return partial !== null && nameOf(partial.snapshot) === nameOf(snapshot) ? partial.bytes : null;
  }

  restored(): Restored {
    const from = this.#compacted?.index ?? this.#snapshot.index;
    const partial = this.#partial;
    return {
      hardState: this.#hardState,
      snapshot: this.#snapshot,
      entries: this.#entries.filter(({ index }) => index > from),
      compacted: this.#compacted,
      appliedIndex: this.#snapshot.index,
      partialSnapshot:
        partial === null
          ? null
          : { snapshot: partial.snapshot, receivedBytes: partial.bytes.length },
      damagedIndex: null,
      voteDamaged: false,
    };
  }

  #do(write: StoreWrite): void {
    switch (write.type) {
      case 'persist':
        return this.#persist(write);
      case 'persistSnapshotChunk': {
        if (write.offset === 0) {
          this.#partial = { snapshot: write.snapshot, bytes: new Uint8Array() };
        }
        const partial = this.#partial;
        assert(partial?.bytes.length === write.offset, 'chunks of a snapshot come in order');
        partial.bytes = Buffer.concat([partial.bytes, write.data]);
        return;
      }
      case 'compact':
        this.#compacted = { index: write.throughIndex, term: write.throughTerm };
        this.#entries = this.#entries.filter(({ index }) => index > write.throughIndex);
        return;
      case 'discardSnapshot':
        if (!write.received) this.#files.delete(nameOf(write.snapshot));
        else if (this.received(write.snapshot) !== null) this.#partial = null;
    }
  }

  #persist({ hardState, entries, snapshot }: Persist): void {
    this.#hardState = hardState;
    if (snapshot !== null) {
      this.#files.set(nameOf(snapshot), this.#partial?.bytes ?? new Uint8Array());
      this.#snapshot = snapshot;
      this.#compacted = null;
      this.#entries = [];
      this.#partial = null;
    }
    const first = entries[0];
    if (first === undefined) return;
    while ((this.#entries.at(-1)?.index ?? 0) >= first.index) this.#entries.pop();
    for (const entry of entries) this.#entries.push(entry);
  }
}

function nameOf({ index, digest }: Snapshot): string {
  return `${index}:${digest}`;
}
