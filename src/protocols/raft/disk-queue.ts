/**
 * Writes in the order of their tokens: what each one makes durable, and which one a promise rests on.
 * A truncation clips what older writes will prove: after entry 7 was replaced, the write of the old
 * entry 7 says nothing about the new one, even if a third leader brings the old one back.
 */
import { assert } from '../../util/assert.ts';
import type { Effect, Entry, LogIndex, Persist, ReplicaId, Snapshot, Term } from './types.ts';

/** What a finished write means for the replica. */
export interface Written {
  readonly token: number;
  readonly sinceUs: number;
  /** The log is stable up to here; clipped when a later truncation takes entries away. */
  lastIndex: LogIndex;
  readonly installs: Snapshot | null;
  /** A chunk: the snapshot whose last byte it brought, or null. */
  readonly completes: Snapshot | null;
}

/** The part of a replica that a write takes its content from. */
export interface DiskSource {
  readonly nowUs: number;
  readonly term: Term;
  readonly vote: ReplicaId | null;
  readonly commit: LogIndex;
  readonly log: {
    readonly lastIndex: LogIndex;
    slice(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[];
  };
}

export class DiskQueue {
  #issuedToken = 0;
  #durableToken = 0;
  #termToken = 0;
  #isTermDirty = false;
  #dirtyFrom: LogIndex | null = null;
  #installing: Snapshot | null = null;
  readonly #writes: Written[] = [];
  readonly #chunks: Effect[] = [];

  get oldestSinceUs(): number | null {
    return this.#writes[0]?.sinceUs ?? null;
  }

  termChanged(): void {
    this.#isTermDirty = true;
  }

  appended(fromIndex: LogIndex): void {
    this.#dirtyFrom = Math.min(this.#dirtyFrom ?? fromIndex, fromIndex);
  }

  truncated(index: LogIndex): void {
    for (const write of this.#writes) write.lastIndex = Math.min(write.lastIndex, index - 1);
    if (this.#dirtyFrom !== null) this.#dirtyFrom = Math.min(this.#dirtyFrom, index);
  }

  install(snapshot: Snapshot): void {
    for (const write of this.#writes) write.lastIndex = 0;
    this.#dirtyFrom = null;
    this.#installing = snapshot;
  }

  writeChunk(
    snapshot: Snapshot,
    offset: number,
    data: Uint8Array,
    nowUs: number,
    completes: boolean,
  ): void {
    this.#issuedToken += 1;
    const token = this.#issuedToken;
    this.#writes.push({
      token,
      sinceUs: nowUs,
      lastIndex: 0,
      installs: null,
      completes: completes ? snapshot : null,
    });
    this.#chunks.push({ type: 'persistSnapshotChunk', token, snapshot, offset, data });
  }

  /** Whether this step has anything to write. */
  get owes(): boolean {
    return this.#owesPersist || this.#chunks.length > 0;
  }

  get #owesPersist(): boolean {
    return this.#isTermDirty || this.#dirtyFrom !== null || this.#installing !== null;
  }

  /** What this step owes the disk; at most one `persist`, last. */
  flush(source: DiskSource, effects: Effect[]): void {
    for (const chunk of this.#chunks) effects.push(chunk);
    this.#chunks.length = 0;
    if (!this.#owesPersist) return;
    const from = this.#dirtyFrom;
    this.#issuedToken += 1;
    const token = this.#issuedToken;
    if (this.#isTermDirty) this.#termToken = token;
    const { log } = source;
    const lastIndex = from === null ? (this.#installing?.index ?? 0) : log.lastIndex;
    this.#writes.push({
      token,
      sinceUs: source.nowUs,
      lastIndex,
      installs: this.#installing,
      completes: null,
    });
    const persist: Persist = {
      type: 'persist',
      token,
      hardState: { term: source.term, vote: source.vote, commit: source.commit },
      entries: from === null ? [] : log.slice(from, log.lastIndex, Number.POSITIVE_INFINITY),
      snapshot: this.#installing,
    };
    this.#isTermDirty = false;
    this.#dirtyFrom = null;
    this.#installing = null;
    effects.push(persist);
  }

  tokenFor(durability: 'none' | 'term' | 'all'): number | null {
    if (durability === 'none') return null;
    const token = durability === 'term' ? this.#termToken : this.#issuedToken;
    return token > this.#durableToken ? token : null;
  }

  get isTermDurable(): boolean {
    return !this.#isTermDirty && this.#termToken <= this.#durableToken;
  }

  /** Takes the finished writes, oldest first. */
  finished(token: number): readonly Written[] {
    assert(token <= this.#issuedToken, 'only what was asked for is durable');
    this.#durableToken = Math.max(this.#durableToken, token);
    let count = 0;
    while ((this.#writes[count]?.token ?? Number.POSITIVE_INFINITY) <= token) count += 1;
    return this.#writes.splice(0, count);
  }
}
