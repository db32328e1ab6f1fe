/**
 * What a segment holds, and whether what cannot be read at its end was certainly synced. The rules, for a
 * damaged place of the newest segment (in older ones all is synced):
 *
 *   the file is shorter than a good header says, which was synced first     corruption
 *   a good batch stands behind it: it was written after this one's sync     corruption
 *   anything stands behind the batch whose header is good                   corruption
 *   else the last batch is damaged: torn, or synced and flipped             ambiguous
 */
import type { LogPosition } from '../../protocols/raft/log.ts';
import {
  BATCH_HEADER_BYTES,
  type Batch,
  batchEnd,
  readBatchHeader,
  readBatchRecords,
  SECTOR_BYTES,
} from './batch-format.ts';
import { corrupt } from './log-error.ts';
import { ENTRY_RECORD_BYTES_MIN } from './record-format.ts';

export interface ScannedSegment {
  readonly batches: readonly Batch[];
  /** Where the next batch goes, or where the damage begins. */
  readonly end: number;
  /** So much of the file is synced; behind it are zeros that may go. */
  readonly fileBytes: number;
  readonly damage: TailDamage | null;
}

/** What a damaged last batch brought the log to, where its header tells, or how many entries at most. */
export type TailDamage =
  | { readonly at: number; readonly last: LogPosition }
  | { readonly at: number; readonly entriesMax: number };

export interface ScanOptions {
  readonly file: string;
  readonly sequence: number;
  /** The first batch's place and number. */
  readonly from: number;
  readonly nextBatch: number;
  /** How long the file certainly is. */
  readonly fileBytes: number;
  /** Null for the newest segment. */
  readonly syncedEnd: number | null;
}

/** Throws `ERR_DWCP_CORRUPT` where synced bytes are damaged. */
export function scanSegment(bytes: Uint8Array, options: ScanOptions): ScannedSegment {
  const { file, sequence, syncedEnd } = options;
  const batches: Batch[] = [];
  let { fileBytes } = options;
  let at = options.from;
  for (;;) {
    if (bytes.length < fileBytes) {
      throw corrupt(file, bytes.length, `it was cut here; ${fileBytes} bytes were synced`);
    }
    if (at === syncedEnd) return { batches, end: at, fileBytes, damage: null };
    const header = readBatchHeader(bytes, sequence, at);
    const isNext = header?.sequence === options.nextBatch + batches.length;
    if (header === null || !isNext || header.syncedEnd !== at) {
      if (syncedEnd !== null) throw corrupt(file, at, 'a synced batch is damaged');
      const damage = damagedFrom(bytes, at, options, batches.length);
      return { batches, end: at, fileBytes, damage };
    }
    fileBytes = Math.max(fileBytes, header.fileBytes);
    const end = batchEnd(at, header);
    const read = readBatchRecords(bytes, sequence, at, header);
    if ('damagedAt' in read) {
      const isLast = syncedEnd === null && lastByteFrom(bytes, end) < 0;
      if (!isLast) throw corrupt(file, read.damagedAt, 'a synced record is damaged');
      if (bytes.length < fileBytes) continue;
      return { batches, end: at, fileBytes, damage: { at: read.damagedAt, last: header.last } };
    }
    batches.push({ header, records: read.records, end });
    at = end;
  }
}

/** Null when nothing stands there: the log simply ends. */
function damagedFrom(
  bytes: Uint8Array,
  at: number,
  { file, sequence, nextBatch }: ScanOptions,
  known: number,
): TailDamage | null {
  const lastByte = lastByteFrom(bytes, at);
  if (lastByte < 0) return null;
  for (let place = at + SECTOR_BYTES; place <= lastByte; place += SECTOR_BYTES) {
    const later = readBatchHeader(bytes, sequence, place);
    if (later !== null && later.sequence > nextBatch + known && later.syncedEnd === place) {
      throw corrupt(file, at, `a batch is damaged that was synced before the one at ${place}`);
    }
  }
  const bodyBytes = Math.max(0, lastByte + 1 - at - BATCH_HEADER_BYTES);
  return { at, entriesMax: Math.ceil(bodyBytes / ENTRY_RECORD_BYTES_MIN) };
}

/** The last byte at or behind `from` that is not zero; -1 when all are. */
function lastByteFrom(bytes: Uint8Array, from: number): number {
  for (let at = bytes.length - 1; at >= from; at -= 1) if (bytes[at] !== 0) return at;
  return -1;
}
