/**
 * A snapshot's file: who and what it is, how much of it is here, then its bytes. `received` says up to
 * where they were synced before the write that carries it, so that a broken transfer goes on from a
 * place that is certainly there.
 */
import type { RaftLogIdentity } from '../../ports/raft-log.ts';
import type { Snapshot } from '../../protocols/raft/types.ts';
import { SECTOR_BYTES, sectorEnd } from './batch-format.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { crc32c } from './crc32c.ts';
import { MAGIC_SNAPSHOT, readFileHeader, writeFileHeader } from './file-header.ts';
import { corrupt } from './log-error.ts';
import { readSnapshot, writeSnapshot } from './record-format.ts';

export interface SnapshotLayout {
  readonly snapshot: Snapshot;
  /** A sector of its own. */
  readonly receivedAt: number;
  readonly dataAt: number;
  /** The sum of `received` starts from it, so that it never speaks of another snapshot's file. */
  readonly seed: number;
}

/** Header, and `received` = 0. */
export function writeSnapshotHeader(
  identity: RaftLogIdentity,
  snapshot: Snapshot,
): { readonly bytes: Uint8Array; readonly layout: SnapshotLayout } {
  const header = writeFileHeader(MAGIC_SNAPSHOT, identity, (to) => writeSnapshot(to, snapshot));
  const layout = layoutOf(snapshot, header.length, new ByteReader(header, 12).u32());
  const bytes = new Uint8Array(layout.dataAt);
  bytes.set(header);
  bytes.set(writeReceived(layout, 0), layout.receivedAt);
  return { bytes, layout };
}

/** Throws a coded error. */
export function readSnapshotHeader(
  file: Uint8Array,
  identity: RaftLogIdentity,
  name: string,
): SnapshotLayout {
  const { body, end, crc } = readFileHeader(file, 0, MAGIC_SNAPSHOT, identity, name);
  const snapshot = readSnapshot(body);
  if (!body.isDone) throw corrupt(name, 0, 'its header is malformed');
  return layoutOf(snapshot, end, crc);
}

export function writeReceived({ seed }: SnapshotLayout, bytes: number): Uint8Array {
  const to = new ByteWriter(16);
  to.u32(0);
  to.u64(bytes);
  to.putU32(0, crc32c(to.written, 4, 12, seed));
  return to.written;
}

/** 0 where it is not readable: the transfer starts anew. */
export function readReceived(file: Uint8Array, { seed, receivedAt }: SnapshotLayout): number {
  const from = new ByteReader(file, receivedAt);
  const crc = from.u32();
  const bytes = from.u64();
  if (from.failed || crc32c(file, receivedAt + 4, receivedAt + 12, seed) !== crc) return 0;
  return bytes;
}

function layoutOf(snapshot: Snapshot, headerBytes: number, seed: number): SnapshotLayout {
  const receivedAt = sectorEnd(headerBytes);
  return { snapshot, receivedAt, dataAt: receivedAt + SECTOR_BYTES, seed };
}
