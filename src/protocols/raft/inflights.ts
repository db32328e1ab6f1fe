/**
 * Appends on the way to one follower, bounded in messages and in bytes. They are acknowledged in
 * order of their last index; a full window is a pause, not an error.
 */
import { assert } from '../../util/assert.ts';
import type { LogIndex } from './types.ts';

interface Flight {
  readonly lastIndex: LogIndex;
  readonly bytes: number;
}

export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  #flights: Flight[] = [];
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get messages(): number {
    return this.#flights.length;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get isFull(): boolean {
    return this.messages >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }
  /** At least 1 while not full: the last append may overshoot by less than one message. */
  get freeBytes(): number {
    return Math.max(1, this.#bytesMax - this.#bytes);
  }

  add(lastIndex: LogIndex, bytes: number): void {
    assert(!this.isFull, 'nothing is added to a full window');
    assert(lastIndex > (this.#flights.at(-1)?.lastIndex ?? 0), 'appends leave in order');
    this.#flights.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  freeThrough(index: LogIndex): void {
    let count = 0;
    for (const flight of this.#flights) {
      if (flight.lastIndex > index) break;
      this.#bytes -= flight.bytes;
      count += 1;
    }
    if (count > 0) this.#flights.splice(0, count);
  }

  clear(): void {
    this.#flights = [];
    this.#bytes = 0;
  }
}
