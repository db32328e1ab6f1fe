/** Bulk frames made by hand, as a hostile peer would: every field free, checksums right unless asked otherwise. */
import { pageKernels } from '../../src/native.ts';

export const HEADER_BYTES = 48;
const TAG_OFFSET = 44;
const MAGIC = 0x42435744;
const PAGE_BYTES = 4096;

export const FRAME_TYPE = {
  join: 2,
  chunkPages: 4,
  chunkBytes: 5,
  ack: 6,
} as const;

export interface FrameFields {
  readonly type: number;
  readonly transferId?: number;
  readonly epoch?: number;
  readonly seq?: number;
  readonly credit?: number;
  readonly mapEntries?: number;
  readonly flags?: number;
  readonly rawBytes?: number;
  /** What the header says; the body may have another length. */
  readonly bodyBytes?: number;
  readonly magic?: number;
  readonly version?: number;
}

export function frame(fields: FrameFields, body: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(fields.magic ?? MAGIC, 0);
  header.writeUInt8(fields.version ?? 1, 4);
  header.writeUInt8(fields.type, 5);
  header.writeUInt32LE(fields.bodyBytes ?? body.length, 8);
  header.writeUInt32LE(fields.epoch ?? 1, 12);
  header.writeBigUInt64LE(BigInt(fields.transferId ?? 0), 16);
  header.writeBigUInt64LE(BigInt(fields.seq ?? 0), 24);
  if (fields.type === FRAME_TYPE.ack) {
    header.writeBigUInt64LE(BigInt(fields.credit ?? 0), 32);
  } else {
    header.writeUInt16LE(fields.mapEntries ?? 0, 32);
    header.writeUInt16LE(fields.flags ?? 0, 34);
    header.writeUInt32LE(fields.rawBytes ?? 0, 36);
    header.writeUInt32LE(fields.rawBytes ?? 0, 40);
  }
  header.writeUInt16LE(headerCheck(header), 6);
  const crc = crc32c(crc32c(0, header), body);
  header.writeUInt32LE(crc, TAG_OFFSET);
  return Buffer.concat([header, body]);
}

/** CRC32C of all but itself and the tag, folded to 16 bits. */
export function headerCheck(header: Uint8Array): number {
  const crc = crc32c(crc32c(0, header.subarray(0, 6)), header.subarray(8, TAG_OFFSET));
  return (crc ^ (crc >>> 16)) & 0xffff;
}

export interface Run {
  readonly firstPage: number;
  readonly count: number;
  readonly zero?: boolean;
}

/** A chunk of pages, each filled with `fill`, for these runs; `over` overrides what the header says. */
export function pageChunk(
  name: { readonly transferId: number; readonly epoch: number; readonly seq: number },
  runs: readonly Run[],
  fill: number,
  over: Partial<FrameFields> = {},
): Buffer {
  const map = Buffer.alloc(runs.length * 8);
  let pages = 0;
  runs.forEach((run, index) => {
    map.writeUInt32LE(run.firstPage, index * 8);
    map.writeUInt32LE((run.count | (run.zero === true ? 0x80000000 : 0)) >>> 0, index * 8 + 4);
    if (run.zero !== true && run.count < 4096) pages += run.count;
  });
  const rawBytes = pages * PAGE_BYTES;
  const body = Buffer.concat([map, Buffer.alloc(rawBytes, fill)]);
  const type = FRAME_TYPE.chunkPages;
  return frame({ type, ...name, mapEntries: runs.length, rawBytes, ...over }, body);
}

function crc32c(crc: number, bytes: Uint8Array): number {
  return pageKernels.crc32c(crc, bytes, true);
}
