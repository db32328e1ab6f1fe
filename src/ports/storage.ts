import type { Completion } from '../util/errors.ts';

/**
 * Small durable records of one host, such as "this guest is fenced for migration 7".
 * A completed `put` or `remove` survives a crash and a power loss. Keys match `[a-z0-9-]+/[A-Za-z0-9._-]+`.
 */
export interface Storage {
  put(key: string, value: Uint8Array, done: Completion<void>): void;
  remove(key: string, done: Completion<void>): void;
  /** All records whose key starts with `prefix`, in key order. */
  list(prefix: string, done: Completion<readonly StoredRecord[]>): void;
}

export interface StoredRecord {
  readonly key: string;
  readonly value: Uint8Array;
}
