/**
 * A Raft log without a format: records in a {@link RaftStore}, made durable when `sync` says so. For
 * whoever tests what stands on a log, and not the log.
 */
import type { RaftLog, RaftWrite, SnapshotDigest } from '../../src/ports/raft-log.ts';
import type { Snapshot } from '../../src/protocols/raft/types.ts';
import { assert } from '../../src/util/assert.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';
import type { RaftStore } from './store.ts';

export class MemoryRaftLog implements RaftLog {
  readonly #store: RaftStore;
  readonly #digest: SnapshotDigest;
  /** Completes later, and in the order in which it was called. */
  readonly #sync: (done: Completion<void>) => void;
  #waiting: Completion<void>[] = [];
  #syncing = false;
  #broken: DwcpError | null = null;
  #closed = false;

  constructor(store: RaftStore, digest: SnapshotDigest, sync: (done: Completion<void>) => void) {
    this.#store = store;
    this.#digest = digest;
    this.#sync = sync;
  }

  write(write: RaftWrite, done: Completion<void>): void {
    assert(!this.#closed, 'nothing is written to a closed log');
    this.#store.write(write);
    this.#waiting.push(done);
    this.#drain();
  }

  /** One sync at a time takes all that was asked for when it began. */
  #drain(): void {
    if (this.#syncing || this.#waiting.length === 0) return;
    this.#syncing = true;
    const count = this.#waiting.length;
    this.#sync((outcome) => {
      this.#syncing = false;
      if (!outcome.ok) this.#broken ??= outcome.error;
      const result: Outcome<void> = this.#broken === null ? outcome : failed(this.#broken);
      if (result.ok) this.#store.sync(count);
      for (const done of this.#waiting.splice(0, count)) done(result);
      this.#drain();
    });
  }

  saveSnapshot(snapshot: Snapshot, data: Uint8Array, done: Completion<void>): void {
    this.#sync((outcome) => {
      if (outcome.ok) this.#store.keep(snapshot, data);
      done(outcome);
    });
  }

  readSnapshot(
    snapshot: Snapshot,
    offset: number,
    lengthBytes: number,
    done: Completion<Uint8Array>,
  ): void {
    this.#sync(() => {
      const data = this.#store.read(snapshot);
      if (data !== null) return done(succeeded(data.slice(offset, offset + lengthBytes)));
      const message = `snapshot ${snapshot.index} is not here`;
      done(failed(new DwcpError('ERR_DWCP_STORAGE', message)));
    });
  }

  verifySnapshot(snapshot: Snapshot, done: Completion<boolean>): void {
    this.#sync(() => {
      const data = this.#store.received(snapshot);
      done(succeeded(data !== null && this.#digest(data) === snapshot.digest));
    });
  }

  close(done: Completion<void>): void {
    this.#closed = true;
    this.#sync(() => done(succeeded(undefined)));
  }
}
