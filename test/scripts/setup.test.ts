/** Set-up on a machine that lacks something: a PATH that holds only what the test puts there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SETUP = fileURLToPath(new URL('../../../scripts/setup.mjs', import.meta.url));
const folders: string[] = [];

after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function setUp(present: readonly string[], ...args: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-path-'));
  folders.push(folder);
  for (const name of present) {
    writeFileSync(join(folder, name), '#!/bin/sh\nexit 1\n');
    chmodSync(join(folder, name), 0o755);
  }
  symlinkSync(process.execPath, join(folder, 'node'));
  return spawnSync(process.execPath, [SETUP, ...args], {
    encoding: 'utf8',
    env: { PATH: folder },
  });
}

test('without a way to install, all that is missing stands in one line to run', () => {
  const result = setUp(['make'], '--tests');
  assert.equal(result.status, 1);
  assert.match(
    result.stderr,
    /^dwcp needs g\+\+, python3, .*clang.* run: sudo sh -c 'apt-get update && .* g\+\+ python3 .*'$/m,
  );
  assert.doesNotMatch(result.stderr, /\bmake\b/);
});

test('an apt-get that fails ends set-up with its command line', () => {
  const result = setUp(['make', 'python3', 'sudo', 'apt-get']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /apt-get install -y --no-install-recommends g\+\+/);
});
