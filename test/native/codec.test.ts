import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CodecChooser, encodeSample, pageDeltas } from '../../src/native.ts';

const MIB = 2 ** 20;
const PAGE_BYTES = 4096;

/** What this data on this machine gives: page bytes per second of one worker, and the ratio. */
const FIGURES = [
  ['none', 0, 3000e6, 1],
  ['lz4', 1, 500e6, 2],
  ['zstd', 1, 300e6, 2.8],
  ['zstd', 3, 180e6, 3],
  ['zstd', 6, 70e6, 3.3],
  ['zstd', 9, 40e6, 3.4],
  ['zstd', 12, 15e6, 3.45],
] as const;

function chooserAt(wireBytesPerSec: number, workers: number): CodecChooser {
  const chooser = new CodecChooser(workers);
  chooser.setPolicy('adaptive', 'none', 0);
  chooser.acknowledged(wireBytesPerSec, 1e6, false);
  for (const [codec, level, rate, ratio] of FIGURES) {
    chooser.encoded(codec, level, MIB, MIB / ratio, (MIB / rate) * 1e6);
  }
  return chooser;
}

test('contents that compress ill drive nobody down the ladder: every codec would meet them', () => {
  const chooser = chooserAt(12.5e6, 2);
  for (let i = 0; i < 60; i += 1) {
    const { codec, level } = chooser.best();
    assert.ok(codec === 'zstd' && level >= 3, `${codec} ${level} after ${i}`);
    chooser.encoded(codec, level, MIB, MIB / 1.3, 16_000);
  }
});

test('the slower the wire, the harder the codec; a fast wire gets none', () => {
  const chosen = [5e9, 300e6, 150e6, 60e6, 25e6, 1e6].map((rate) => {
    const { codec, level } = chooserAt(rate, 2).best();
    return `${codec}:${level}`;
  });
  assert.deepEqual(chosen, ['none:0', 'lz4:1', 'zstd:1', 'zstd:3', 'zstd:6', 'zstd:12']);
});

test('the choice leaves neither wire nor workers idle for another that would carry more', () => {
  for (const wire of [2e6, 12.5e6, 25e6, 125e6, 400e6, 1e9, 4e9]) {
    for (const workers of [1, 2, 4]) {
      const { codec, level } = chooserAt(wire, workers).best();
      const through = FIGURES.map(([, , rate, ratio]) =>
        Math.min(workers * rate * 0.85, wire * ratio),
      );
      const mine = FIGURES.findIndex(([name, at]) => name === codec && at === level);
      assert.ok((through[mine] as number) > Math.max(...through) * 0.97, `${wire} ${workers}`);
    }
  }
});

test('data that does not compress goes uncompressed, whatever the wire', () => {
  const chooser = new CodecChooser(2);
  chooser.setPolicy('adaptive', 'none', 0);
  chooser.acknowledged(12.5e6, 1e6, false);
  for (let i = 0; i < 40; i += 1) {
    const { codec, level } = chooser.next();
    chooser.encoded(codec, level, MIB, MIB, 4000);
  }
  assert.equal(chooser.best().codec, 'none');
});

test('a starved wire is asked for more, step by step, and a busy one is believed', () => {
  const chooser = chooserAt(12.5e6, 2);
  assert.equal(chooser.best().level, 9);
  for (let i = 0; i < 300; i += 1) chooser.acknowledged(12.5e6, 1e6, true);
  assert.equal(chooser.best().codec, 'none');
  for (let i = 0; i < 40; i += 1) chooser.acknowledged(12.5e6, 1e6, false);
  assert.equal(chooser.best().level, 9);
});

test('neighbours of the best are tried now and then, and nothing but what was asked is tried otherwise', () => {
  const chooser = chooserAt(25e6, 2);
  const tried = new Set(Array.from({ length: 100 }, () => JSON.stringify(chooser.next())));
  assert.deepEqual(
    [...tried].sort(),
    [3, 6, 9].map((level) => `{"codec":"zstd","level":${level}}`),
  );
  chooser.setPolicy('fixed', 'zstd', 3);
  for (let i = 0; i < 100; i += 1) assert.deepEqual(chooser.next(), { codec: 'zstd', level: 3 });
});

test('the words that differ are the same by every kernel', () => {
  for (let i = 0; i < 200; i += 1) {
    const page = randomBytes(PAGE_BYTES);
    const other = Buffer.from(page);
    for (let edits = i * 3; edits > 0; edits -= 1) {
      const at = Math.floor(Math.random() * PAGE_BYTES);
      other[at] = (other[at] as number) ^ 1;
    }
    const words = pageDeltas.differentWords(page, other, true);
    assert.deepEqual(pageDeltas.differentWords(page, other, false), words);
    const dumb: number[] = [];
    for (let word = 0; word < PAGE_BYTES / 8; word += 1) {
      const range = [word * 8, word * 8 + 8] as const;
      if (!page.subarray(...range).equals(other.subarray(...range))) dumb.push(word);
    }
    assert.deepEqual(words, dumb);
  }
});

test('a delta gives the page back, or there is none; what is no delta changes nothing', () => {
  let deltas = 0;
  for (let edits = 0; edits < 400; edits += 1) {
    const base = randomBytes(PAGE_BYTES);
    const page = Buffer.from(base);
    for (let i = 0; i < edits; i += 1) randomBytes(1).copy(page, (i * 97 * 8) % PAGE_BYTES);
    const delta = pageDeltas.encodeDelta(base, page);
    if (delta === null) continue;
    deltas += 1;
    const built = Buffer.from(base);
    assert.ok(pageDeltas.applyDelta(built, delta));
    assert.ok(built.equals(page));
    if (delta.length === 0) continue;
    assert.ok(!pageDeltas.applyDelta(built, delta.subarray(0, delta.length - 1)));
    assert.ok(built.equals(page));
  }
  assert.ok(deltas > 150, `${deltas} deltas`);
  assert.ok(!pageDeltas.applyDelta(Buffer.alloc(PAGE_BYTES), Buffer.alloc(2048, 0xff)));
});

test('a sample of pages comes back as it was, smaller where it can be', () => {
  const text = Buffer.from('no page is like another, but words are '.repeat(27_000)).subarray(
    0,
    MIB,
  );
  for (const policy of [
    { kind: 'raw' },
    { kind: 'fixed', codec: 'lz4', level: 1 },
    { kind: 'fixed', codec: 'zstd', level: 3 },
    { kind: 'adaptive' },
  ] as const) {
    const pages = Buffer.concat([Buffer.alloc(MIB), text, randomBytes(MIB)]);
    const sample = encodeSample({ pages, policy, chunkBytes: MIB, wireBytesPerSec: 12.5e6 });
    assert.equal(sample.zeroPages, 256);
    assert.equal(sample.zeroPages + sample.compressedPages + sample.rawPages, 768);
    const most = policy.kind === 'raw' ? 2 * MIB + 10_000 : 1.1 * MIB;
    assert.ok(sample.wireBytes < most, `${sample.wireBytes} bytes with ${policy.kind}`);
  }
});
