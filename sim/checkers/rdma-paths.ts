/**
 * A page is on one way at a time: from the post of a chunk until the destination said that it landed, or that the
 * queue pair was drained, no other chunk carries it; and no write is placed that a later chunk has overtaken.
 */
import type { SourceEffect, SourceInput } from '../../src/protocols/rdma/types.ts';

interface Carried {
  readonly path: number;
  readonly pages: readonly number[];
}

export class RdmaPaths {
  finding: string | null = null;
  readonly #sessions = new Map<number, Map<number, Carried>>();
  /** By session and page, the newest chunk that carries it. */
  readonly #newest = new Map<number, Map<number, number>>();

  begins(session: number): void {
    this.#sessions.set(session, new Map());
    this.#newest.set(session, new Map());
  }

  ends(session: number): void {
    this.#sessions.delete(session);
    this.#newest.delete(session);
  }

  heard(session: number, input: SourceInput): void {
    const carried = this.#sessions.get(session);
    if (carried === undefined) return;
    if (input.type === 'landed') carried.delete(input.seq);
    if (input.type !== 'drained') return;
    for (const [seq, { path }] of carried) if (path === input.path) carried.delete(seq);
  }

  did(session: number, effect: SourceEffect): void {
    const carried = this.#sessions.get(session);
    if (carried === undefined) return;
    if (effect.type !== 'write' && effect.type !== 'sendFrame') return;
    const { path, seq, pages } = effect;
    for (const [other, { path: otherPath, pages: theirs }] of carried) {
      const page = pages.find((each) => theirs.includes(each));
      if (page === undefined) continue;
      const ways = `in chunk ${other} on path ${otherPath} and in chunk ${seq} on path ${path}`;
      this.finding ??= `session ${session}: page ${page} is under way ${ways}`;
    }
    carried.set(seq, { path, pages });
    for (const page of pages) this.#newest.get(session)?.set(page, seq);
  }

  placed(session: number, page: number, seq: number): void {
    const newest = this.#newest.get(session)?.get(page) ?? seq;
    if (newest <= seq) return;
    this.finding ??= `session ${session}: page ${page} of chunk ${seq} came after chunk ${newest} had it`;
  }
}
