/**
 * A segment begins with all that the segments before it said and that must not be lost with them: they
 * may be dropped once their entries are compacted. It is synced and named before its first batch, so a
 * damaged header is corruption, and its name proves that the segment before it is synced to its end.
 */
import type { RaftLogIdentity } from '../../ports/raft-log.ts';
import type { LogPosition } from '../../protocols/raft/log.ts';
import type { Snapshot } from '../../protocols/raft/types.ts';
import { sectorEnd } from './batch-format.ts';
import type { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { MAGIC_SEGMENT, readFileHeader, writeFileHeader } from './file-header.ts';
import { corrupt } from './log-error.ts';
import { readPosition, readSnapshot, writePosition, writeSnapshot } from './record-format.ts';

/** What the log amounts to at some place, apart from its entries. */
export interface LogSummary {
  readonly last: LogPosition;
  readonly commit: number;
  readonly snapshot: Snapshot;
  readonly compacted: LogPosition | null;
  /** Where a damaged end may have reached; null once a leader brought the log past it. */
  readonly lostEnd: LogPosition | null;
}

export interface SegmentHeader extends LogSummary {
  readonly sequence: number;
  /** Up to where the segment before is synced; what stands behind it there is nothing. */
  readonly previousEnd: number;
  readonly nextBatch: number;
  /** How long the file was when it got its name. */
  readonly fileBytes: number;
}

/** Padded to whole sectors. */
export function writeSegmentHeader(
  identity: RaftLogIdentity,
  header: SegmentHeader,
): Uint8Array<ArrayBuffer> {
  const bytes = writeFileHeader(MAGIC_SEGMENT, identity, (to) => {
    to.u64(header.sequence);
    to.u64(header.previousEnd);
    to.u64(header.nextBatch);
    to.u64(header.fileBytes);
    writePosition(to, header.last);
    to.u64(header.commit);
    writeSnapshot(to, header.snapshot);
    writeOptional(to, header.compacted);
    writeOptional(to, header.lostEnd);
  });
  const padded = new Uint8Array(sectorEnd(bytes.length));
  padded.set(bytes);
  return padded;
}

/** Throws a coded error. `end` is where the first batch stands. */
export function readSegmentHeader(
  bytes: Uint8Array,
  identity: RaftLogIdentity,
  file: string,
): { readonly header: SegmentHeader; readonly end: number } {
  const { body, end } = readFileHeader(bytes, 0, MAGIC_SEGMENT, identity, file);
  const header: SegmentHeader = {
    sequence: body.u64(),
    previousEnd: body.u64(),
    nextBatch: body.u64(),
    fileBytes: body.u64(),
    last: readPosition(body),
    commit: body.u64(),
    snapshot: readSnapshot(body),
    compacted: readOptional(body),
    lostEnd: readOptional(body),
  };
  if (!body.isDone) throw corrupt(file, 0, 'its header is malformed');
  return { header, end: sectorEnd(end) };
}

function writeOptional(to: ByteWriter, position: LogPosition | null): void {
  to.u8(position === null ? 0 : 1);
  if (position !== null) writePosition(to, position);
}

function readOptional(from: ByteReader): LogPosition | null {
  const kind = from.u8();
  if (kind > 1) from.failed = true;
  return kind === 1 ? readPosition(from) : null;
}
