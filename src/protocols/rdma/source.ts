/** The side whose card writes; see `types.ts` for the rules. */
import { assert } from '../../util/assert.ts';
import type { PathId, PathKind, SourceEffect, SourceInput, SourceOptions } from './types.ts';

interface Path {
  readonly id: PathId;
  readonly kind: PathKind;
  readonly depth: number;
  /** `draining`: our end is in ERROR, and the destination was asked to drain its own. */
  state: 'up' | 'draining' | 'gone';
  /** Chunks of which it is not known yet what became of them. */
  readonly chunks: Set<number>;
  /** Chunks whose work has not completed. */
  readonly working: Set<number>;
}

interface Chunk {
  readonly pages: readonly number[];
  readonly path: PathId;
}

/** More than any session breaks of its queue pairs; those that are gone are forgotten. */
const PATHS_MAX = 1_024;

export class RdmaSource {
  /** Of the destination's, which no chunk holds. */
  freeSlots: number;
  readonly #options: SourceOptions;
  readonly #paths = new Map<PathId, Path>();
  readonly #chunks = new Map<number, Chunk>();
  /** Of pages that are under way, in which chunk. */
  readonly #underWay = new Map<number, number>();
  /** To be sent, each once. */
  readonly #waiting = new Set<number>();
  #nextSeq = 1;
  #turn = 0;
  #isOnTcp = false;
  #isFinishing = false;
  #isFree = false;
  #isToldLanded = true;

  constructor(options: SourceOptions) {
    assert(options.slots > 0 && options.pagesPerChunk > 0, 'room for a chunk');
    this.#options = options;
    this.freeSlots = options.slots;
  }

  get chunksUnderWay(): number {
    return this.#chunks.size;
  }

