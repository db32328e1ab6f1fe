import { DwcpError } from '../util/errors.ts';

const HEADER_BYTES = 4;

/** A frame with its length in front, big-endian. */
export function encodeFrame(frame: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + frame.length);
  bytes.writeUInt32BE(frame.length);
  bytes.set(frame, HEADER_BYTES);
  return bytes;
}

/** Cuts a byte stream back into frames, however it was split on the way. */
export class FrameDecoder {
  readonly #maxFrameBytes: number;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerFill = 0;
  #frame: Uint8Array | null = null;
  #frameFill = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whole frames in order. Throws `ERR_DWCP_PROTOCOL` on a length above the bound, before it allocates. */
  write(chunk: Uint8Array): readonly Uint8Array[] {
    const frames: Uint8Array[] = [];
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#frame === null) {
        const taken = chunk.subarray(offset, offset + HEADER_BYTES - this.#headerFill);
        this.#header.set(taken, this.#headerFill);
        this.#headerFill += taken.length;
        offset += taken.length;
        if (this.#headerFill === HEADER_BYTES) this.#frame = this.#allocate();
      }
      if (this.#frame === null) break;
      const taken = chunk.subarray(offset, offset + this.#frame.length - this.#frameFill);
      this.#frame.set(taken, this.#frameFill);
      this.#frameFill += taken.length;
      offset += taken.length;
      if (this.#frameFill < this.#frame.length) break;
      frames.push(this.#frame);
      this.#frame = null;
      this.#frameFill = 0;
      this.#headerFill = 0;
    }
    return frames;
  }

  #allocate(): Uint8Array {
    const lengthBytes = new DataView(this.#header.buffer).getUint32(0);
    if (lengthBytes > this.#maxFrameBytes) {
      throw new DwcpError(
        'ERR_DWCP_PROTOCOL',
        `a control frame of ${lengthBytes} bytes; at most ${this.#maxFrameBytes} are allowed`,
      );
    }
    return new Uint8Array(lengthBytes);
  }
}
