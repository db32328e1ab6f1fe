import type { Completion } from '../util/errors.ts';

/**
 * The files of one data directory, as storage formats see them. What completed `fdatasync` survives a
 * power loss, and so does a name once `syncDir` completed after it changed; anything else may or may
 * not. Names are `file` or `folder/file`, of `[A-Za-z0-9._~-]`. Operations complete in the order in
 * which they were asked for, never inside the call. An error is `ERR_DWCP_STORAGE` with its errno.
 */
export interface Disk {
  /** Fewer bytes than asked for at the end of the file; none of a file that is not there. */
  readAt(name: string, offset: number, length: number, done: Completion<Uint8Array>): void;
  /** Creates the file, and zeros between its end and `offset`. `bytes` is not touched until it completed. */
  writeAt(name: string, offset: number, bytes: Uint8Array, done: Completion<void>): void;
  truncate(name: string, length: number, done: Completion<void>): void;
  /** After it failed once, what the file holds is unknown (the kernel forgets that pages were dirty). */
  fdatasync(name: string, done: Completion<void>): void;
  /** Replaces `to`, atomically. */
  rename(from: string, to: string, done: Completion<void>): void;
  /** Removing what is not there succeeds. */
  remove(name: string, done: Completion<void>): void;
  /** Makes every change of names before it durable. */
  syncDir(done: Completion<void>): void;
  /** Sorted by name. */
  list(prefix: string, done: Completion<readonly DiskFile[]>): void;
}

export interface DiskFile {
  readonly name: string;
  readonly size: number;
}
