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
/** What a word holds beside its lowest three bits, so that `1` and `'1'` differ. */
const TAG = {
  int: 0,
  name: 1,
  shape: 2,
  list: 3,
  bytes: 4,
  text: 5,
  constant: 6,
  sorted: 7,
} as const;
const CONSTANT = { null: 0, undefined: 1, false: 2, true: 3, float: 4 } as const;
/** Integers of 29 bits are one word, others three. */
const INT_MAX = 2 ** 28;
/** Short strings recur; past so many different ones each is hashed whole. */
const NAME_LENGTH_MAX = 24;
const NAMES_MAX = 4_096;
const DEPTH_MAX = 64;

/** The keys of an object in the order they were added, as a path: its end knows them sorted. */
class Shape {
  readonly key: string;
  /** Most shapes go on in one way only. */
  first: Shape | null = null;
  readonly others = new Map<string, Shape>();
  /** Where the path may end: the name of the sorted keys, and the place of each on the path. */
  name = -1;
  order: readonly number[] = [];

  constructor(key: string) {
    this.key = key;
  }

  next(key: string): Shape {
    if (this.first === null) {
      this.first = new Shape(key);
      return this.first;
    }
    if (this.first.key === key) return this.first;
    let next = this.others.get(key);
    if (next === undefined) {
      next = new Shape(key);
      this.others.set(key, next);
    }
    return next;
  }
}

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);

export class TraceHash implements DigestSink {
  readonly #hash = createHash('sha256');
  readonly #words = new Uint32Array(WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #names = new Map<string, number>();
  readonly #shapes = new Shape('');
  /** Fields of the objects being written, each in the order of its path. */
  readonly #fields: unknown[] = [];
  #fieldsUsed = 0;
  #used = 0;
  /** A small rolling sum of the words so far, to find where two runs part. */
  #rolling = 0;

  get rolling(): number {
    return this.#rolling;
  }

  event(atUs: number, kind: string, actor: string): void {
    this.int(atUs);
    this.#word(TAG.name, this.#name(kind));
    this.#word(TAG.name, this.#name(actor));
  }

  int(value: number): void {
    if (value === (value | 0) && value < INT_MAX && value >= -INT_MAX) {
      this.#word(TAG.int, value);
      return;
    }
    float[0] = Number.isNaN(value) ? Number.NaN : value;
    this.#word(TAG.constant, CONSTANT.float);
    this.#raw(floatWords[0] as number);
    this.#raw(floatWords[1] as number);
  }

  text(value: string): void {
    this.#word(TAG.text, value.length);
    for (let at = 0; at < value.length; at += 2) {
      this.#raw(value.charCodeAt(at) | ((value.charCodeAt(at + 1) || 0) << 16));
    }
  }

  /** Any plain data: primitives, arrays, typed arrays of bytes, maps, sets and objects without cycles. */
  value(value: unknown, depth: number = 0): void {
    if (typeof value === 'number') return this.int(value);
    if (typeof value === 'string') return this.#string(value);
    if (typeof value !== 'object' || value === null) return this.#primitive(value);
    assert(depth < DEPTH_MAX, 'data of events is at most 64 levels deep and has no cycle');
    if (Array.isArray(value)) {
      this.#word(TAG.list, value.length);
      for (const item of value) this.value(item, depth + 1);
    } else if (value instanceof Uint8Array) this.#byteString(value);
    else if (value instanceof Map) {
      const entries = [...value].sort(byKey);
      this.#word(TAG.sorted, entries.length);
      for (const entry of entries) this.value(entry, depth + 1);
    } else if (value instanceof Set) {
      this.#word(TAG.sorted, value.size);
      for (const item of [...value].sort(byText)) this.value(item, depth + 1);
    } else if (value instanceof Error) this.text(`${value.name}: ${value.message}`);
    else this.#object(value as Record<string, unknown>, depth);
  }

  /** Ends the hash. */
  digest(): string {
    this.#flush();
    return this.#hash.digest('hex').slice(0, 32);
  }

  #object(record: Record<string, unknown>, depth: number): void {
    const fields = this.#fields;
    const from = this.#fieldsUsed;
    let shape = this.#shapes;
    for (const key in record) {
      shape = shape.next(key);
      fields[this.#fieldsUsed] = record[key];
      this.#fieldsUsed += 1;
    }
    if (shape.name < 0) this.#nameShape(shape, Object.keys(record));
    this.#word(TAG.shape, shape.name);
    for (const place of shape.order) this.value(fields[from + place], depth + 1);
    this.#fieldsUsed = from;
  }

  #nameShape(shape: Shape, keys: readonly string[]): void {
    const sorted = [...keys].sort();
    shape.order = sorted.map((key) => keys.indexOf(key));
    shape.name = this.#name(sorted.join('\0'));
  }

  #primitive(value: unknown): void {
    if (value === null) this.#word(TAG.constant, CONSTANT.null);
    else if (value === undefined) this.#word(TAG.constant, CONSTANT.undefined);
    else if (value === false) this.#word(TAG.constant, CONSTANT.false);
    else if (value === true) this.#word(TAG.constant, CONSTANT.true);
    else if (typeof value === 'bigint') this.text(`${value}n`);
    // Code has no canonical form; what it does shows in later events.
  }

  #string(value: string): void {
    if (value.length > NAME_LENGTH_MAX) return this.text(value);
    const known = this.#names.get(value);
    if (known === undefined && this.#names.size >= NAMES_MAX) return this.text(value);
    this.#word(TAG.name, known ?? this.#name(value));
  }

  #byteString(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#word(TAG.bytes, length);
    const whole = length & ~3;
    for (let at = 0; at < whole; at += 4) {
      const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      const high = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8);
      this.#raw(low | (high << 16));
    }
    if (whole === length) return;
    const high = (bytes[whole + 2] ?? 0) << 16;
    this.#raw((bytes[whole] ?? 0) | ((bytes[whole + 1] ?? 0) << 8) | high);
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

  #word(tag: number, value: number): void {
    this.#raw((value << 3) | tag);
  }

  #raw(word: number): void {
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
