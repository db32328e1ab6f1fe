/** Slots are conserved: each is free, or held by a chunk of which it is not known yet what became of it. */
import type { SourceEffect, SourceInput } from '../../src/protocols/rdma/types.ts';

interface Session {
  readonly slots: number;
  /** By chunk, its path. */
  readonly held: Map<number, number>;
}

export class RdmaCredits {
  finding: string | null = null;
  readonly #sessions = new Map<number, Session>();

  begins(session: number, slots: number): void {
    this.#sessions.set(session, { slots, held: new Map() });
  }

  ends(session: number): void {
    this.#sessions.delete(session);
  }

  stepped(
    session: number,
    input: SourceInput,
    effects: readonly SourceEffect[],
    freeSlots: number,
  ): void {
    const known = this.#sessions.get(session);
    if (known === undefined) return;
    const { slots, held } = known;
    if (input.type === 'landed') held.delete(input.seq);
    if (input.type === 'drained') {
      for (const [seq, path] of held) if (path === input.path) held.delete(seq);
    }
    for (const effect of effects) {
      if (effect.type === 'write' || effect.type === 'sendFrame') held.set(effect.seq, effect.path);
    }
    if (freeSlots + held.size === slots) return;
    const what = `${freeSlots} slots are free and ${held.size} are held, of ${slots}`;
    this.finding ??= `session ${session}: after ${input.type} ${what}`;
  }
}
