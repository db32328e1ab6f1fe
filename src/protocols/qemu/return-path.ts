/**
 * The return path of QEMU's migration stream, destination to source, cut into its messages:
 *
 *   be16 type | be16 length | data[length]
 *
 * Everything passes but SHUT(0), "the guest is loaded": a source that saw it would call the
 * migration finished by itself, and who owns the guest is for our commit to say. In post-copy that was
 * said before, and SHUT(0) is QEMU's own word that the last page came: then it passes. SHUT with an
 * error passes and is reported. RECV_BITMAP is followed by unframed bytes and belongs to a post-copy
 * that was paused and is recovered, which we never do, so it is refused like anything unknown.
 */
import { DwcpError } from '../../util/errors.ts';

export interface ReturnPathStep {
  /** What may go on to the source, in order; empty when nothing is complete. */
  readonly forward: Uint8Array;
  /** SHUT(0) was seen, now or before, and withheld. */
  readonly loaded: boolean;
  /** The error of a SHUT that passed, or null. */
  readonly failure: number | null;
}

const HEADER_BYTES = 4;
const SHUT = 1;
const RECV_BITMAP = 5;
/** `len` is exact, or bounded by a block name of 255 bytes; from QEMU 10's `rp_cmd_args`. */
const LENGTH_BYTES: ReadonlyMap<number, readonly [number, number]> = new Map([
  [SHUT, [4, 4]],
  [2, [4, 4]], // PONG
  [3, [13, 13 + 255]], // REQ_PAGES_ID
  [4, [12, 12]], // REQ_PAGES
  [6, [4, 4]], // RESUME_ACK
  [7, [0, 0]], // SWITCHOVER_ACK
]);

export class ReturnPath {
  /** The start of a message whose rest has not come: at most 271 bytes. */
  private held: Uint8Array = new Uint8Array(0);
  private loaded = false;
  private failure: number | null = null;
  private isOpen = false;

  /** Takes bytes as they come; throws `ERR_DWCP_PROTOCOL` on what QEMU would not say. */
  push(bytes: Uint8Array): ReturnPathStep {
    const input = joined(this.held, bytes);
    const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    const passed: Uint8Array[] = [];
    let at = 0;
    while (input.byteLength - at >= HEADER_BYTES) {
      const type = view.getUint16(at);
      const length = view.getUint16(at + 2);
      checkHeader(type, length);
      const end = at + HEADER_BYTES + length;
      if (end > input.byteLength) break;
      if (this.loaded) throw protocolError(`type ${type} after it said that the guest is loaded`);
      if (type === SHUT) this.shut(view.getUint32(at + HEADER_BYTES));
      if (!this.loaded || this.isOpen) passed.push(input.subarray(at, end));
      at = end;
    }
    this.held = input.slice(at);
    return {
      forward: passed.reduce(joined, new Uint8Array(0)),
      loaded: this.loaded,
      failure: this.failure,
    };
  }

  /** The guest is another host's for good: everything passes. Answers what was withheld so far. */
  letGo(): Uint8Array {
    const isWithheld = this.loaded && !this.isOpen;
    this.isOpen = true;
    return isWithheld ? new Uint8Array([0, SHUT, 0, 4, 0, 0, 0, 0]) : new Uint8Array(0);
  }

  private shut(value: number): void {
    if (value === 0) this.loaded = true;
    else this.failure = value;
  }
}

function checkHeader(type: number, length: number): void {
  const bounds = LENGTH_BYTES.get(type);
  if (bounds === undefined) {
    const name = type === RECV_BITMAP ? 'RECV_BITMAP (post-copy recovery)' : `unknown type ${type}`;
    throw protocolError(name);
  }
  if (length < bounds[0] || length > bounds[1]) {
    throw protocolError(
      `type ${type} of ${length} bytes, allowed are ${bounds[0]} to ${bounds[1]}`,
    );
  }
}

function protocolError(what: string): DwcpError {
  return new DwcpError('ERR_DWCP_PROTOCOL', `QEMU's return path: ${what}`, {
    hint: 'The destination QEMU is damaged or of an unknown version; the guest goes on at its source.',
  });
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.byteLength === 0) return second;
  const all = new Uint8Array(first.byteLength + second.byteLength);
  all.set(first);
  all.set(second, first.byteLength);
  return all;
}
