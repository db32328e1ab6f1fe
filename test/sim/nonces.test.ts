/** What the checker of keys and nonces says of one encryption after another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Nonces } from '../../sim/checkers/nonces.ts';
import { SimOpener, SimSealer } from '../../sim/transport/bulk/seal.ts';

const SECRET = 'aa';

test('the same secret in two directions, or in two lives, is caught at the first frame', () => {
  const nonces = new Nonces();
  new SimSealer('host-0#1 to host-1, session 1', SECRET, nonces).sealSmall(64);
  assert.equal(nonces.look(), null);
  new SimSealer('host-0#2 to host-1, session 1', SECRET, nonces).sealSmall(64);
  assert.match(nonces.look()?.message ?? '', /with the key of host-0#1/);
});

test('a chunk may go out again as it was, and nothing else may under its nonce', () => {
  const nonces = new Nonces();
  const seal = new SimSealer('host-0', SECRET, nonces).sealChunk(1, 4_096, 7);
  nonces.sent(seal, 7);
  nonces.sent(seal, 7);
  assert.equal(nonces.look(), null);
  nonces.sent(seal, 8);
  assert.match(nonces.look()?.message ?? '', /another chunk/);
});

test('keys follow each other, each frame opens once, and nobody else opens one', () => {
  const nonces = new Nonces();
  const sealer = new SimSealer('host-0', SECRET, nonces);
  const opener = new SimOpener(SECRET);
  const other = new SimOpener('bb');
  let last = sealer.sealChunk(1, 100_000, 1);
  const first = last;
  for (let seq = 1; seq < 60; seq += 1) {
    assert.ok(opener.opens(last));
    assert.ok(opener.mark(last));
    assert.ok(!opener.mark(last), 'the second time it is a replay');
    assert.ok(!other.opens(last));
    last = sealer.sealChunk(seq + 1, 100_000, seq);
  }
  assert.ok(last.generation > 5);
  assert.ok(sealer.isStale(first));
  assert.ok(!sealer.isStale(last));
  assert.ok(!opener.opens(first), 'the key of then is gone');
  assert.equal(nonces.look(), null);
});
