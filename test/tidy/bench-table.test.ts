import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout } from './source-file.ts';

test('the table in the README is the one that the script makes of the figures of the benches', () => {
  const script = join(checkout, 'scripts/bench-table.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const readme = readFileSync(join(checkout, 'README.md'), 'utf8');
  assert.match(readme, /\n\| dwcp \| [\d.]+/);
});
