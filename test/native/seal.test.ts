import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameOpener, FrameSealer, type SealedFrame } from '../../src/native.ts';

const SECRET: Buffer = Buffer.alloc(32, 5);
const WINDOW = 65_536;

interface NonceFields {
  readonly generation: number;
  readonly lane: number;
  readonly counter: number;
}

function nonceOf(bytes: Uint8Array): NonceFields {
  const nonce = Buffer.from(bytes);
  const counter = Number(nonce.readBigUInt64LE(4));
  return { lane: nonce.readUInt16LE(0), generation: nonce.readUInt16LE(2), counter };
}

function nonce({ lane, generation, counter }: NonceFields): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(lane, 0);
  bytes.writeUInt16LE(generation, 2);
  bytes.writeBigUInt64LE(BigInt(counter), 4);
  return bytes;
}

/** What the native side derives, said a second time with Node's own functions. */
function keyOf(generation: number, keyBytes: number): Buffer {
  let secret: Buffer = SECRET;
  const derived = (label: string): Buffer => createHmac('sha256', secret).update(label).digest();
  for (let passed = 0; passed < generation; passed += 1) secret = derived('dwcp next secret');
  return derived('dwcp key').subarray(0, keyBytes);
}

function opened(opener: FrameOpener, header: Uint8Array, sealed: SealedFrame): Buffer | null {
  const plain = opener.open(header, sealed.nonce, sealed.body, sealed.tag);
  return plain === null ? null : Buffer.from(plain);
}

test("what is sealed opens with Node's own AES-GCM, and the other way round, for both key sizes", () => {
  for (const keyBytes of [16, 32] as const) {
    const algorithm = keyBytes === 16 ? 'aes-128-gcm' : 'aes-256-gcm';
    const sealer = new FrameSealer(SECRET, keyBytes, 1000);
    const opener = new FrameOpener(SECRET, keyBytes);
    for (let index = 0; index < 40; index += 1) {
      const [header, body] = [randomBytes(48), randomBytes(index * 7)];
      const sealed = sealer.sealChunk(header, body);
      const { generation, lane, counter } = nonceOf(sealed.nonce);
      const key = keyOf(generation, keyBytes);
      const decipher = createDecipheriv(algorithm, key, sealed.nonce).setAAD(header);
      decipher.setAuthTag(sealed.tag);
      assert.deepEqual(Buffer.concat([decipher.update(sealed.body), decipher.final()]), body);
      // One that Node sealed, under a number that ours would have drawn next.
      const next = nonce({ generation, lane, counter: counter + 1_000_000 });
      const cipher = createCipheriv(algorithm, key, next).setAAD(header);
      const text = Buffer.concat([cipher.update(body), cipher.final()]);
      const foreign = { nonce: next, body: text, tag: cipher.getAuthTag() };
      assert.deepEqual(opened(opener, header, foreign), body);
    }
    assert.ok(
      nonceOf(sealer.sealChunk(SECRET, SECRET).nonce).generation > 3,
      'the key never moved',
    );
  }
});

