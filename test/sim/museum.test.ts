/** The museum's patches fit the sources as they are, and the campaign finds what they plant. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bugs } from '../../sim/museum/bugs.ts';
import { applies } from '../../sim/museum/workshop.ts';

const BIN = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const patches = fileURLToPath(new URL('../../../sim/museum/bugs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'dwcp-museum-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function dwcp(...args: string[]) {
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  const result = spawnSync(process.execPath, [BIN, 'sim', ...args], { encoding: 'utf8', env });
  const lines = result.stdout.split('\n').filter((line) => line.startsWith('{'));
  return { ...result, documents: lines.map((line) => JSON.parse(line) as Record<string, never>) };
}

test('every exhibit has a patch that fits, a story and a source, and every patch is exhibited', () => {
  const ids = bugs.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  const files = readdirSync(patches).map((name) => name.replace(/\.patch$/, ''));
  assert.deepEqual([...ids].sort(), files.sort());
  for (const { id, story, source, checkers } of bugs) {
    assert.equal(applies(id), true, `${id}: the patch fits`);
    assert.match(story, /^[A-Z].*\.$/, id);
    assert.match(source, /^https:\/\//, id);
    assert.ok(checkers.length > 0, id);
  }
});

test('a cheap bug is found, clean code passes its seed, and its replay fails and shrinks again', () => {
  const only = ['--only', 'read-before-applied', '--ranges', '2', '--max-seeds', '20'];
  const run = dwcp('museum', ...only, '--workers', '1', '--out', folder, '--json');
  assert.equal(run.status, 0, run.stderr);
  const [report, summary] = run.documents;
  assert.equal(report?.['ok'], true);
  assert.equal(report?.['asExpected'], true);
  const finds = report?.['finds'] as unknown as { seed: number }[];
  assert.equal(finds.length, 2);
  assert.deepEqual(report?.['cleanFails'], []);
  assert.equal(summary?.['seedsToFind'], report?.['seedsToFind']);
  const file = join(folder, `dwcp-replay-read-before-applied-${finds[0]?.seed}.json`);
  const replayed = dwcp('replay', file, '--json');
  assert.equal(replayed.status, 1, replayed.stderr);
  assert.equal(replayed.documents[0]?.['sameTrace'], true);
  const shrunk = dwcp('shrink', file, '--json', '--max-ms', '3000');
  assert.equal(shrunk.status, 0, shrunk.stderr);
  assert.equal(dwcp('replay', shrunk.documents[0]?.['replay'] ?? '').status, 1);

  // Of a file that names what nobody knows, the list of what there is.
  const replay = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  delete replay['bug'];
  const other = join(folder, 'other.json');
  writeFileSync(other, JSON.stringify({ ...replay, scenario: 'no-such-scenario' }));
  const elsewhere = dwcp('replay', other);
  assert.equal(elsewhere.status, 2);
  assert.match(elsewhere.stderr, /There are: .*raft/);
  const configuration = replay['configuration'] as { readonly plan: Record<string, unknown> };
  const plan = { ...configuration.plan, faults: [{ kind: 'meteor', atUs: 0, forUs: 1 }] };
  writeFileSync(other, JSON.stringify({ ...replay, configuration: { ...configuration, plan } }));
  const struck = dwcp('replay', other);
  assert.equal(struck.status, 2);
  assert.match(struck.stderr, /"meteor"/);
  assert.match(struck.stderr, /There are: .*crash/);
});

test('a museum that is told to end leaves no copy behind', async () => {
  const own = join(folder, 'temporary');
  mkdirSync(own);
  const env = { ...process.env, DWCP_NO_SETUP: '1', TMPDIR: own };
  const args = ['--only', 'append-deletes-suffix', '--ranges', '1', '--workers', '1'];
  const run = spawn(process.execPath, [BIN, 'sim', 'museum', ...args], { env, stdio: 'ignore' });
  const ended = once(run, 'exit');
  const deadlineMs = Date.now() + 60_000;
  while (readdirSync(own).length === 0 && run.exitCode === null && Date.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(readdirSync(own).length, 1);
  run.kill('SIGTERM');
  assert.deepEqual(await ended, [143, null]);
  assert.deepEqual(readdirSync(own), []);
});

test('every scenario says how deep it goes', () => {
  const list = dwcp('list', '--json');
  const all = JSON.parse(list.stdout) as { readonly name: string; readonly depth: string }[];
  assert.ok(all.length >= 4);
  for (const { name, depth } of all) assert.match(depth, /^[a-z]/, name);
});

test('a bug that no seed finds is told as missed, and the command fails', () => {
  const only = ['--only', 'append-deletes-suffix', '--ranges', '1', '--max-seeds', '1'];
  const run = dwcp('museum', ...only, '--workers', '1', '--json');
  assert.equal(run.status, 1);
  assert.equal(run.documents[0]?.['seedsToFind'], null);
  assert.deepEqual(run.documents[1]?.['missed'], ['append-deletes-suffix']);
  const unknown = dwcp('museum', '--only', 'no-such-bug');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /There are: .*append-deletes-suffix/);
});
