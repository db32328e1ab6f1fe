/** A disk in memory whose bytes a test can damage; nothing of it is ever lost. */
import type { Disk, DiskFile } from '../../src/ports/disk.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';

export class TestDisk implements Disk {
  files: Map<string, Uint8Array> = new Map();
  /** Writes fail with it. */
  errno: string | null = null;
  readonly counts: Map<string, number> = new Map();
  readonly #asked: (() => void)[] = [];

  /** Until nothing is asked any more. */
  run(): void {
    for (let next = this.#asked.shift(); next !== undefined; next = this.#asked.shift()) next();
  }

  copy(): TestDisk {
    const copy = new TestDisk();
    copy.files = new Map([...this.files].map(([name, bytes]) => [name, bytes.slice()]));
    return copy;
  }

  readAt(name: string, offset: number, length: number, done: Completion<Uint8Array>): void {
    this.#ask('readAt', done, () =>
      succeeded((this.files.get(name) ?? new Uint8Array()).slice(offset, offset + length)),
    );
  }

  writeAt(name: string, offset: number, bytes: Uint8Array, done: Completion<void>): void {
    this.#ask('writeAt', done, () => {
      const { errno } = this;
      if (errno !== null) {
        return failed(new DwcpError('ERR_DWCP_STORAGE', `writing ${name}: ${errno}`, { errno }));
      }
      const end = offset + bytes.length;
      this.#resize(name, Math.max(end, this.files.get(name)?.length ?? 0)).set(bytes, offset);
      return succeeded(undefined);
    });
  }

  truncate(name: string, length: number, done: Completion<void>): void {
    this.#ask('truncate', done, () => {
      this.#resize(name, length);
      return succeeded(undefined);
    });
  }

  fdatasync(_name: string, done: Completion<void>): void {
    this.#ask('fdatasync', done, () => succeeded(undefined));
  }

  rename(from: string, to: string, done: Completion<void>): void {
    this.#ask('rename', done, () => {
      const bytes = this.files.get(from);
      if (bytes === undefined) {
        return failed(new DwcpError('ERR_DWCP_STORAGE', `no ${from}`, { errno: 'ENOENT' }));
      }
      this.files.delete(from);
      this.files.set(to, bytes);
      return succeeded(undefined);
    });
  }

  remove(name: string, done: Completion<void>): void {
    this.#ask('remove', done, () => {
      this.files.delete(name);
      return succeeded(undefined);
    });
  }

  syncDir(done: Completion<void>): void {
    this.#ask('syncDir', done, () => succeeded(undefined));
  }

  list(prefix: string, done: Completion<readonly DiskFile[]>): void {
    this.#ask('list', done, () =>
      succeeded(
        [...this.files]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, { length: size }]) => ({ name, size }))
          .sort((a, b) => (a.name < b.name ? -1 : 1)),
      ),
    );
  }

  #resize(name: string, length: number): Uint8Array {
    const before = this.files.get(name) ?? new Uint8Array();
    if (before.length === length) {
      this.files.set(name, before);
      return before;
    }
    const after = new Uint8Array(length);
    after.set(before.subarray(0, length));
    this.files.set(name, after);
    return after;
  }

  #ask<T>(what: string, done: Completion<T>, work: () => Outcome<T>): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
    this.#asked.push(() => done(work()));
  }
}
