/**
 * A chunk as bytes: header, then the map of its pages, then their payload. What the wire damages is found
 * by the checksum or by nobody, as in `native/engine/frame.h`.
 */
import { PAGE_BYTES, type SimMemory } from '../../hypervisor/memory.ts';
import { crc32c } from './crc32c.ts';

export const HEADER_BYTES = 40;
const MAGIC = 0x42435744;
const TAG_AT = 36;
const ZERO_FLAG = 0x80000000;

export interface ChunkName {
  readonly transferId: number;
  readonly epoch: number;
}

export interface PageChunk extends ChunkName {
  readonly type: 'pages';
  readonly seq: number;
  readonly pages: readonly number[];
  /** The bytes of one of `pages`, by its place there; null for zeros. */
  readonly page: (index: number) => Uint8Array | null;
}

export interface ByteChunk extends ChunkName {
  readonly type: 'bytes';
  readonly seq: number;
  readonly payload: Uint8Array;
  readonly isEnd: boolean;
}

/** Reads each page once, now. */
export function encodePages(
  name: ChunkName,
  seq: number,
  pages: readonly number[],
  memory: SimMemory,
): Uint8Array {
  const zero = pages.map((page) => memory.isZero(page));
  const raw = zero.filter((isZero) => !isZero).length;
  const mapBytes = pages.length * 4;
  const frame = new Uint8Array(HEADER_BYTES + mapBytes + raw * PAGE_BYTES);
  const view = writeHeader(frame, name, seq, { type: 1, count: pages.length, flags: 0 });
  let at = HEADER_BYTES + mapBytes;
  for (const [index, page] of pages.entries()) {
    const isZero = zero[index] === true;
    view.setUint32(HEADER_BYTES + index * 4, (page | (isZero ? ZERO_FLAG : 0)) >>> 0);
    if (isZero) continue;
    frame.set(memory.page(page), at);
    at += PAGE_BYTES;
  }
  seal(frame, view);
  return frame;
}

export function encodeBytes(
  name: ChunkName,
  seq: number,
  payload: Uint8Array,
  isEnd: boolean,
): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const flags = isEnd ? 1 : 0;
  const view = writeHeader(frame, name, seq, { type: 2, count: payload.length, flags });
  frame.set(payload, HEADER_BYTES);
  seal(frame, view);
  return frame;
}

/** Null when the checksum does not hold. */
export function decodeChunk(frame: Uint8Array): PageChunk | ByteChunk | null {
  const view = viewOf(frame);
  if (frame.length < HEADER_BYTES || view.getUint32(0) !== MAGIC) return null;
  const tag = view.getUint32(TAG_AT);
  if (tag !== tagOf(frame)) return null;
  const transferId = view.getFloat64(8);
  const epoch = view.getUint32(16);
  const seq = view.getUint32(20);
  const count = view.getUint32(24);
  const name = { transferId, epoch, seq };
  if (view.getUint32(4) === 2) {
    const payload = frame.subarray(HEADER_BYTES);
    return { type: 'bytes', ...name, payload, isEnd: view.getUint32(28) === 1 };
  }
  const pages: number[] = [];
  const offsets: (number | null)[] = [];
  let at = HEADER_BYTES + count * 4;
  for (let index = 0; index < count; index += 1) {
    const entry = view.getUint32(HEADER_BYTES + index * 4);
    pages.push((entry & ~ZERO_FLAG) >>> 0);
    const isZero = entry >>> 31 === 1;
    offsets.push(isZero ? null : at);
    if (!isZero) at += PAGE_BYTES;
  }
  const page = (index: number): Uint8Array | null => {
    const offset = offsets[index] ?? null;
    return offset === null ? null : frame.subarray(offset, offset + PAGE_BYTES);
  };
  return { type: 'pages', ...name, pages, page };
}

/** For traces: equal for equal frames. */
export function tagOfFrame(frame: Uint8Array): number {
  return viewOf(frame).getUint32(TAG_AT);
}

/** The same frame with one bit turned. */
export function damaged(frame: Uint8Array, bit: number): Uint8Array {
  const copy = frame.slice();
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] as number) ^ (1 << (bit % 8));
  return copy;
}

function writeHeader(
  frame: Uint8Array,
  { transferId, epoch }: ChunkName,
  seq: number,
  fields: { readonly type: number; readonly count: number; readonly flags: number },
): DataView {
  const view = viewOf(frame);
  view.setUint32(0, MAGIC);
  view.setUint32(4, fields.type);
  view.setFloat64(8, transferId);
  view.setUint32(16, epoch);
  view.setUint32(20, seq);
  view.setUint32(24, fields.count);
  view.setUint32(28, fields.flags);
  view.setUint32(32, frame.length);
  return view;
}

function seal(frame: Uint8Array, view: DataView): void {
  view.setUint32(TAG_AT, tagOf(frame));
}

function tagOf(frame: Uint8Array): number {
  return crc32c(frame, HEADER_BYTES, frame.length, crc32c(frame, 0, TAG_AT));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
