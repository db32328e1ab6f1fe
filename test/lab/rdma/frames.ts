/** What goes through the port between the lab and its guest; the guest's half is scripts/guests/lab-init.cc. */
import { assert } from '../../../src/util/assert.ts';

export interface GuestRequest {
  readonly directory: string;
  /** A folder of the host that the guest may write to, at the same path. */
  readonly exchange: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export type GuestFrame =
  | { readonly kind: 'begun' }
  | { readonly kind: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly kind: 'ended'; readonly status: number };

const HEAD_BYTES = 5;
/** Of what a guest sends at once; more is no frame. */
const FRAME_BYTES_MAX = 32_768;

export function encodeRequest(request: GuestRequest): Uint8Array {
  const { directory, exchange, command, environment } = request;
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const texts = [directory, exchange, `${command.length}`, ...command, ...variables];
  assert(
    texts.every((text) => !text.includes('\0')),
    'no text holds a zero byte',
  );
  const body = Buffer.from(texts.map((text) => `${text}\0`).join(''));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length);
  return Buffer.concat([head, body]);
}

/** Cuts the guest's bytes into frames, however they come. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Throws where the bytes are none of ours. */
  read(bytes: Uint8Array): readonly GuestFrame[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const frames: GuestFrame[] = [];
    while (this.#rest.length >= HEAD_BYTES) {
      const length = this.#rest.readUInt32LE(1);
      if (length > FRAME_BYTES_MAX) throw new Error(`the guest sent a frame of ${length} bytes`);
      if (this.#rest.length < HEAD_BYTES + length) break;
      const body = this.#rest.subarray(HEAD_BYTES, HEAD_BYTES + length);
      frames.push(frameOf(this.#rest[0] ?? -1, body));
      this.#rest = this.#rest.subarray(HEAD_BYTES + length);
    }
    return frames;
  }
}

function frameOf(kind: number, body: Buffer): GuestFrame {
  if (kind === 0 && body.length === 0) return { kind: 'begun' };
  if (kind === 1) return { kind: 'stdout', bytes: body };
  if (kind === 2) return { kind: 'stderr', bytes: body };
  if (kind === 3 && body.length === 4) return { kind: 'ended', status: body.readInt32LE(0) };
  throw new Error(`the guest sent a frame of kind ${kind} and ${body.length} bytes`);
}
