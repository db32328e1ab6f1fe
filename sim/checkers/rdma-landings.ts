/**
 * A chunk lands once, and when its doorbell is heard all of its pages are there, as new as they were when it was
 * posted; what counts as landed is in the guest's memory over there; a guest resumes with exactly what it had.
 */
import type { SourceEffect } from '../../src/protocols/rdma/types.ts';
import type { VersionedMemory } from '../rdma/memory.ts';
import type { RdmaMove } from '../rdma/move.ts';

interface Session {
  readonly move: RdmaMove;
  /** What the destination must hold by the time that all counts as landed. */
  readonly expected: Map<number, number>;
  /** Of chunks that did not land yet: their pages as they were when posted. */
  readonly posted: Map<number, ReadonlyMap<number, number>>;
}

export class RdmaLandings {
  finding: string | null = null;
  readonly #sessions = new Map<number, Session>();

  begins(session: number, move: RdmaMove): void {
    this.#sessions.set(session, { move, expected: new Map(), posted: new Map() });
  }

  ends(session: number): void {
    this.#sessions.delete(session);
  }

  sends(session: number, pages: readonly number[]): void {
    const known = this.#sessions.get(session);
    for (const page of pages) known?.expected.set(page, known.move.source.read(page));
  }

  did(session: number, effect: SourceEffect): void {
    const known = this.#sessions.get(session);
    if (known === undefined) return;
    const { source, destination } = known.move;
    if (effect.type === 'write' || effect.type === 'sendFrame') {
      known.posted.set(effect.seq, new Map(effect.pages.map((page) => [page, source.read(page)])));
    }
    if (effect.type !== 'allLanded') return;
    for (const [page, version] of known.expected) {
      if (destination.read(page) >= version) continue;
      this.finding ??= `session ${session}: all counts as landed, and page ${page} is not there`;
    }
    known.expected.clear();
  }

  rung(session: number, seq: number): void {
    const known = this.#sessions.get(session);
    for (const [page, version] of known?.posted.get(seq) ?? []) {
      if ((known?.move.destination.read(page) ?? 0) >= version) continue;
      this.finding ??= `session ${session}: chunk ${seq} is said to be there without its page ${page}`;
    }
  }

  landed(session: number, seq: number): void {
    const known = this.#sessions.get(session);
    if (known === undefined || known.posted.delete(seq)) return;
    this.finding ??= `session ${session}: chunk ${seq} landed twice, or was never posted`;
  }

  resumes({ source, destination, number }: RdmaMove): void {
    const page = differing(source, destination);
    if (page === null) return;
    this.finding ??= `guest ${number} resumes with another page ${page} than it had`;
  }
}

function differing(a: VersionedMemory, b: VersionedMemory): number | null {
  const page = a.versions.findIndex((version, index) => version !== b.read(index));
  return page < 0 ? null : page;
}
