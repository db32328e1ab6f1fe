/**
 * Durable records on a disk: `<kind>/<id>`. A record is written beside its place, synced, renamed over
 * it, and the directory synced, so that a crash leaves the old or the new, never half. Operations run
 * one after another: what was asked first is durable first.
 */
import type { Disk } from '../ports/disk.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { inTurn } from '../util/in-turn.ts';
import { decodeRecord, encodeRecord } from './record-format.ts';

const KEY = /^[a-z0-9-]+\/[A-Za-z0-9._-]+$/;
const TEMPORARY_SUFFIX = '.tmp~';

type Step = (next: Completion<void>) => void;

export class DiskStorage implements Storage {
  readonly #disk: Disk;
  readonly #queue: ((next: () => void) => void)[] = [];
  #busy = false;
  #isClosed = false;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Removes what a crash left in the middle of a `put`; nobody was told that it is durable. */
  tidy(done: Completion<void>): void {
    this.#inOrder<void>(done, (answer) => {
      this.#disk.list('', (listed) => {
        if (!listed.ok) return answer(listed);
        const names = listed.value.map(({ name }) => name).filter(isTemporaryRecord);
        this.#steps(
          names.map(
            (name): Step =>
              (next) =>
                this.#disk.remove(name, next),
          ),
          answer,
        );
      });
    });
  }

  put(key: string, value: Uint8Array, done: Completion<void>): void {
    const disk = this.#disk;
    const record = encodeRecord(checkedKey(key), value);
    const temporary = `${key}${TEMPORARY_SUFFIX}`;
    this.#inOrder<void>(done, (answer) => {
      const work: readonly Step[] = [
        (next) => disk.truncate(temporary, 0, next),
        (next) => disk.writeAt(temporary, 0, record, next),
        (next) => disk.fdatasync(temporary, next),
        (next) => disk.rename(temporary, key, next),
        (next) => disk.syncDir(next),
      ];
      this.#steps(work, answer);
    });
  }

  remove(key: string, done: Completion<void>): void {
    const disk = this.#disk;
    checkedKey(key);
    this.#inOrder<void>(done, (answer) => {
      this.#steps([(next) => disk.remove(key, next), (next) => disk.syncDir(next)], answer);
    });
  }

  list(prefix: string, done: Completion<readonly StoredRecord[]>): void {
    assert(/^[a-z0-9-]+\//.test(prefix), `a prefix starts with a kind, got "${prefix}"`);
    this.#inOrder<readonly StoredRecord[]>(done, (answer) => {
      this.#disk.list(prefix, (listed) => {
        if (!listed.ok) return answer(listed);
        const records = listed.value.filter(({ name }) => !name.endsWith(TEMPORARY_SUFFIX));
        inTurn(
          records,
          ({ name, size }, next: Completion<StoredRecord>) => this.#read(name, size, next),
          answer,
        );
      });
    });
  }

  /** After what was asked before; what is asked later is refused. */
  close(done: Completion<void>): void {
    this.#inOrder<void>(done, (answer) => this.#look(() => answer(succeeded(undefined))));
    this.#isClosed = true;
  }

  #read(key: string, size: number, done: Completion<StoredRecord>): void {
    this.#disk.readAt(key, 0, size, (outcome) => {
      if (!outcome.ok) return done(outcome);
      try {
        done(succeeded({ key, value: decodeRecord(key, outcome.value) }));
      } catch (error) {
        if (!(error instanceof DwcpError)) throw error;
        done(failed(error));
      }
    });
  }

  #steps(work: readonly Step[], done: Completion<void>): void {
    inTurn(
      work,
      (step: Step, next: Completion<void>) => step(next),
      (outcome) => done(outcome.ok ? succeeded(undefined) : outcome),
    );
  }

  #inOrder<T>(done: Completion<T>, work: (answer: Completion<T>) => void): void {
    const isClosed = this.#isClosed;
    this.#queue.push((next) => {
      const answer: Completion<T> = (outcome) => {
        done(outcome);
        next();
      };
      if (!isClosed) return work(answer);
      this.#look(() => answer(failed(new DwcpError('ERR_DWCP_CLOSED', 'the storage is closed'))));
    });
    if (this.#busy) return;
    this.#busy = true;
    this.#next();
  }

  /** Asks the disk for nothing: an answer never comes inside the call that asked. */
  #look(then: () => void): void {
    this.#disk.readAt('nothing', 0, 0, then);
  }

  #next(): void {
    const work = this.#queue.shift();
    if (work === undefined) this.#busy = false;
    else work(() => this.#next());
  }
}

function isTemporaryRecord(name: string): boolean {
  return name.endsWith(TEMPORARY_SUFFIX) && name.includes('/');
}

function checkedKey(key: string): string {
  assert(KEY.test(key) && !key.endsWith(TEMPORARY_SUFFIX), `not a record key: "${key}"`);
  return key;
}
