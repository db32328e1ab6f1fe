/**
 * What fills the memory of the guests of the WAN benches: real files of this machine, as a page cache has them,
 * and values of many kinds, as a key-value server has them on its heap. All of it follows from a seed.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { assert } from '../src/util/assert.ts';

/** Programs, libraries, documents and sources: what an installed system is made of. */
const ROOTS = ['/usr/bin', '/usr/lib/x86_64-linux-gnu', '/usr/share', '/usr/include'];
const FILE_BYTES_MIN = 4096;
const FILE_BYTES_MAX = 32 * 2 ** 20;
const FILES_LISTED_MAX = 60_000;
const KIB = 1024;

/** 32 bits per call, the same for the same seed (splitmix32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

/**
 * Paths of real files, in an order that the seed decides. With `listPath` they are those of the first time that it
 * was given: whoever compares what a guest answers must not see what was installed since.
 */
export function realFiles(seed: number, listPath?: string): readonly string[] {
  const isListed = listPath !== undefined && existsSync(listPath);
  const found = isListed ? (JSON.parse(readFileSync(listPath, 'utf8')) as string[]) : listed();
  if (listPath !== undefined && !isListed) writeFileSync(listPath, JSON.stringify(found));
  const random = randomOf(seed);
  for (let last = found.length - 1; last > 0; last -= 1) {
    const other = random() % (last + 1);
    [found[last], found[other]] = [found[other] ?? '', found[last] ?? ''];
  }
  return found;
}

function listed(): string[] {
  const found: string[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (found.length >= FILES_LISTED_MAX) return;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile() && isWanted(path)) found.push(path);
    }
  };
  for (const root of ROOTS) visit(root);
  assert(found.length > 0, 'this machine has files');
  return found.sort();
}

function isWanted(path: string): boolean {
  const { size } = lstatSync(path);
  return size >= FILE_BYTES_MIN && size <= FILE_BYTES_MAX;
}

/** Values of a key-value server: records, texts, parts of programs, numbers, and what does not compress. */
export class Values {
  readonly #seed: number;
  readonly #texts: readonly string[];
  readonly #programs: readonly string[];

  constructor(seed: number, listPath?: string) {
    this.#seed = seed;
    const files = realFiles(seed, listPath);
    this.#texts = files.filter((path) =>
      /\.(?:h|txt|md|json|xml|pl|py|html|po|c|cmake|m4)$/.test(path),
    );
    this.#programs = files.filter((path) => /\/bin\/|\.so(?:\.|$)|\.a$/.test(path));
    assert(this.#texts.length > 0 && this.#programs.length > 0, 'texts and programs are installed');
  }

  of(index: number): Buffer {
    const random = randomOf(this.#seed ^ Math.imul(index + 1, 0x85ebca6b));
    const kind = random() % 100;
    if (kind < 35) return this.record(index, 0);
    if (kind < 60) return slice(this.#texts, random, KIB + (random() % (15 * KIB)));
    if (kind < 80) return slice(this.#programs, random, 2 * KIB + (random() % (14 * KIB)));
    if (kind < 90) return noise(random, KIB + (random() % (7 * KIB)));
    return numbers(random, 128 + (random() % 384));
  }

  /** As an application rewrites it: most of it stays from version to version. */
  record(index: number, version: number): Buffer {
    const random = randomOf(this.#seed ^ Math.imul(index + 1, 0xc2b2ae35));
    const body = slice(this.#texts, random, 256 + (random() % (3 * KIB))).toString('latin1');
    const changed = randomOf(index ^ Math.imul(version + 1, 0x27d4eb2f));
    const record = {
      id: index,
      version,
      updatedAt: 1_700_000_000_000 + version * 1000 + (changed() % 1000),
      balance: changed() / 100,
      session: noise(changed, 16).toString('hex'),
      owner: { name: `user-${random() % 100_000}`, region: ['eu', 'us', 'ap'][random() % 3] },
      flags: Array.from({ length: 8 }, () => random() % 2 === 0),
      body,
    };
    return Buffer.from(JSON.stringify(record), 'utf8');
  }
}

/** A part of a file, from anywhere in it. */
function slice(paths: readonly string[], random: () => number, bytes: number): Buffer {
  const fd = openSync(paths[random() % paths.length] ?? '', 'r');
  try {
    const { size } = fstatSync(fd);
    const part = Buffer.alloc(Math.min(bytes, size));
    readSync(fd, part, 0, part.length, random() % (size - part.length + 1));
    return part;
  } finally {
    closeSync(fd);
  }
}

function noise(random: () => number, bytes: number): Buffer {
  const made = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) made.writeUInt32LE(random(), at);
  return made;
}

/** Measurements: neighbours are alike. */
function numbers(random: () => number, count: number): Buffer {
  const made = Buffer.alloc(count * 8);
  let value = random() / 1000;
  for (let at = 0; at < count; at += 1) {
    value += ((random() % 2001) - 1000) / 100;
    made.writeDoubleLE(value, at * 8);
  }
  return made;
}
