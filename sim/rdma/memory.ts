/** A guest's memory as numbers: each write of the guest makes a page newer than all writes before. */
import { assert } from '../../src/util/assert.ts';

export class VersionedMemory {
  readonly pageCount: number;
  readonly versions: number[];
  /** Its guest executes here. */
  isRunning = false;
  readonly #dirty = new Set<number>();

  constructor(pageCount: number) {
    this.pageCount = pageCount;
    this.versions = new Array<number>(pageCount).fill(0);
  }

  write(page: number, version: number): void {
    assert(version > this.read(page), 'a guest writes something newer');
    this.versions[page] = version;
    this.#dirty.add(page);
  }

  read(page: number): number {
    return this.versions[page] as number;
  }

  /** By a card, or by the agent for it. */
  place(page: number, version: number): void {
    this.versions[page] = version;
  }

  /** Scans and protects, in one step. */
  scan(): number[] {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    return dirty;
  }

  allPages(): number[] {
    this.#dirty.clear();
    return Array.from({ length: this.pageCount }, (_, page) => page);
  }
}
