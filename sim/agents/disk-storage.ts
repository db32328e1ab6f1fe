/**
 * The Storage port over a simulated disk, with the steps of `src/storage/file-storage.ts`: a record is
 * written beside its place, synced, renamed over it, and its name synced. One operation at a time.
 */
import type { Disk, DiskFile } from '../../src/ports/disk.ts';
import type { Storage, StoredRecord } from '../../src/ports/storage.ts';
import { decodeRecord, encodeRecord } from '../../src/storage/record-format.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import { inTurn } from '../../src/util/in-turn.ts';

const TEMPORARY_SUFFIX = '.tmp';

export class DiskStorage implements Storage {
  readonly #disk: Disk;
  readonly #onError: () => void;
  readonly #waiting: ((next: () => void) => void)[] = [];
  #isBusy = false;

  constructor(disk: Disk, onError: () => void = () => {}) {
    this.#disk = disk;
    this.#onError = onError;
  }

  put(key: string, value: Uint8Array, done: Completion<void>): void {
    const temporary = `${key}${TEMPORARY_SUFFIX}`;
    const bytes = encodeRecord(key, value);
    const disk = this.#disk;
    this.#enqueue(done, (finish) => {
      const steps: readonly ((next: Completion<void>) => void)[] = [
        // What a put that failed left there may be longer.
        (next) => disk.truncate(temporary, 0, next),
        (next) => disk.writeAt(temporary, 0, bytes, next),
        (next) => disk.fdatasync(temporary, next),
        (next) => disk.rename(temporary, key, next),
        (next) => disk.syncDir(next),
      ];
      inSteps(steps, finish);
    });
  }

  remove(key: string, done: Completion<void>): void {
    const disk = this.#disk;
    this.#enqueue(done, (finish) => {
      inSteps([(next) => disk.remove(key, next), (next) => disk.syncDir(next)], finish);
    });
  }

  list(prefix: string, done: Completion<readonly StoredRecord[]>): void {
    const disk = this.#disk;
    this.#enqueue<readonly StoredRecord[]>(done, (finish) => {
      disk.list(prefix, (listed) => {
        if (!listed.ok) return finish(listed);
        const files = listed.value.filter(({ name }) => !name.endsWith(TEMPORARY_SUFFIX));
        inTurn(files, (file, next: Completion<StoredRecord>) => this.#read(file, next), finish);
      });
    });
  }

  #read({ name, size }: DiskFile, done: Completion<StoredRecord>): void {
    this.#disk.readAt(name, 0, size, (bytes) => {
      if (!bytes.ok) return done(bytes);
      try {
        done(succeeded({ key: name, value: decodeRecord(name, bytes.value) }));
      } catch (error) {
        if (!(error instanceof DwcpError)) throw error;
        done(failed(error));
      }
    });
  }

  #enqueue<T>(done: Completion<T>, work: (finish: Completion<T>) => void): void {
    this.#waiting.push((next) => {
      work((outcome) => {
        if (!outcome.ok) this.#onError();
        done(outcome);
        next();
      });
    });
    if (!this.#isBusy) this.#next();
  }

  #next(): void {
    const work = this.#waiting.shift();
    this.#isBusy = work !== undefined;
    work?.(() => this.#next());
  }
}

function inSteps(
  steps: readonly ((next: Completion<void>) => void)[],
  done: Completion<void>,
): void {
  inTurn(
    steps,
    (step, next: Completion<void>) => step(next),
    (outcome) => {
      done(outcome.ok ? succeeded(undefined) : outcome);
    },
  );
}
