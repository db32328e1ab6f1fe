/**
 * A chunk as bytes: header, then the map of its pages, then one record per page, each by the name it goes under. What
 * the wire damages is found by the checksum or by nobody, as in `native/engine/frame.h`.
 */
import { PAGE_BYTES } from '../../hypervisor/memory.ts';

export const HEADER_BYTES = 40;
const MAGIC = 0x42435744;
const TAG_AT = 36;
const TAG_PRIME = 0x01000193;
const KIND_SHIFT = 28;
const PAGE_MASK = (1 << KIND_SHIFT) - 1;
const KINDS = { whole: 0, known: 1, delta: 2, zero: 8 } as const;
const KNOWN_BYTES = 8;
const DELTA_HEADER_BYTES = 20;

export interface ChunkName {
  readonly transferId: number;
  readonly epoch: number;
}

/** What a chunk says of one page. Contents go by their fingerprints. */
export type PageRecord =
  | { readonly kind: 'zero' }
  | { readonly kind: 'whole'; readonly bytes: Uint8Array }
  | { readonly kind: 'known'; readonly content: number }
  | {
      readonly kind: 'delta';
      readonly base: number;
      readonly result: number;
      /** Places in the page, and what stands there now, by turns. */
      readonly changes: Uint32Array;
    };

export interface PageChunk extends ChunkName {
  readonly type: 'pages';
  readonly seq: number;
  readonly pages: readonly number[];
  /** Of one of `pages`, by its place there. */
  readonly record: (index: number) => PageRecord;
}

export interface ByteChunk extends ChunkName {
  readonly type: 'bytes';
  readonly seq: number;
  readonly payload: Uint8Array;
  readonly isEnd: boolean;
}

/** Copies what the records hold. */
export function encodePages(
  name: ChunkName,
  seq: number,
  pages: readonly number[],
  records: readonly PageRecord[],
): Uint8Array {
  const mapBytes = pages.length * 4;
  const payloadBytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
  const frame = new Uint8Array(HEADER_BYTES + mapBytes + payloadBytes);
  const view = writeHeader(frame, name, seq, { type: 1, count: pages.length, flags: 0 });
  let at = HEADER_BYTES + mapBytes;
  for (const [index, record] of records.entries()) {
    const entry = (pages[index] as number) | (KINDS[record.kind] << KIND_SHIFT);
    view.setUint32(HEADER_BYTES + index * 4, entry >>> 0);
    writeRecord(frame, view, at, record);
    at += bytesOf(record);
  }
  seal(frame, view);
  return frame;
}

function bytesOf(record: PageRecord): number {
  switch (record.kind) {
    case 'zero':
      return 0;
    case 'whole':
      return PAGE_BYTES;
    case 'known':
      return KNOWN_BYTES;
    case 'delta':
      return DELTA_HEADER_BYTES + record.changes.length * 4;
  }
}

function writeRecord(frame: Uint8Array, view: DataView, at: number, record: PageRecord): void {
  if (record.kind === 'whole') frame.set(record.bytes, at);
  if (record.kind === 'known') view.setFloat64(at, record.content);
  if (record.kind !== 'delta') return;
  view.setFloat64(at, record.base);
  view.setFloat64(at + 8, record.result);
  view.setUint32(at + 16, record.changes.length);
  for (const [index, word] of record.changes.entries()) {
    view.setUint32(at + DELTA_HEADER_BYTES + index * 4, word);
  }
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
  const records: PageRecord[] = [];
  let at = HEADER_BYTES + count * 4;
  for (let index = 0; index < count; index += 1) {
    const entry = view.getUint32(HEADER_BYTES + index * 4);
    pages.push(entry & PAGE_MASK);
    const record = readRecord(frame, view, at, entry >>> KIND_SHIFT);
    records.push(record);
    at += bytesOf(record);
  }
  return { type: 'pages', ...name, pages, record: (index) => records[index] as PageRecord };
}

function readRecord(frame: Uint8Array, view: DataView, at: number, kind: number): PageRecord {
  if (kind === KINDS.zero) return { kind: 'zero' };
  if (kind === KINDS.known) return { kind: 'known', content: view.getFloat64(at) };
  if (kind === KINDS.whole) return { kind: 'whole', bytes: frame.subarray(at, at + PAGE_BYTES) };
  const changes = new Uint32Array(view.getUint32(at + 16));
  for (let index = 0; index < changes.length; index += 1) {
    changes[index] = view.getUint32(at + DELTA_HEADER_BYTES + index * 4);
  }
  return { kind: 'delta', base: view.getFloat64(at), result: view.getFloat64(at + 8), changes };
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

/** In place of the CRC: quicker, and any one bit that turns gives another tag. */
function tagOf(frame: Uint8Array): number {
  const words = new Uint32Array(frame.buffer, frame.byteOffset, frame.length >> 2);
  let tag = frame.length;
  for (let at = 0; at < words.length; at += 1) {
    if (at !== TAG_AT / 4) tag = Math.imul(tag ^ (words[at] as number), TAG_PRIME);
  }
  for (let at = words.length * 4; at < frame.length; at += 1) {
    tag = Math.imul(tag ^ (frame[at] as number), TAG_PRIME);
  }
  return tag >>> 0;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
