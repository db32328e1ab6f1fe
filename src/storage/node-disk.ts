/**
 * The real twin of the Disk port: a directory, driven by fs callbacks on descriptors that stay open.
 * One operation runs at a time, so they complete in the order in which they were asked for.
 *
 * A write with its sync right behind it is one call on a descriptor of its own (`O_DSYNC`): two would
 * be two trips through the thread pool, and the second is the half of a small commit. That one syncs
 * only what it writes, so it is for files of which all else was synced by us.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { Disk, DiskFile } from '../ports/disk.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { codeOf, storageError } from './storage-error.ts';

const NAME = /^(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+(?:\/(?!\.{1,2}$)[A-Za-z0-9._~-]+)?$/;
const OPEN_FILES_MAX = 64;
/** A longer read looks at the size first: nobody allocates what is not there. */
const READ_BLINDLY_BYTES = 64 * 1024;

type Answer<T> = (error: Error | null, value: T) => void;

/** A write that waits, for an `fdatasync` of the same file that may come right behind it. */
interface WaitingWrite {
  readonly name: string;
  sync: Completion<void> | null;
}

export interface NodeDiskOptions {
  /** Descriptors kept between operations; the one that was not used for longest is closed first. */
  readonly openFilesMax?: number;
}

export class NodeDisk implements Disk {
  readonly #root: string;
  readonly #openFilesMax: number;
  /** Oldest use first. */
  readonly #files = new Map<string, number>();
  /** The same files, opened so that a write returns when it is durable. */
  readonly #durable = new Map<string, number>();
  /** Everything in them was synced since it was written, and by us. */
  readonly #synced = new Set<string>();
  /** Directories whose names changed since they were last synced. */
  readonly #changed = new Set<string>();
  readonly #queue: ((next: () => void) => void)[] = [];
  /** The last in the queue, if it is a write. */
  #lastWrite: WaitingWrite | null = null;
  #busy = false;
  #isClosed = false;

  /** `root` and its parents are made when something is first written. */
  constructor(root: string, { openFilesMax = OPEN_FILES_MAX }: NodeDiskOptions = {}) {
    this.#root = root;
    this.#openFilesMax = openFilesMax;
  }

