/** In the lab's guest: the bench at its small size. Speed is not judged here, counts are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rdmaBench } from '../../bench/rdma.ts';
import { NO_RDMA } from './device.ts';

const timeout = 240_000;

test('the bench of queue pairs fills its document, and its counts hold', {
  ...{ timeout, skip: NO_RDMA },
}, async () => {
  const lines: string[] = [];
  const document = await rdmaBench.run({ quick: true, onProgress: (line) => lines.push(line) });
  assert.ok(lines.length > 0, 'a run that takes long says where it is');
  const compared = document.results.filter(({ peers }) => peers.length > 0);
  assert.ok(compared.some(({ unit }) => unit === 'bytes/s'));
  assert.ok(compared.some(({ unit }) => unit === 'us'));
  for (const result of compared) {
    assert.ok(result.ours.median > 0, `${result.case}: nothing measured`);
    assert.ok((result.peers[0]?.ratio.median ?? 0) > 0, `${result.case}: no ratio`);
    assert.deepEqual(
      result.targets.filter(({ met }) => !met),
      [],
      result.case,
    );
  }
  assert.deepEqual(JSON.parse(JSON.stringify(document)), document);
});