  step(input: SourceInput): SourceEffect[] {
    const effects: SourceEffect[] = [];
    switch (input.type) {
      case 'open':
        this.#open(input);
        break;
      case 'send':
        assert(!this.#isFinishing, 'nothing is sent after the end');
        for (const page of input.pages) this.#waiting.add(page);
        this.#isToldLanded = false;
        break;
      case 'completed':
        this.completed(input, effects);
        break;
      case 'broken':
        this.broken(input.path, effects);
        break;
      case 'landed':
        this.landed(input.seq);
        break;
      case 'drained':
        this.#drained(input.path, effects);
        break;
      case 'finish':
        this.#finish(effects);
        break;
    }
    this.#post(effects);
    this.#settle(effects);
    return effects;
  }

  #open({ path: id, kind, depth }: SourceInput & { readonly type: 'open' }): void {
    assert(!this.#paths.has(id), 'a number names one path of a session');
    assert(this.#paths.size < PATHS_MAX && depth > 0, 'a path that can be kept');
    this.#paths.set(id, { id, kind, depth, state: 'up', chunks: new Set(), working: new Set() });
  }

  /** The card is done with our memory; whether the guest over there has it is another question. */
  completed(
    { path: id, seq, isOk }: SourceInput & { readonly type: 'completed' },
    effects: SourceEffect[],
  ): void {
    const path = this.#paths.get(id);
    path?.working.delete(seq);
    if (!isOk) this.broken(id, effects);
  }

  /** Its chunks stay where they are until the destination says that nothing more can come of them. */
  broken(id: PathId, effects: SourceEffect[]): void {
    const path = this.#paths.get(id);
    if (path === undefined || path.state !== 'up') return;
    path.state = 'draining';
    effects.push({ type: 'toError', path: id }, { type: 'askDrain', path: id });
  }

  landed(seq: number): void {
    this.release(seq);
  }

  /** Slot and pages of a chunk are free again. */
  release(seq: number): void {
    const chunk = this.#chunks.get(seq);
    if (chunk === undefined) return;
    this.#chunks.delete(seq);
    this.#paths.get(chunk.path)?.chunks.delete(seq);
    for (const page of chunk.pages) this.#underWay.delete(page);
    this.freeSlots += 1;
    assert(this.freeSlots <= this.#options.slots, 'no slot is given back twice');
  }

  /** What it carried and did not land goes another way, read anew. */
  reinject(path: PathId, seq: number): void {
    const chunk = this.#chunks.get(seq);
    assert(chunk?.path === path, 'a chunk of this path');
    this.release(seq);
    for (const page of chunk.pages) this.#waiting.add(page);
  }

  chunksOf(path: PathId): readonly number[] {
    return [...(this.#paths.get(path)?.chunks ?? [])];
  }

  #drained(id: PathId, effects: SourceEffect[]): void {
    const path = this.#paths.get(id);
    if (path === undefined) return;
    // The destination's end broke first: ours follows, so that its work is flushed.
    if (path.state === 'up') effects.push({ type: 'toError', path: id });
    path.state = 'gone';
    for (const seq of this.chunksOf(id)) this.reinject(id, seq);
  }

  #finish(effects: SourceEffect[]): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    this.#waiting.clear();
    for (const { id, state, kind } of this.#paths.values()) {
      if (state === 'up' && kind === 'queuePair') effects.push({ type: 'toError', path: id });
    }
  }

  /** Whether the card may still touch our memory. */
  isWorking(): boolean {
    return [...this.#paths.values()].some(({ working }) => working.size > 0);
  }

  #settle(effects: SourceEffect[]): void {
    for (const { id, state, working } of this.#paths.values()) {
      if (state !== 'gone' || working.size > 0) continue;
      this.#paths.delete(id);
      effects.push({ type: 'retired', path: id });
    }
    if (this.#isFinishing && !this.#isFree && !this.isWorking()) {
      this.#isFree = true;
      effects.push({ type: 'freeRegion' });
    }
    const isLanded = this.#waiting.size === 0 && this.#chunks.size === 0;
    if (!isLanded || this.#isToldLanded || this.#isFinishing) return;
    this.#isToldLanded = true;
    effects.push({ type: 'allLanded' });
  }

  #post(effects: SourceEffect[]): void {
    if (this.#isFinishing) return;
    for (;;) {
      if (this.freeSlots === 0 || this.#waiting.size === 0) return;
      const path = this.#choose(effects);
      if (path === null) return;
      const pages = this.#take();
      if (pages.length === 0) return;
      const seq = this.#nextSeq;
      this.#nextSeq += 1;
      this.freeSlots -= 1;
      this.#chunks.set(seq, { pages, path: path.id });
      path.chunks.add(seq);
      for (const page of pages) this.#underWay.set(page, seq);
      if (path.kind === 'queuePair') path.working.add(seq);
      effects.push(...this.posted(path.id, path.kind, seq, pages));
    }
  }

  /** The data first: the doorbell behind it says that it is there. */
  posted(path: PathId, kind: PathKind, seq: number, pages: readonly number[]): SourceEffect[] {
    if (kind === 'tcp') return [{ type: 'sendFrame', path, seq, pages }];
    return [
      { type: 'write', path, seq, pages },
      { type: 'ring', path, seq, pages },
    ];
  }

  /** Queue pairs in turn; TCP only where none stands. */
  #choose(effects: SourceEffect[]): Path | null {
    const up = [...this.#paths.values()].filter(({ state }) => state === 'up');
    const pairs = up.filter(({ kind }) => kind === 'queuePair');
    const isOnTcp = pairs.length === 0;
    const usable = (isOnTcp ? up : pairs).filter(({ chunks, depth }) => chunks.size < depth);
    if (usable.length === 0) return null;
    if (isOnTcp !== this.#isOnTcp) {
      this.#isOnTcp = isOnTcp;
      effects.push({ type: 'fellBack', isOn: isOnTcp });
    }
    this.#turn += 1;
    return usable[this.#turn % usable.length] ?? null;
  }

  /** Pages that are under way wait until it is known what became of them. */
  #take(): number[] {
    const pages: number[] = [];
    for (const page of this.#waiting) {
      if (pages.length === this.#options.pagesPerChunk) break;
      if (!this.mayGo(page)) continue;
      pages.push(page);
    }
    for (const page of pages) this.#waiting.delete(page);
    return pages;
  }

  mayGo(page: number): boolean {
    return !this.#underWay.has(page);
  }
}