  readAt(name: string, offset: number, length: number, done: Completion<Uint8Array>): void {
    this.#ask<Uint8Array>(name, done, (answer) => {
      this.#withFile(name, fs.constants.O_RDWR, (error, fd) => {
        if (error !== null && codeOf(error) === 'ENOENT') return answer(null, new Uint8Array());
        if (error !== null) return answer(error, new Uint8Array());
        if (length <= READ_BLINDLY_BYTES) return readFully(fd, offset, length, answer);
        fs.fstat(fd, (failure, stats) => {
          if (failure) return answer(failure, new Uint8Array());
          readFully(fd, offset, Math.max(0, Math.min(length, stats.size - offset)), answer);
        });
      });
    });
  }

  writeAt(name: string, offset: number, bytes: Uint8Array, done: Completion<void>): void {
    const waiting: WaitingWrite = { name, sync: null };
    const finish: Completion<void> = (outcome) => {
      done(outcome);
      waiting.sync?.(outcome);
    };
    this.#ask<void>(name, finish, (answer) => {
      if (this.#lastWrite === waiting) this.#lastWrite = null;
      if (waiting.sync === null) return this.#write(name, offset, bytes, answer);
      if (this.#synced.has(name)) return this.#writeDurably(name, offset, bytes, answer);
      this.#write(name, offset, bytes, (error) => {
        if (error !== null) return answer(error);
        this.#sync(name, answer);
      });
    });
    this.#lastWrite = waiting;
  }

  truncate(name: string, length: number, done: Completion<void>): void {
    this.#ask<void>(name, done, (answer) => {
      this.#toWrite(name, (error, fd) => {
        if (error !== null) return answer(error);
        this.#synced.delete(name);
        fs.ftruncate(fd, length, answer);
      });
    });
  }

  fdatasync(name: string, done: Completion<void>): void {
    const write = this.#lastWrite;
    if (write?.name === name) {
      write.sync = done;
      this.#lastWrite = null;
    } else this.#ask<void>(name, done, (answer) => this.#sync(name, answer));
  }

  rename(from: string, to: string, done: Completion<void>): void {
    assertName(from);
    this.#ask<void>(to, done, (answer) => {
      this.#makeFolder(to, (error) => {
        if (error !== null) return answer(error);
        fs.rename(this.#path(from), this.#path(to), (failure) => {
          if (failure) return answer(failure);
          this.#changed.add(dirname(from)).add(dirname(to));
          const fd = this.#files.get(from);
          this.#files.delete(from);
          this.#forget(from, () => {
            this.#forget(to, () => {
              if (fd !== undefined) this.#files.set(to, fd);
              answer(null);
            });
          });
        });
      });
    });
  }

  remove(name: string, done: Completion<void>): void {
    this.#ask<void>(name, done, (answer) => {
      this.#forget(name, () => {
        fs.unlink(this.#path(name), (error) => {
          if (error !== null && codeOf(error) !== 'ENOENT') return answer(error);
          if (error === null) this.#changed.add(dirname(name));
          answer(null);
        });
      });
    });
  }

  syncDir(done: Completion<void>): void {
    this.#ask<void>(null, done, (answer) => {
      const folders = [...this.#changed];
      const next = (): void => {
        const folder = folders.pop();
        if (folder === undefined) return answer(null);
        syncDirectory(join(this.#root, folder), (error) => {
          if (error !== null) return answer(error);
          this.#changed.delete(folder);
          next();
        });
      };
      next();
    });
  }

  list(prefix: string, done: Completion<readonly DiskFile[]>): void {
    const folder = prefix.includes('/') ? prefix.slice(0, prefix.indexOf('/')) : null;
    this.#ask<readonly DiskFile[]>(null, done, (answer) => {
      const found: DiskFile[] = [];
      const folders = folder === null ? ['.'] : [folder];
      const next = (): void => {
        const at = folders.shift();
        if (at === undefined) return answer(null, found.sort(byName));
        listFolder(this.#root, at, (error, files, below) => {
          if (error !== null) return answer(error, []);
          for (const file of files) if (file.name.startsWith(prefix)) found.push(file);
          if (at === '.') folders.push(...below);
          next();
        });
      };
      next();
    });
  }

  /** After what was asked before; closes every descriptor. What is asked later is refused. */
  close(done: Completion<void>): void {
    this.#ask<void>(null, done, (answer) => {
      this.#isClosed = true;
      const next = (): void => {
        const [name] = this.#files.size > 0 ? this.#files.keys() : this.#durable.keys();
        if (name === undefined) return answer(null);
        this.#forget(name, next);
      };
      next();
    });
  }

  // -------------------------------------------------------------------------------------------------

  #path(name: string): string {
    return join(this.#root, name);
  }

  #write(
    name: string,
    offset: number,
    bytes: Uint8Array,
    answer: (error: Error | null) => void,
  ): void {
    this.#toWrite(name, (error, fd) => {
      if (error !== null) return answer(error);
      this.#synced.delete(name);
      writeFully(fd, offset, bytes, 0, answer);
    });
  }

  #sync(name: string, answer: (error: Error | null) => void): void {
    this.#withFile(name, fs.constants.O_RDWR, (error, fd) => {
      if (error !== null) return answer(codeOf(error) === 'ENOENT' ? null : error);
      this.#synced.delete(name);
      fs.fdatasync(fd, (failure) => {
        if (failure === null) this.#synced.add(name);
        answer(failure);
      });
    });
  }

  #writeDurably(
    name: string,
    offset: number,
    bytes: Uint8Array,
    answer: (error: Error | null) => void,
  ): void {
    const finish = (error: Error | null): void => {
      if (error !== null) this.#synced.delete(name);
      answer(error);
    };
    const known = this.#durable.get(name);
    if (known !== undefined) return writeFully(known, offset, bytes, 0, finish);
    fs.open(this.#path(name), fs.constants.O_RDWR | fs.constants.O_DSYNC, (error, fd) => {
      if (error) return finish(error);
      this.#durable.set(name, fd);
      writeFully(fd, offset, bytes, 0, finish);
    });
  }

  #toWrite(name: string, answer: Answer<number>): void {
    this.#withFile(name, fs.constants.O_RDWR, (missing, found) => {
      if (missing === null || codeOf(missing) !== 'ENOENT') return answer(missing, found);
      this.#makeFolder(name, (error) => {
        if (error !== null) return answer(error, -1);
        this.#changed.add(dirname(name));
        this.#withFile(name, fs.constants.O_RDWR | fs.constants.O_CREAT, answer);
      });
    });
  }

  #used(name: string): number | null {
    const fd = this.#files.get(name);
    if (fd === undefined) return null;
    this.#files.delete(name);
    this.#files.set(name, fd);
    return fd;
  }

  #withFile(name: string, flags: number, answer: Answer<number>): void {
    const known = this.#used(name);
    if (known !== null) return answer(null, known);
    fs.open(this.#path(name), flags, 0o600, (error, fd) => {
      if (error) return answer(error, -1);
      this.#files.set(name, fd);
      answer(null, fd);
    });
  }

  #trim(then: () => void): void {
    const isFull = this.#files.size + this.#durable.size > this.#openFilesMax;
    const [oldest] = this.#files.size > 0 ? this.#files.keys() : this.#durable.keys();
    if (oldest === undefined || !isFull) return then();
    this.#forget(oldest, () => this.#trim(then));
  }

  #forget(name: string, then: () => void): void {
    this.#synced.delete(name);
    const kept = this.#files.has(name) ? this.#files : this.#durable;
    const fd = kept.get(name);
    if (fd === undefined) return then();
    kept.delete(name);
    // Whatever close says, the descriptor is gone; what had to last was synced.
    fs.close(fd, () => this.#forget(name, then));
  }

  #makeFolder(name: string, answer: (error: Error | null) => void): void {
    const folder = dirname(name);
    fs.mkdir(join(this.#root, folder), { recursive: true, mode: 0o700 }, (error, made) => {
      if (error) return answer(error);
      if (made !== undefined && folder !== '.') this.#changed.add('.');
      answer(null);
    });
  }

  #ask<T>(
    name: string | null,
    done: Completion<T>,
    work: (answer: (error: Error | null, ...value: T extends void ? [] : [T]) => void) => void,
  ): void {
    if (name !== null) assertName(name);
    this.#lastWrite = null;
    this.#queue.push((next) => {
      if (this.#isClosed) {
        done(failed(new DwcpError('ERR_DWCP_CLOSED', 'the disk is closed')));
        return next();
      }
      work((error, ...value) => {
        done(error === null ? succeeded(value[0] as T) : failed(storageError(this.#root, error)));
        this.#trim(next);
      });
    });
    if (this.#busy) return;
    this.#busy = true;
    process.nextTick(this.#run);
  }

  readonly #run = (): void => {
    const work = this.#queue.shift();
    if (work === undefined) this.#busy = false;
    else work(this.#run);
  };
}

function assertName(name: string): void {
  assert(NAME.test(name), `"${name}" is not the name of a file of a disk`);
}

function byName(a: DiskFile, b: DiskFile): number {
  return a.name < b.name ? -1 : 1;
}

function readFully(fd: number, offset: number, length: number, answer: Answer<Uint8Array>): void {
  const bytes = new Uint8Array(length);
  const next = (at: number): void => {
    if (at === length) return answer(null, bytes);
    fs.read(fd, bytes, at, length - at, offset + at, (error, count) => {
      if (error) return answer(error, bytes);
      if (count === 0) return answer(null, bytes.slice(0, at));
      next(at + count);
    });
  };
  if (length > 0) next(0);
  else process.nextTick(answer, null, bytes);
}

function writeFully(
  fd: number,
  offset: number,
  bytes: Uint8Array,
  from: number,
  answer: (error: Error | null) => void,
): void {
  fs.write(fd, bytes, from, bytes.length - from, offset + from, (error, count) => {
    if (error || from + count >= bytes.length) return answer(error);
    writeFully(fd, offset, bytes, from + count, answer);
  });
}

function syncDirectory(path: string, answer: (error: Error | null) => void): void {
  fs.open(path, fs.constants.O_RDONLY, (error, fd) => {
    if (error) return answer(error);
    fs.fsync(fd, (failure) => fs.close(fd, () => answer(failure)));
  });
}

function listFolder(
  root: string,
  folder: string,
  answer: (error: Error | null, files: readonly DiskFile[], folders: readonly string[]) => void,
): void {
  fs.readdir(join(root, folder), { withFileTypes: true }, (error, entries) => {
    if (error) return answer(codeOf(error) === 'ENOENT' ? null : error, [], []);
    const files: DiskFile[] = [];
    const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    const next = (): void => {
      const name = names.pop();
      if (name === undefined) {
        const below = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
        return answer(null, files, below);
      }
      fs.stat(join(root, folder, name), (failure, stats) => {
        if (failure && codeOf(failure) !== 'ENOENT') return answer(failure, [], []);
        const full = folder === '.' ? name : `${folder}/${name}`;
        if (!failure) files.push({ name: full, size: stats.size });
        next();
      });
    };
    next();
  });
}
