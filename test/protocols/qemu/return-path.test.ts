import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReturnPath } from '../../../src/protocols/qemu/return-path.ts';

function message(type: number, data: readonly number[]): number[] {
  return [type >> 8, type & 255, data.length >> 8, data.length & 255, ...data];
}

const PONG = message(2, [0, 0, 0, 1]);
const SHUT_OK = message(1, [0, 0, 0, 0]);
const REQUEST = message(3, [...new Array(12).fill(7), 3, 97, 98, 99]);
const SWITCH_ACK = message(7, []);
const CONVERSATION = [...PONG, ...REQUEST, ...SWITCH_ACK, ...SHUT_OK];
const PASSED = [...PONG, ...REQUEST, ...SWITCH_ACK];

function run(parts: readonly number[][]): { forward: number[]; loaded: boolean } {
  const path = new ReturnPath();
  const forward: number[] = [];
  let loaded = false;
  for (const part of parts) {
    const step = path.push(Uint8Array.from(part));
    forward.push(...step.forward);
    loaded = step.loaded;
  }
  return { forward, loaded };
}

test('SHUT(0) is withheld and everything before it passes, cut at every byte', () => {
  for (let cut = 0; cut <= CONVERSATION.length; cut += 1) {
    const result = run([CONVERSATION.slice(0, cut), CONVERSATION.slice(cut)]);
    assert.deepEqual(result, { forward: PASSED, loaded: true });
  }
  assert.deepEqual(run(CONVERSATION.map((byte) => [byte])), { forward: PASSED, loaded: true });
});

test('not a byte of SHUT(0) leaves while its last byte has not come', () => {
  assert.deepEqual(run([CONVERSATION.slice(0, -1)]), { forward: PASSED, loaded: false });
});

test('a SHUT that reports an error passes and is not taken for loaded', () => {
  const path = new ReturnPath();
  const step = path.push(Uint8Array.from(message(1, [0, 0, 0, 1])));
  assert.deepEqual([...step.forward], message(1, [0, 0, 0, 1]));
  assert.equal(step.loaded, false);
  assert.equal(step.failure, 1);
});

test('unknown types, wrong lengths and words after SHUT(0) are coded errors', () => {
  const hostile = [
    message(0, []),
    message(5, [0]),
    message(8, []),
    message(1, [0, 0]),
    message(3, new Array(300).fill(0)),
    [...SHUT_OK, ...PONG],
  ];
  for (const bytes of hostile) {
    assert.throws(() => run([bytes]), { code: 'ERR_DWCP_PROTOCOL' });
  }
});

test('once the guest is given away the source hears SHUT(0), also one that came before', () => {
  const late = new ReturnPath();
  assert.deepEqual([...late.letGo()], []);
  assert.deepEqual([...late.push(Uint8Array.from(CONVERSATION)).forward], CONVERSATION);
  const early = new ReturnPath();
  assert.deepEqual([...early.push(Uint8Array.from(CONVERSATION)).forward], PASSED);
  assert.deepEqual([...early.letGo()], SHUT_OK);
  assert.deepEqual([...early.letGo()], []);
});

test('hostile bytes end in a coded error or in a bounded wait, never in anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        new ReturnPath().push(bytes);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_DWCP_PROTOCOL');
      }
    }),
    { numRuns: 500 },
  );
});
