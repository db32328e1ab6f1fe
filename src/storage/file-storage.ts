/**
 * Durable records as files: `<dataDir>/<kind>/<id>`. A record is written beside its place, synced,
 * renamed over it, and the directory synced, so that a crash leaves the old or the new, never half.
 * Operations run one after another: what was asked first is durable first.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { type DataDirectoryLock, lockDataDirectory } from './data-directory-lock.ts';
import { decodeRecord, encodeRecord } from './record-format.ts';
import { codeOf, storageError } from './storage-error.ts';

const KEY = /^[a-z0-9-]+\/[A-Za-z0-9._-]+$/;
const TEMPORARY_SUFFIX = '.tmp~';

export class FileStorage implements Storage {
  readonly #root: string;
  readonly #lock: DataDirectoryLock;
  #tail: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(root: string, lock: DataDirectoryLock) {
    this.#root = root;
    this.#lock = lock;
  }

  /** Makes the directory when it is missing and locks it; one directory belongs to one process. */
  static async open(dataDir: string): Promise<FileStorage> {
    try {
      await mkdir(dataDir, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw storageError(dataDir, error);
    }
    const lock = await lockDataDirectory(dataDir);
    try {
      await removeTemporaries(dataDir);
    } catch (error) {
      await lock.release();
      throw storageError(dataDir, error);
    }
    return new FileStorage(dataDir, lock);
  }

  put(key: string, value: Uint8Array, done: Completion<void>): void {
    this.#enqueue(key, done, async (path) => {
      await this.#makeKind(dirname(path));
      const temporary = `${path}${TEMPORARY_SUFFIX}`;
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;
      const file = await open(temporary, flags, 0o600);
      try {
        await file.writeFile(encodeRecord(key, value));
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      await syncDirectory(dirname(path));
    });
  }

  remove(key: string, done: Completion<void>): void {
    this.#enqueue(key, done, async (path) => {
      try {
        await rm(path);
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return;
        throw error;
      }
      await syncDirectory(dirname(path));
    });
  }

  list(prefix: string, done: Completion<readonly StoredRecord[]>): void {
    const kind = prefix.split('/')[0] ?? '';
    assert(/^[a-z0-9-]+$/.test(kind), `a prefix starts with a kind, got "${prefix}"`);
    this.#run(async () => {
      const directory = join(this.#root, kind);
      const records: StoredRecord[] = [];
      for (const name of await namesIn(directory)) {
        const key = `${kind}/${name}`;
        if (!key.startsWith(prefix) || name.endsWith(TEMPORARY_SUFFIX)) continue;
        records.push({ key, value: decodeRecord(key, await readFile(join(directory, name))) });
      }
      return records;
    }, done);
  }

  /** Waits for what was asked and gives the directory back. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#tail;
    await this.#lock.release();
  }

  async #makeKind(directory: string): Promise<void> {
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    if (made !== undefined) await syncDirectory(this.#root);
  }

  #enqueue(key: string, done: Completion<void>, work: (path: string) => Promise<void>): void {
    assert(KEY.test(key) && !key.endsWith(TEMPORARY_SUFFIX), `not a record key: "${key}"`);
    this.#run(() => work(join(this.#root, key)), done);
  }

  #run<T>(work: () => Promise<T>, done: Completion<T>): void {
    const isClosed = this.#isClosed;
    this.#tail = this.#tail.then(async () => {
      if (isClosed) return done(failed(new DwcpError('ERR_DWCP_CLOSED', 'the storage is closed')));
      let outcome: Parameters<Completion<T>>[0];
      try {
        outcome = succeeded(await work());
      } catch (error) {
        outcome = failed(storageError(this.#root, error));
      }
      done(outcome);
    });
  }
}

/** What a crash left in the middle of a `put`; nobody was told that it is durable. */
async function removeTemporaries(root: string): Promise<void> {
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const directory = join(root, entry.name);
    for (const name of await namesIn(directory)) {
      if (name.endsWith(TEMPORARY_SUFFIX)) await rm(join(directory, name), { force: true });
    }
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory: FileHandle = await open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
