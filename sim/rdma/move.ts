/** One guest on its way, as its two machines know of it: agents come and go. */
import { VersionedMemory } from './memory.ts';

export class RdmaMove {
  readonly number: number;
  readonly source: VersionedMemory;
  readonly destination: VersionedMemory;
  /** Sessions so far; memory at the destination is kept from one to the next. */
  session = 0;
  /** The guest executes no longer at its source. */
  isStopped = false;
  isCommitted = false;

  constructor(number: number, pageCount: number) {
    this.number = number;
    this.source = new VersionedMemory(pageCount);
    this.destination = new VersionedMemory(pageCount);
    this.source.isRunning = true;
  }
}
