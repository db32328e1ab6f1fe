import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  encodeReport,
  encodeReturn,
  type ReturnFrame,
  ReturnFrames,
} from '../../../src/protocols/qemu/return-frames.ts';

const REPORT = { round: 3, unfedPages: 70_000, loadBytesPerSec: 512 * 2 ** 20 };

test('bytes and reports come out as they went in, however they are cut', () => {
  const sent = Buffer.concat([
    encodeReturn(Uint8Array.of(1, 2, 3)),
    encodeReport(REPORT),
    encodeReturn(new Uint8Array(70_000).fill(9)),
  ]);
  for (const piece of [1, 2, 5, 1000, sent.length]) {
    const frames = new ReturnFrames();
    const got: ReturnFrame[] = [];
    for (let at = 0; at < sent.length; at += piece) {
      got.push(...frames.push(sent.subarray(at, at + piece)));
    }
    const bytes = got.flatMap((frame) => (frame.type === 'bytes' ? [...frame.bytes] : []));
    assert.equal(bytes.length, 70_003);
    assert.deepEqual(bytes.slice(0, 4), [1, 2, 3, 9]);
    assert.deepEqual(got[1], { type: 'report', report: REPORT });
  }
});

test('a frame that nobody sends is refused', () => {
  for (const bytes of [Uint8Array.of(7, 0, 0), Uint8Array.of(1, 0, 1, 0)]) {
    assert.throws(() => new ReturnFrames().push(bytes), { code: 'ERR_DWCP_PROTOCOL' });
  }
});
