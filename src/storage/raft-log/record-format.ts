/**
 * One record of a batch: `crc32c, length, kind, content`. The sum covers all behind it and starts from
 * where the record stands, so that bytes which belong elsewhere are not taken for it.
 */

import type { LogPosition } from '../../protocols/raft/log.ts';
import type { Configuration, Entry, ReplicaId, Snapshot } from '../../protocols/raft/types.ts';
import { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { crc32c } from './crc32c.ts';

export const RECORD_HEADER_BYTES = 8;
/** Kind, index and term: no entry is shorter. */
export const ENTRY_RECORD_BYTES_MIN: number = RECORD_HEADER_BYTES + 17;
const DIGEST_BYTES_MAX = 256;

export type LogRecord =
  | { readonly type: 'entry'; readonly entry: Entry }
  /** `replacesLog`: it came from the leader, and nothing before it counts any more. */
  | { readonly type: 'snapshot'; readonly snapshot: Snapshot; readonly replacesLog: boolean }
  | { readonly type: 'compact'; readonly through: LogPosition };

const NOOP = 1;
const COMMAND = 2;
const CONFIGURATION = 3;
const OWN_SNAPSHOT = 4;
const INSTALLED_SNAPSHOT = 5;
const COMPACT = 6;

export function writeRecord(to: ByteWriter, record: LogRecord, seed: number): void {
  const from = to.length;
  to.u32(0);
  to.u32(0);
  writeContent(to, record);
  to.putU32(from + 4, to.length - from - RECORD_HEADER_BYTES);
  to.putU32(from, crc32c(to.written, from + 4, to.length, seed));
}

/** The record at `at` and where it ends; null when it is not what was written there. */
export function readRecord(
  bytes: Uint8Array,
  at: number,
  end: number,
  seed: number,
): { readonly record: LogRecord; readonly end: number } | null {
  const header = new ByteReader(bytes, at, end);
  const crc = header.u32();
  const length = header.u32();
  if (header.failed || length > header.left) return null;
  const recordEnd = at + RECORD_HEADER_BYTES + length;
  if (crc32c(bytes, at + 4, recordEnd, seed) !== crc) return null;
  const content = new ByteReader(bytes, at + RECORD_HEADER_BYTES, recordEnd);
  const record = readContent(content);
  return record !== null && content.isDone ? { record, end: recordEnd } : null;
}

function writeContent(to: ByteWriter, record: LogRecord): void {
  switch (record.type) {
    case 'entry':
      return writeEntry(to, record.entry);
    case 'snapshot':
      to.u8(record.replacesLog ? INSTALLED_SNAPSHOT : OWN_SNAPSHOT);
      return writeSnapshot(to, record.snapshot);
    case 'compact':
      to.u8(COMPACT);
      return writePosition(to, record.through);
  }
}

function readContent(from: ByteReader): LogRecord | null {
  const kind = from.u8();
  switch (kind) {
    case NOOP:
    case COMMAND:
    case CONFIGURATION: {
      const entry = readEntry(from, kind);
      return entry === null ? null : { type: 'entry', entry };
    }
    case OWN_SNAPSHOT:
    case INSTALLED_SNAPSHOT:
      return {
        type: 'snapshot',
        snapshot: readSnapshot(from),
        replacesLog: kind === INSTALLED_SNAPSHOT,
      };
    case COMPACT:
      return { type: 'compact', through: readPosition(from) };
    default:
      return null;
  }
}

function writeEntry(to: ByteWriter, entry: Entry): void {
  switch (entry.kind) {
    case 'noop':
      to.u8(NOOP);
      return writePosition(to, entry);
    case 'command':
      to.u8(COMMAND);
      writePosition(to, entry);
      return to.raw(entry.data);
    case 'configuration':
      to.u8(CONFIGURATION);
      writePosition(to, entry);
      return writeConfiguration(to, entry.configuration);
  }
}

function readEntry(from: ByteReader, kind: number): Entry | null {
  const { index, term } = readPosition(from);
  if (index === 0) return null;
  if (kind === NOOP) return { kind: 'noop', index, term };
  if (kind === COMMAND) return { kind: 'command', index, term, data: from.raw(from.left) };
  return { kind: 'configuration', index, term, configuration: readConfiguration(from) };
}

export function writePosition(to: ByteWriter, { index, term }: LogPosition): void {
  to.u64(index);
  to.u64(term);
}

export function readPosition(from: ByteReader): LogPosition {
  return { index: from.u64(), term: from.u64() };
}

export function writeSnapshot(to: ByteWriter, snapshot: Snapshot): void {
  writePosition(to, snapshot);
  to.u64(snapshot.sizeBytes);
  to.text(snapshot.digest);
  writeConfiguration(to, snapshot.configuration);
}

export function readSnapshot(from: ByteReader): Snapshot {
  const { index, term } = readPosition(from);
  const sizeBytes = from.u64();
  const digest = from.text(DIGEST_BYTES_MAX);
  return { index, term, configuration: readConfiguration(from), sizeBytes, digest };
}

/** Members ascend, so that one configuration has one encoding. */
function writeConfiguration(to: ByteWriter, configuration: Configuration): void {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = configuration;
  for (const set of [voters, votersOutgoing, learners, learnersNext]) {
    to.u32(set.size);
    for (const id of [...set].sort((a, b) => a - b)) to.u64(id);
  }
  to.u8(autoLeave ? 1 : 0);
}

function readConfiguration(from: ByteReader): Configuration {
  const voters = readMembers(from);
  const votersOutgoing = readMembers(from);
  const learners = readMembers(from);
  const learnersNext = readMembers(from);
  const autoLeave = from.u8();
  if (autoLeave > 1) from.failed = true;
  return { voters, votersOutgoing, learners, learnersNext, autoLeave: autoLeave === 1 };
}

function readMembers(from: ByteReader): ReadonlySet<ReplicaId> {
  const count = from.u32();
  if (count * 8 > from.left) from.failed = true;
  const members = new Set<ReplicaId>();
  let before = 0;
  for (let at = 0; at < count && !from.failed; at += 1) {
    const id = from.u64();
    if (id <= before) from.failed = true;
    before = id;
    members.add(id);
  }
  return members;
}