test('no key ever sees a nonce twice, whatever is sealed and however soon keys wear out', () => {
  const step = fc.record({ small: fc.boolean(), bytes: fc.nat(300) });
  const limits = fc.record({
    bytes: fc.integer({ min: 1, max: 2000 }),
    frames: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(
    fc.property(limits, fc.array(step, { minLength: 1, maxLength: 200 }), (limit, steps) => {
      const sealer = new FrameSealer(SECRET, 16, limit.bytes, limit.frames);
      const seen = new Set<string>();
      const framesPerLane = new Map<string, number>();
      const bytesPerKey = new Map<number, number>();
      for (const { small, bytes } of steps) {
        const [header, body] = [Buffer.alloc(48), Buffer.alloc(bytes)];
        const sealed = small ? sealer.sealSmall(header, body) : sealer.sealChunk(header, body);
        const { generation, lane } = nonceOf(sealed.nonce);
        const name = Buffer.from(sealed.nonce).toString('hex');
        assert.ok(!seen.has(name), `${name} was drawn twice`);
        seen.add(name);
        const frames = (framesPerLane.get(`${generation} ${lane}`) ?? 0) + 1;
        framesPerLane.set(`${generation} ${lane}`, frames);
        assert.ok(frames <= limit.frames, `${frames} frames on a lane of one key`);
        const before = bytesPerKey.get(generation) ?? 0;
        bytesPerKey.set(generation, before + 48 + bytes);
        assert.ok(before === 0 || before + 48 + bytes <= limit.bytes, 'a key was worn out');
      }
    }),
    { numRuns: 200 },
  );
});

test('a bit that flips anywhere in header, nonce, body or tag is found, and nothing is opened', () => {
  const sealer = new FrameSealer(SECRET, 16);
  const opener = new FrameOpener(SECRET, 16);
  const [header, body] = [randomBytes(48), randomBytes(40)];
  const { nonce: drawn, body: text, tag } = sealer.sealChunk(header, body);
  const parts = [header, drawn, text, tag].map((part) => Buffer.from(part));
  const opens = (): boolean => {
    const [h, n, b, t] = parts as [Buffer, Buffer, Buffer, Buffer];
    return opener.open(h, n, b, t) !== null;
  };
  for (const part of parts) {
    for (let bit = 0; bit < part.length * 8; bit += 1) {
      part.writeUInt8(part.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.ok(!opens(), `bit ${bit} of a part of ${part.length} bytes`);
      part.writeUInt8(part.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    }
  }
  assert.ok(opens(), 'it does not even open unharmed');
});

test('keys of the other direction, of another session or of another size open nothing', () => {
  const header = randomBytes(48);
  const sealed = new FrameSealer(SECRET, 16).sealChunk(header, randomBytes(100));
  assert.equal(opened(new FrameOpener(Buffer.alloc(32, 6), 16), header, sealed), null);
  assert.equal(opened(new FrameOpener(SECRET, 32), header, sealed), null);
});

test('the replay window agrees with one that remembers everything, and forgets nothing it still covers', () => {
  const near = fc.integer({ min: 1, max: 300 });
  const far = fc.integer({ min: 1, max: 4 * WINDOW });
  fc.assert(
    fc.property(fc.array(fc.oneof(near, far), { maxLength: 400 }), (counters) => {
      const opener = new FrameOpener(SECRET, 16);
      const seen = new Set<number>();
      let highest = 0;
      for (const counter of counters) {
        const isNews = !seen.has(counter) && highest - counter < WINDOW;
        assert.equal(opener.mark(nonce({ lane: 3, generation: 0, counter })), isNews, `${counter}`);
        seen.add(counter);
        highest = Math.max(highest, counter);
      }
    }),
    { numRuns: 300 },
  );
});

test('lanes and keys have windows of their own', () => {
  const opener = new FrameOpener(SECRET, 16);
  const at = (lane: number, generation: number): Buffer => nonce({ lane, generation, counter: 9 });
  for (const [lane, generation] of [
    [0, 0],
    [1, 0],
    [0, 1],
  ] as const) {
    assert.ok(opener.mark(at(lane, generation)));
    assert.ok(!opener.mark(at(lane, generation)));
  }
});

test('only an authentic frame moves the keys on, one at a time, and the key before stays for what is late', () => {
  const sealer = new FrameSealer(SECRET, 16, 1000);
  const header = randomBytes(48);
  const sealed = Array.from({ length: 5 }, () => sealer.sealChunk(header, randomBytes(900)));
  assert.deepEqual(
    sealed.map((each) => nonceOf(each.nonce).generation),
    [0, 1, 2, 3, 4],
  );
  const [first, second, third, fourth, fifth] = sealed as [
    SealedFrame,
    SealedFrame,
    SealedFrame,
    SealedFrame,
    SealedFrame,
  ];
  const opener = new FrameOpener(SECRET, 16);
  assert.equal(opened(opener, header, fifth), null, 'nobody skips keys');
  const lie = { ...first, nonce: nonce({ ...nonceOf(first.nonce), generation: 1 }) };
  assert.equal(opened(opener, header, lie), null);
  assert.equal(opened(opener, header, third), null, 'a forged number moved the keys');
  for (const each of [first, second, first, third]) assert.ok(opened(opener, header, each));
  assert.ok(opened(opener, header, second), 'what was late by one key is lost');
  assert.equal(opened(opener, header, first), null, 'a key was kept for ever');
  assert.ok(opened(opener, header, fourth));
});

test('what was sealed can be taken back and sealed anew once its number is old or its key was replaced', () => {
  const sealer = new FrameSealer(SECRET, 16, 200_000_000);
  const [header, body] = [randomBytes(48), randomBytes(5000)];
  const sealed = sealer.sealChunk(header, body);
  assert.ok(!sealer.isStale(sealed.nonce));
  const plain = sealer.unseal(header, sealed.nonce, sealed.body, sealed.tag);
  assert.deepEqual(plain, body);
  assert.equal(sealer.unseal(randomBytes(48), sealed.nonce, sealed.body, sealed.tag), null);
  for (let frames = 0; frames < WINDOW / 2 - 1; frames += 1) sealer.sealChunk(header, header);
  assert.ok(!sealer.isStale(sealed.nonce));
  sealer.sealChunk(header, header);
  assert.ok(sealer.isStale(sealed.nonce));

  const worn = new FrameSealer(SECRET, 16, 100);
  const old = worn.sealChunk(header, body);
  assert.ok(!worn.isStale(old.nonce));
  worn.sealChunk(header, body);
  assert.ok(worn.isStale(old.nonce));
  assert.deepEqual(worn.unseal(header, old.nonce, old.body, old.tag), body);
});

test('a flood of small frames does not make a chunk look old', () => {
  const sealer = new FrameSealer(SECRET, 16);
  const chunk = sealer.sealChunk(SECRET, SECRET);
  for (let frames = 0; frames < WINDOW; frames += 1) sealer.sealSmall(SECRET, Buffer.alloc(0));
  assert.ok(!sealer.isStale(chunk.nonce));
});
