/** Snapshots on the disk: the ones in use by name, and at most one that is being received. */
import type { Disk } from '../../ports/disk.ts';
import type { RaftLogIdentity, SnapshotDigest } from '../../ports/raft-log.ts';
import type { PersistSnapshotChunk, Snapshot } from '../../protocols/raft/types.ts';
import { assert } from '../../util/assert.ts';
import { type Completion, failed, succeeded } from '../../util/errors.ts';
import { createDurably } from './durable-file.ts';
import { atPlace, corrupt } from './log-error.ts';
import { PARTIAL_FILE, snapshotFile, TEMPORARY_SUFFIX } from './names.ts';
import { type SnapshotLayout, writeReceived, writeSnapshotHeader } from './snapshot-format.ts';
import { type Step, steps } from './steps.ts';

/** A large snapshot goes to the disk in pieces, each synced, so that the log's writes get in between. */
const PIECE_BYTES = 2 ** 20;

export interface PartialFile {
  readonly layout: SnapshotLayout;
  readonly receivedBytes: number;
}

export class SnapshotFiles {
  readonly #disk: Disk;
  readonly #identity: RaftLogIdentity;
  readonly #digest: SnapshotDigest;
  #partial: { readonly layout: SnapshotLayout; writtenBytes: number; syncedBytes: number } | null;

  constructor(
    disk: Disk,
    identity: RaftLogIdentity,
    digest: SnapshotDigest,
    partial: PartialFile | null,
  ) {
    this.#disk = disk;
    this.#identity = identity;
    this.#digest = digest;
    this.#partial = null;
    if (partial === null) return;
    const { layout, receivedBytes } = partial;
    this.#partial = { layout, writtenBytes: receivedBytes, syncedBytes: receivedBytes };
  }

