/**
 * What goes back to the source of a QEMU migration when pages travel apart: the waiting QEMU's own return
 * path, and reports of its load in between.
 *
 *   u8 kind | be16 length | data[length]
 *
 * kind 0: bytes of the return path. kind 1: be32 round, be32 pages, be32 KiB per second.
 */
import { DwcpError } from '../../util/errors.ts';
import type { LoadReport } from './load.ts';

export type ReturnFrame =
  | { readonly type: 'bytes'; readonly bytes: Uint8Array }
  | { readonly type: 'report'; readonly report: LoadReport };

const HEADER_BYTES = 3;
const REPORT_BYTES = 12;
const BYTES_MAX = 0xffff;

export function encodeReturn(bytes: Uint8Array): Uint8Array {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_MAX) {
    frames.push(frame(0, bytes.subarray(at, at + BYTES_MAX)));
  }
  const all = new Uint8Array(frames.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const one of frames) {
    all.set(one, at);
    at += one.length;
  }
  return all;
}

export function encodeReport({ round, unfedPages, loadBytesPerSec }: LoadReport): Uint8Array {
  const data = new Uint8Array(REPORT_BYTES);
  const view = new DataView(data.buffer);
  view.setUint32(0, round);
  view.setUint32(4, unfedPages);
  view.setUint32(8, Math.round(loadBytesPerSec / 1024));
  return frame(1, data);
}

/** Cuts what came into frames; throws `ERR_DWCP_PROTOCOL` on what our peer would not say. */
export class ReturnFrames {
  #held: Uint8Array = new Uint8Array(0);

  push(bytes: Uint8Array): readonly ReturnFrame[] {
    const input = new Uint8Array(this.#held.length + bytes.length);
    input.set(this.#held);
    input.set(bytes, this.#held.length);
    const view = new DataView(input.buffer);
    const frames: ReturnFrame[] = [];
    let at = 0;
    while (input.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + view.getUint16(at + 1);
      if (end > input.length) break;
      frames.push(read(input[at] ?? 0, input.slice(at + HEADER_BYTES, end)));
      at = end;
    }
    this.#held = input.slice(at);
    return frames;
  }
}

function read(kind: number, bytes: Uint8Array): ReturnFrame {
  if (kind === 0) return { type: 'bytes', bytes };
  if (kind !== 1 || bytes.length !== REPORT_BYTES) {
    throw new DwcpError(
      'ERR_DWCP_PROTOCOL',
      `QEMU's return path: frame ${kind} of ${bytes.length}`,
    );
  }
  const view = new DataView(bytes.buffer);
  const loadBytesPerSec = view.getUint32(8) * 1024;
  const report = { round: view.getUint32(0), unfedPages: view.getUint32(4), loadBytesPerSec };
  return { type: 'report', report };
}

function frame(kind: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + data.length);
  bytes[0] = kind;
  new DataView(bytes.buffer).setUint16(1, data.length);
  bytes.set(data, HEADER_BYTES);
  return bytes;
}
