/**
 * One hash over all that happened: two runs are the same when it is. Values are written in one canonical
 * form (keys sorted, maps and sets in key order, no stacks, no object identities).
 */
import { createHash } from 'node:crypto';
import { assert } from '../../src/util/assert.ts';

/** Where values are written as words; a message type may write itself, faster than by its keys. */
export interface DigestSink {
  int(value: number): void;
  text(value: string): void;
}

const WORDS = 16 * 1024;
/** Kinds of value, so that `1` and `'1'` differ. */
const TAG = {
  int: 1,
  float: 2,
  text: 3,
  bytes: 4,
  list: 5,
  object: 6,
  map: 7,
  set: 8,
  name: 9,
} as const;
/** Short strings recur; past so many different ones each is hashed whole. */
const NAME_LENGTH_MAX = 24;
const NAMES_MAX = 4_096;

/** The keys of an object in the order they were added, as a path: its end knows them sorted. */
interface Shape {
  readonly next: Map<string, Shape>;
  sorted: readonly string[] | null;
}
const CONSTANT: ReadonlyMap<unknown, number> = new Map<unknown, number>([
  [null, 16],
  [undefined, 17],
  [false, 18],
  [true, 19],
]);

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);

export class TraceHash implements DigestSink {
  readonly #hash = createHash('sha256');
  readonly #words = new Uint32Array(WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #names = new Map<string, number>();
  readonly #shapes: Shape = { next: new Map(), sorted: null };
  #used = 0;
  /** A small rolling sum of the words so far, to find where two runs part. */
  #rolling = 0;

  get rolling(): number {
    return this.#rolling;
  }

  event(atUs: number, kind: string, actor: string): void {
    this.int(atUs);
    this.#word(this.#name(kind));
    this.#word(this.#name(actor));
  }

  int(value: number): void {
    if (value === (value | 0)) {
      this.#word(TAG.int);
      this.#word(value);
      return;
    }
    float[0] = Number.isNaN(value) ? Number.NaN : value;
    this.#word(TAG.float);
    this.#word(floatWords[0] as number);
    this.#word(floatWords[1] as number);
  }

  text(value: string): void {
    this.#word(TAG.text);
    this.#word(value.length);
    for (let at = 0; at < value.length; at += 2) {
      this.#word(value.charCodeAt(at) | ((value.charCodeAt(at + 1) || 0) << 16));
    }
  }

  /** Any plain data: primitives, arrays, typed arrays of bytes, maps, sets and objects without cycles. */
  value(value: unknown, depth: number = 0): void {
    assert(depth < 64, 'data of events is at most 64 levels deep and has no cycle');
    if (typeof value === 'number') return this.int(value);
    if (typeof value === 'string') return this.#string(value);
    if (typeof value !== 'object' || value === null) return this.#primitive(value);
    if (Array.isArray(value)) {
      this.#word(TAG.list);
      this.#word(value.length);
      for (const item of value) this.value(item, depth + 1);
      return;
    }
    if (value instanceof Uint8Array) return this.#byteString(value);
    if (value instanceof Map) {
      this.#word(TAG.map);
      this.#word(value.size);
      for (const [key, item] of [...value].sort(byKey)) {
        this.value(key, depth + 1);
        this.value(item, depth + 1);
      }
      return;
    }
    if (value instanceof Set) {
      this.#word(TAG.set);
      this.#word(value.size);
      for (const item of [...value].sort(byText)) this.value(item, depth + 1);
      return;
    }
    if (value instanceof Error) return this.text(`${value.name}: ${value.message}`);
    const record = value as Record<string, unknown>;
    const keys = this.#sortedKeys(record);
    this.#word(TAG.object);
    this.#word(keys.length);
    for (const key of keys) {
      this.#word(this.#name(key));
      this.value(record[key], depth + 1);
    }
  }

  /** Ends the hash. */
  digest(): string {
    this.#flush();
    return this.#hash.digest('hex').slice(0, 32);
  }

  #primitive(value: unknown): void {
    const constant = CONSTANT.get(value);
    if (constant !== undefined) this.#word(constant);
    else if (typeof value === 'bigint') this.text(`${value}n`);
    // Code has no canonical form; what it does shows in later events.
  }

  #string(value: string): void {
    if (value.length > NAME_LENGTH_MAX) return this.text(value);
    const known = this.#names.get(value);
    if (known === undefined && this.#names.size >= NAMES_MAX) return this.text(value);
    this.#word(TAG.name);
    this.#word(known ?? this.#name(value));
  }

  #sortedKeys(record: Record<string, unknown>): readonly string[] {
    let shape = this.#shapes;
    for (const key in record) {
      let next = shape.next.get(key);
      if (next === undefined) {
        next = { next: new Map(), sorted: null };
        shape.next.set(key, next);
      }
      shape = next;
    }
    shape.sorted ??= Object.keys(record).sort();
    return shape.sorted;
  }

  #byteString(bytes: Uint8Array): void {
    this.#word(TAG.bytes);
    this.#word(bytes.length);
    for (let at = 0; at < bytes.length; at += 4) {
      const high = ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
      this.#word((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | high);
    }
  }

  /** Names recur in every event, so a name is hashed whole once and is a number from then on. */
  #name(name: string): number {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const id = this.#names.size;
    this.#names.set(name, id);
    this.text(name);
    return id;
  }

  #word(word: number): void {
    if (this.#used === WORDS) this.#flush();
    this.#words[this.#used] = word;
    this.#used += 1;
    this.#rolling = (Math.imul(this.#rolling, 0x01000193) ^ word) | 0;
  }

  #flush(): void {
    this.#hash.update(this.#bytes.subarray(0, this.#used * 4));
    this.#used = 0;
  }
}

function byKey([a]: [unknown, unknown], [b]: [unknown, unknown]): number {
  return byText(a, b);
}

function byText(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  const left = typeof a === 'object' ? JSON.stringify(a) : String(a);
  const right = typeof b === 'object' ? JSON.stringify(b) : String(b);
  return left < right ? -1 : left > right ? 1 : 0;
}
