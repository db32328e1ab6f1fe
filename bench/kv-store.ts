/** What the members of a bench replicate: keys and values, as etcd does, and a count of what was applied. */
import type { Application } from '../src/protocols/raft/sessions/machine.ts';
import { assert } from '../src/util/assert.ts';
import { operationOf } from './kv-load.ts';
import { decodePut, encodePut } from './kv-wire.ts';

export interface AppliedCount {
  /** Puts, as etcd counts revisions. */
  readonly revision: number;
  readonly valueBytes: number;
  /** Of the numbers of the operations: one that came twice or never shows here. */
  readonly operationSum: number;
}

const COUNTERS = 3;
const NUMBER_BYTES = 8;
const LENGTH_BYTES = 4;

export class KvStore implements Application {
  readonly #values = new Map<string, Uint8Array>();
  #revision = 0;
  #valueBytes = 0;
  #operationSum = 0;

  get count(): AppliedCount {
    const [revision, valueBytes, operationSum] = this.#counters();
    return {
      revision: revision ?? 0,
      valueBytes: valueBytes ?? 0,
      operationSum: operationSum ?? 0,
    };
  }

  get(key: Uint8Array): Uint8Array | null {
    return this.#values.get(Buffer.from(key).toString()) ?? null;
  }

  execute(command: Uint8Array): Uint8Array {
    const { key, value } = decodePut(command);
    const operation = operationOf(value, value.length);
    assert(operation !== null, 'a value arrives as it was put');
    this.#keep(Buffer.from(key).toString(), value);
    this.#revision += 1;
    this.#valueBytes += value.length;
    this.#operationSum += operation;
    return numbers([this.#revision]);
  }

  /** A copy: the command's buffer belongs to the log. Over the one before, if that fits. */
  #keep(key: string, value: Uint8Array): void {
    const known = this.#values.get(key);
    if (known?.length === value.length) known.set(value);
    else this.#values.set(key, new Uint8Array(value));
  }

  encode(): Uint8Array {
    const pairs = [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
    const parts: Uint8Array[] = [numbers(this.#counters())];
    for (const [key, value] of pairs) {
      const pair = encodePut({ key: Buffer.from(key), value });
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt32BE(pair.length);
      parts.push(length, pair);
    }
    return Buffer.concat(parts);
  }

  restore(bytes: Uint8Array): void {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const counter = (index: number): number => buffer.readDoubleBE(index * NUMBER_BYTES);
    [this.#revision, this.#valueBytes, this.#operationSum] = [counter(0), counter(1), counter(2)];
    this.#values.clear();
    let at = COUNTERS * NUMBER_BYTES;
    while (at < buffer.length) {
      const end = at + LENGTH_BYTES + buffer.readUInt32BE(at);
      const { key, value } = decodePut(buffer.subarray(at + LENGTH_BYTES, end));
      this.#values.set(Buffer.from(key).toString(), Uint8Array.from(value));
      at = end;
    }
  }

  #counters(): readonly number[] {
    return [this.#revision, this.#valueBytes, this.#operationSum];
  }
}

function numbers(values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * NUMBER_BYTES);
  for (const [index, value] of values.entries()) bytes.writeDoubleBE(value, index * NUMBER_BYTES);
  return bytes;
}
