/** A disk that loses what was not synced, and the snapshot files beside it. */
import type {
  Effect,
  Entry,
  HardState,
  Persist,
  PersistSnapshotChunk,
  Restored,
  Snapshot,
} from '../../../src/protocols/raft/types.ts';

type Discard = Extract<Effect, { type: 'discardSnapshot' }>;
type Compact = Extract<Effect, { type: 'compact' }>;
type Write = Persist | PersistSnapshotChunk | Discard | Compact;

export class TestDisk {
  #hardState: HardState;
  #snapshot: Snapshot;
  #compacted: Restored['compacted'];
  #entries: Entry[];
  #partial: { snapshot: Snapshot; bytes: number[] } | null = null;
  readonly files: Map<string, Uint8Array> = new Map();
  /** Asked for and not durable. */
  readonly queue: Write[] = [];

  constructor(initial: Restored) {
    this.#hardState = initial.hardState;
    this.#snapshot = initial.snapshot;
    this.#compacted = initial.compacted;
    this.#entries = [...initial.entries];
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }
  get term(): number {
    return this.#hardState.term;
  }

  /** Term at a durable index; true where a snapshot or the compacted part covers it. */
  holds(index: number, term: number): boolean {
    if (index <= this.#snapshot.index) return true;
    return this.#entries.find((entry) => entry.index === index)?.term === term;
  }

  /** What changes nothing that must be waited for happens at once when nothing stands before it. */
  later(work: Discard | Compact): void {
    this.queue.push(work);
    if (this.queue.length === 1) this.sync();
  }

  /** The oldest write becomes durable; what stands before it without a token happens with it. */
  sync(): number | null {
    for (;;) {
      const write = this.queue.shift();
      if (write === undefined) return null;
      if (write.type === 'discardSnapshot') this.#discard(write);
      else if (write.type === 'compact') this.#compact(write);
      else if (write.type === 'persistSnapshotChunk') this.#chunk(write);
      else this.#persist(write);
      if ('token' in write) return write.token;
    }
  }

  #chunk({ snapshot, offset, data }: PersistSnapshotChunk): void {
    if (offset === 0) this.#partial = { snapshot, bytes: [] };
    const partial = this.#partial;
    if (partial === null || partial.bytes.length !== offset) throw new Error('chunk out of order');
    partial.bytes.push(...data);
  }

  #persist({ hardState, entries, snapshot }: Persist): void {
    this.#hardState = hardState;
    if (snapshot !== null) {
      this.files.set(name(snapshot), Uint8Array.from(this.#partial?.bytes ?? []));
      this.#snapshot = snapshot;
      this.#compacted = null;
      this.#entries = [];
      this.#partial = null;
    }
    const first = entries[0];
    if (first === undefined) return;
    this.#entries = this.#entries.filter((entry) => entry.index < first.index).concat(entries);
  }

  keep(snapshot: Snapshot, data: Uint8Array): void {
    this.files.set(name(snapshot), data);
    if (snapshot.index > this.#snapshot.index) this.#snapshot = snapshot;
  }

  #compact({ throughIndex, throughTerm }: Compact): void {
    this.#compacted = { index: throughIndex, term: throughTerm };
    this.#entries = this.#entries.filter((entry) => entry.index > throughIndex);
  }

  #discard({ snapshot, received }: Discard): void {
    if (!received) this.files.delete(name(snapshot));
    else if (this.#partial !== null && name(this.#partial.snapshot) === name(snapshot)) {
      this.#partial = null;
    }
  }

  get receivedBytes(): number {
    return this.#partial?.bytes.length ?? 0;
  }

  corruptReceived(): void {
    const bytes = this.#partial?.bytes ?? [];
    bytes[0] = 255 - (bytes[0] ?? 0);
  }

  received(snapshot: Snapshot): Uint8Array | null {
    const partial = this.#partial;
    if (partial === null || name(partial.snapshot) !== name(snapshot)) return null;
    return Uint8Array.from(partial.bytes);
  }

  read(snapshot: Snapshot): Uint8Array | null {
    return this.files.get(name(snapshot)) ?? null;
  }

  #damagedIndex: number | null = null;

  /** Synced entries from here on turn out to be unreadable. */
  damageFrom(index: number): void {
    this.#damagedIndex = this.#entries.at(-1)?.index ?? null;
    this.#entries = this.#entries.filter((entry) => entry.index < index);
  }

  /** A last write of up to so many entries is damaged: torn, or synced and flipped, nobody can say. */
  tear(entries: number): void {
    this.#damagedIndex = (this.#entries.at(-1)?.index ?? this.#snapshot.index) + entries;
  }

  /** Power is lost: of what was under way, the first `survivors` writes happen to be there. */
  crash(survivors: number): void {
    for (let count = 0; count < survivors; count += 1) this.sync();
    this.queue.length = 0;
  }

  restored(): Restored {
    const partial = this.#partial;
    const first = this.#compacted?.index ?? this.#snapshot.index;
    return {
      hardState: this.#hardState,
      snapshot: this.#snapshot,
      entries: this.#entries.filter((entry) => entry.index > first),
      compacted: this.#compacted,
      appliedIndex: this.#snapshot.index,
      partialSnapshot:
        partial === null
          ? null
          : { snapshot: partial.snapshot, receivedBytes: partial.bytes.length },
      damagedIndex: this.#damagedIndex,
      voteDamaged: false,
    };
  }
}

function name({ index, digest }: Snapshot): string {
  return `${index}:${digest}`;
}
