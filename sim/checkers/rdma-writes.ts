/**
 * Nothing is written into a region once nothing may be, or once its guest resumed; nothing of an earlier session is
 * written in a later one; and nothing older is written over what is newer.
 */
import type { VersionedMemory } from '../rdma/memory.ts';
import type { RdmaRegion } from '../rdma/region.ts';

export class RdmaWrites {
  finding: string | null = null;
  readonly #revoked = new Set<number>();
  readonly #newest = new Map<VersionedMemory, number>();

  opens(session: number, memory: VersionedMemory): void {
    this.#newest.set(memory, session);
  }

  revoked(session: number): void {
    this.#revoked.add(session);
  }

  placed({ memory, session }: RdmaRegion, page: number, version: number): void {
    const what = `a write of session ${session} into page ${page}`;
    if (memory.isRunning) this.#found(`${what} came after the guest resumed`);
    if (this.#revoked.has(session)) this.#found(`${what} came after it was revoked`);
    const newest = this.#newest.get(memory) ?? session;
    if (newest > session) this.#found(`${what} came in session ${newest}`);
    if (memory.read(page) > version) this.#found(`${what} came late, over something newer`);
  }

  #found(message: string): void {
    this.finding ??= message;
  }
}
