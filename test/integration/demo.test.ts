/** The main job as a stranger runs it: three agents as processes of their own, a live guest moved. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const DWCP = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const environment = { ...process.env, DWCP_NO_SETUP: '1' };

interface DemoDocument {
  readonly memoryBytes: number;
  readonly rounds: number;
  readonly rawBytes: number;
  readonly wireBytes: number;
  readonly pages: { readonly zero: number; readonly raw: number };
  readonly workload: {
    readonly operationsBefore: number;
    readonly operationsAfter: number;
    readonly invariantHeld: boolean;
  };
  readonly owner: { readonly before: string; readonly after: string; readonly epoch: number };
  readonly verified: boolean;
}

test('the demo moves a live guest and ends verified', { timeout: 120_000 }, async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [DWCP, 'demo', '--json', '--size', '64MiB', '--dirty-rate', '40MiB/s'],
    { env: environment },
  );
  const document = JSON.parse(stdout) as DemoDocument;
  assert.equal(document.verified, true);
  assert.equal(document.workload.invariantHeld, true);
  assert.deepEqual(document.owner, { before: 'a', after: 'b', epoch: 2 });
  assert.ok(document.workload.operationsAfter > document.workload.operationsBefore);
  assert.ok(document.rounds >= 1, 'the first round is live');
  const pages = document.memoryBytes / 4096;
  assert.ok(document.pages.zero + document.pages.raw > pages, 'all, and what was written since');
  assert.ok(document.wireBytes >= document.rawBytes, 'raw pages cost at least their bytes');
});

test('the demo moves a real Linux VM whose counter has no gap and no step back', {
  timeout: 400_000,
}, async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [DWCP, 'demo', '--json', '--guest', 'qemu'],
    { env: environment },
  );
  const document = JSON.parse(stdout) as DemoDocument;
  assert.equal(document.verified, true);
  assert.equal(document.workload.invariantHeld, true);
  assert.deepEqual(document.owner, { before: 'a', after: 'b', epoch: 2 });
  assert.ok(document.workload.operationsAfter > document.workload.operationsBefore);
  const pages = document.memoryBytes / 4096;
  assert.ok(document.pages.raw > 0.75 * pages, 'three quarters of its memory are not zero');
});