  /** One that was cut here: under its name once it is whole and synced. */
  save(snapshot: Snapshot, data: Uint8Array, done: Completion<void>): void {
    assert(data.length === snapshot.sizeBytes, 'a snapshot has the size that its name says');
    const name = snapshotFile(snapshot);
    const temporary = `${name}${TEMPORARY_SUFFIX}`;
    const disk = this.#disk;
    const { bytes, layout } = writeSnapshotHeader(this.#identity, snapshot);
    const work: Step[] = [
      (next) => disk.remove(temporary, next),
      (next) => disk.writeAt(temporary, 0, bytes, next),
    ];
    for (let at = 0; at < data.length; at += PIECE_BYTES) {
      const piece = data.subarray(at, at + PIECE_BYTES);
      work.push((next) => disk.writeAt(temporary, layout.dataAt + at, piece, next));
      work.push((next) => disk.fdatasync(temporary, next));
    }
    work.push((next) => disk.fdatasync(temporary, next));
    work.push((next) => disk.rename(temporary, name, next));
    work.push((next) => disk.syncDir(next));
    steps(work, (outcome) => done(outcome.ok ? outcome : failed(atPlace(name, 0, outcome.error))));
  }

  /** Chunks of one snapshot, in order, and one sync for all of them. */
  receive(chunks: readonly PersistSnapshotChunk[], done: Completion<void>): void {
    const work: Step[] = [];
    let isNew = false;
    for (const { snapshot, offset, data } of chunks) {
      if (offset === 0) {
        work.push(...this.#begin(snapshot));
        isNew = true;
      }
      const partial = this.#partial;
      assert(partial !== null && isSame(partial.layout.snapshot, snapshot), 'a begun snapshot');
      assert(partial.writtenBytes === offset, 'chunks of a snapshot come in order');
      partial.writtenBytes += data.length;
      const { dataAt } = partial.layout;
      work.push((next) => this.#disk.writeAt(PARTIAL_FILE, dataAt + offset, data, next));
    }
    const partial = this.#partial;
    assert(partial !== null, 'a begun snapshot');
    const { layout, syncedBytes, writtenBytes } = partial;
    const received = writeReceived(layout, syncedBytes);
    work.push(
      (next) => this.#disk.writeAt(PARTIAL_FILE, layout.receivedAt, received, next),
      (next) => this.#disk.fdatasync(PARTIAL_FILE, next),
    );
    if (isNew) work.push((next) => this.#disk.syncDir(next));
    steps(work, (outcome) => {
      if (!outcome.ok) return done(failed(atPlace(PARTIAL_FILE, syncedBytes, outcome.error)));
      partial.syncedBytes = writtenBytes;
      done(outcome);
    });
  }

  /** The received bytes get their name; an empty snapshot has nothing to receive. */
  install(snapshot: Snapshot, done: Completion<void>): void {
    const name = snapshotFile(snapshot);
    const partial = this.#partial;
    this.#partial = null;
    if (partial === null || !isSame(partial.layout.snapshot, snapshot)) {
      assert(snapshot.sizeBytes === 0, 'a snapshot is installed after it was received');
      return createDurably(
        this.#disk,
        name,
        writeSnapshotHeader(this.#identity, snapshot).bytes,
        done,
      );
    }
    assert(partial.syncedBytes === snapshot.sizeBytes, 'a snapshot is installed when it is whole');
    steps(
      [(next) => this.#disk.rename(PARTIAL_FILE, name, next), (next) => this.#disk.syncDir(next)],
      (outcome) => done(outcome.ok ? outcome : failed(atPlace(name, 0, outcome.error))),
    );
  }

  discardReceived(snapshot: Snapshot, done: Completion<void>): void {
    const partial = this.#partial;
    const isOther = partial !== null && !isSame(partial.layout.snapshot, snapshot);
    if (!isOther) this.#partial = null;
    // Of another one nothing was kept that could be removed.
    this.#disk.remove(isOther ? `${PARTIAL_FILE}${TEMPORARY_SUFFIX}` : PARTIAL_FILE, done);
  }

  discard(snapshot: Snapshot, done: Completion<void>): void {
    this.#disk.remove(snapshotFile(snapshot), done);
  }

  read(
    snapshot: Snapshot,
    offset: number,
    lengthBytes: number,
    done: Completion<Uint8Array>,
  ): void {
    const length = Math.min(lengthBytes, snapshot.sizeBytes - offset);
    const name = snapshot.sizeBytes === 0 ? PARTIAL_FILE : snapshotFile(snapshot);
    const { layout } = writeSnapshotHeader(this.#identity, snapshot);
    this.#disk.readAt(name, layout.dataAt + offset, Math.max(0, length), (outcome) => {
      if (!outcome.ok) return done(failed(atPlace(name, offset, outcome.error)));
      if (outcome.value.length < length) {
        return done(failed(corrupt(name, offset, 'the snapshot is cut short or gone')));
      }
      done(outcome);
    });
  }

  verify(snapshot: Snapshot, done: Completion<boolean>): void {
    const layout = this.#partial?.layout ?? null;
    const isHere = layout !== null && isSame(layout.snapshot, snapshot);
    const length = isHere ? snapshot.sizeBytes : 0;
    this.#disk.readAt(PARTIAL_FILE, layout?.dataAt ?? 0, length, (outcome) => {
      if (!outcome.ok) return done(failed(atPlace(PARTIAL_FILE, 0, outcome.error)));
      const data = outcome.value;
      done(succeeded(data.length === snapshot.sizeBytes && this.#digest(data) === snapshot.digest));
    });
  }

  /** In a file of its own, even if one was begun before: its old bytes must not be taken for new ones. */
  #begin(snapshot: Snapshot): readonly Step[] {
    const { bytes, layout } = writeSnapshotHeader(this.#identity, snapshot);
    this.#partial = { layout, writtenBytes: 0, syncedBytes: 0 };
    return [
      (next) => this.#disk.remove(PARTIAL_FILE, next),
      (next) => this.#disk.writeAt(PARTIAL_FILE, 0, bytes, next),
    ];
  }
}

function isSame(one: Snapshot, other: Snapshot): boolean {
  return one.index === other.index && one.digest === other.digest;
}
