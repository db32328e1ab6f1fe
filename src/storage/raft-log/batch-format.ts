/**
 * A batch: what one sync makes durable. It starts on a sector of its own, so that no synced byte is ever
 * written again, and is a header of 64 bytes, records, zeros up to the next sector.
 *
 * The header says up to where this file was synced before the batch was written: damage before that
 * place is corruption, whereas a damaged last batch may also be one that a power loss tore. It also says
 * where the log ends with it, so that even a batch whose records are damaged tells what was lost.
 */
import type { LogPosition } from '../../protocols/raft/log.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { crc32c } from './crc32c.ts';
import {
  type LogRecord,
  readPosition,
  readRecord,
  writePosition,
  writeRecord,
} from './record-format.ts';

export const SECTOR_BYTES = 512;
export const BATCH_HEADER_BYTES = 64;
const MAGIC = 0x42574344;

export interface BatchHeader {
  /** One more with every batch, across segments. */
  readonly sequence: number;
  /** Everything in the segment before it is synced. */
  readonly syncedEnd: number;
  readonly bodyBytes: number;
  readonly records: number;
  /** The end of the log after it. */
  readonly last: LogPosition;
  readonly commit: number;
  /** How long the file is, zeros behind the batch included, once the batch is synced. */
  readonly fileBytes: number;
}

export interface Batch {
  readonly header: BatchHeader;
  readonly records: readonly LogRecord[];
  /** Where the next one starts. */
  readonly end: number;
}

/** A place in the log's files: sums start from it. */
export function seedOf(segment: number, offset: number): number {
  return (Math.imul(segment, 0x9e3779b1) ^ offset) >>> 0;
}

export function sectorEnd(offset: number): number {
  return Math.ceil(offset / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Fills `to`, which is empty; a place for the header first, because it is known last. */
export function writeBatch(
  to: ByteWriter,
  segment: number,
  offset: number,
  records: readonly LogRecord[],
  header: Pick<BatchHeader, 'sequence' | 'last' | 'commit'>,
  fileBytesFor: (end: number) => number,
): Pick<Batch, 'end'> & { readonly fileBytes: number } {
  to.zeros(BATCH_HEADER_BYTES);
  for (const record of records) writeRecord(to, record, seedOf(segment, offset + to.length));
  const bodyBytes = to.length - BATCH_HEADER_BYTES;
  to.zeros(sectorEnd(to.length) - to.length);
  const end = offset + to.length;
  const fileBytes = fileBytesFor(end);
  const head = new ByteWriter(BATCH_HEADER_BYTES);
  head.u32(MAGIC);
  head.u32(0);
  head.u64(header.sequence);
  head.u64(offset);
  head.u32(bodyBytes);
  head.u32(records.length);
  writePosition(head, header.last);
  head.u64(header.commit);
  head.u64(fileBytes);
  head.putU32(4, crc32c(head.written, 8, BATCH_HEADER_BYTES, seedOf(segment, offset)));
  to.written.set(head.written);
  return { end, fileBytes };
}

export function readBatchHeader(
  bytes: Uint8Array,
  segment: number,
  offset: number,
): BatchHeader | null {
  const from = new ByteReader(bytes, offset, offset + BATCH_HEADER_BYTES);
  if (from.left < BATCH_HEADER_BYTES || from.u32() !== MAGIC) return null;
  const crc = from.u32();
  const sum = crc32c(bytes, offset + 8, offset + BATCH_HEADER_BYTES, seedOf(segment, offset));
  if (sum !== crc) return null;
  const header: BatchHeader = {
    sequence: from.u64(),
    syncedEnd: from.u64(),
    bodyBytes: from.u32(),
    records: from.u32(),
    last: readPosition(from),
    commit: from.u64(),
    fileBytes: from.u64(),
  };
  return from.failed ? null : header;
}

/** Where the batch would end by its header. */
export function batchEnd(offset: number, { bodyBytes }: BatchHeader): number {
  return sectorEnd(offset + BATCH_HEADER_BYTES + bodyBytes);
}

/** The records of a batch, or the offset of the first that is not what was written there. */
export function readBatchRecords(
  bytes: Uint8Array,
  segment: number,
  offset: number,
  header: BatchHeader,
): { readonly records: readonly LogRecord[] } | { readonly damagedAt: number } {
  const end = offset + BATCH_HEADER_BYTES + header.bodyBytes;
  const records: LogRecord[] = [];
  let at = offset + BATCH_HEADER_BYTES;
  for (let count = 0; count < header.records; count += 1) {
    const read = end > bytes.length ? null : readRecord(bytes, at, end, seedOf(segment, at));
    if (read === null) return { damagedAt: at };
    records.push(read.record);
    at = read.end;
  }
  return at === end ? { records } : { damagedAt: at };
}
