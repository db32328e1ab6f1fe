/**
 * What an incoming guest says back to its source, over a link that may break in between: each byte arrives
 * once, in order. The destination keeps what the source has not taken yet, and says it again.
 */
export interface ReturnPiece {
  /** Bytes before it. */
  readonly offset: number;
  readonly data: Uint8Array;
}

/** A guest that is loaded says a few words per round; one that says more than this is broken. */
export const RETURN_UNTAKEN_BYTES_MAX: number = 2 ** 20;
/** The source says so often what it took. */
const TELL_EVERY_BYTES = 64 * 1024;

export class ReturnLog {
  #pieces: ReturnPiece[] = [];
  #saidBytes = 0;
  #takenBytes = 0;

  /** Null when the source takes nothing any more. */
  say(data: Uint8Array): ReturnPiece | null {
    const piece = { offset: this.#saidBytes, data };
    if (this.#saidBytes + data.length - this.#takenBytes > RETURN_UNTAKEN_BYTES_MAX) return null;
    this.#saidBytes += data.length;
    this.#pieces.push(piece);
    return piece;
  }

  /** False for what was never said. */
  taken(bytes: number): boolean {
    if (bytes > this.#saidBytes) return false;
    this.#takenBytes = Math.max(this.#takenBytes, bytes);
    this.#pieces = this.#pieces.filter(({ offset, data }) => {
      return offset + data.length > this.#takenBytes;
    });
    return true;
  }

  untaken(): readonly ReturnPiece[] {
    return this.#pieces;
  }
}

export class ReturnReader {
  #takenBytes = 0;
  #toldBytes = 0;

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** What is new of it; empty for a repetition; null where something before it is missing. */
  take({ offset, data }: ReturnPiece): Uint8Array | null {
    if (offset > this.#takenBytes) return null;
    const known = this.#takenBytes - offset;
    if (known >= data.length) return new Uint8Array(0);
    this.#takenBytes += data.length - known;
    return data.subarray(known);
  }

  /** Whether it is time to say what was taken. */
  tellNow(): boolean {
    if (this.#takenBytes - this.#toldBytes < TELL_EVERY_BYTES) return false;
    this.#toldBytes = this.#takenBytes;
    return true;
  }
}
