import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { benches } from '../../bench/registry.ts';

/** What even `--quick` has too much of: every arm is a whole move over a slow link. */
const smaller: ReadonlyMap<string, ReadonlyMap<string, string>> = new Map([
  ['wan-migration', new Map([['arms', 'ours,multifd-zstd']])],
]);

/** Runs where there is what it needs: test/rdma/lab-bench.test.ts. */
const elsewhere: ReadonlySet<string> = new Set(['rdma']);

/** Small sizes inside the tests, so that a benchmark never rots. Speed is not judged here. */
describe('benchmarks', () => {
  for (const bench of [...benches.values()].filter(({ name }) => !elsewhere.has(name))) {
    it(`${bench.name} runs and fills its document`, { timeout: 240_000 }, async () => {
      const lines: string[] = [];
      const document = await bench.run({
        quick: true,
        settings: smaller.get(bench.name) ?? new Map(),
        onProgress: (line) => lines.push(line),
      });
      assert.equal(document.name, bench.name);
      assert.ok(document.results.length > 0);
      assert.ok(lines.length > 0, 'a run that takes long says where it is');
      for (const result of document.results) {
        assert.ok(result.ours.median > 0, `${result.case}: nothing measured`);
        for (const peer of result.peers) {
          assert.equal(peer.samples.length, result.ours.samples.length, result.case);
          assert.ok(peer.ratio.median > 0, `${result.case}: no ratio to ${peer.name}`);
        }
      }
      assert.deepEqual(JSON.parse(JSON.stringify(document)), document);
    });
  }
});
