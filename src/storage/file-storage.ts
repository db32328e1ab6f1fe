/** A host's durable records on its file system: `<dataDir>/<kind>/<id>`, in a directory that is locked. */
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type { Completion } from '../util/errors.ts';
import { promised } from '../util/promised.ts';
import { type DataDirectoryLock, lockDataDirectory } from './data-directory-lock.ts';
import { NodeDisk } from './node-disk.ts';
import { DiskStorage } from './records.ts';

export class FileStorage implements Storage {
  readonly #records: DiskStorage;
  readonly #disk: NodeDisk;
  readonly #lock: DataDirectoryLock;

  private constructor(records: DiskStorage, disk: NodeDisk, lock: DataDirectoryLock) {
    this.#records = records;
    this.#disk = disk;
    this.#lock = lock;
  }

  /** Makes the directory when it is missing and locks it; one directory belongs to one process. */
  static async open(dataDir: string): Promise<FileStorage> {
    const lock = await lockDataDirectory(dataDir);
    // Records are written seldom: no descriptor is kept for them.
    const disk = new NodeDisk(dataDir, { openFilesMax: 0 });
    const records = new DiskStorage(disk);
    try {
      await promised<void>((done) => records.tidy(done));
    } catch (error) {
      await lock.release();
      throw error;
    }
    return new FileStorage(records, disk, lock);
  }

  put(key: string, value: Uint8Array, done: Completion<void>): void {
    this.#records.put(key, value, done);
  }

  remove(key: string, done: Completion<void>): void {
    this.#records.remove(key, done);
  }

  list(prefix: string, done: Completion<readonly StoredRecord[]>): void {
    this.#records.list(prefix, done);
  }

  /** Waits for what was asked and gives the directory back. Idempotent. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#records.close(() => resolve()));
    await new Promise<void>((resolve) => this.#disk.close(() => resolve()));
    await this.#lock.release();
  }
}
