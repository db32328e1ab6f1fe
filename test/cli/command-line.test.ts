import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));

function dwcp(...args: string[]) {
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  return spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', env });
}

test('wrong usage exits 2 and prints a coded error to stderr only', () => {
  for (const args of [
    [],
    ['nope'],
    ['doctor', 'extra'],
    ['demo', '--guest', 'x'],
    ['status'],
    ['vm', 'claim', 'v'],
    ['limit', '--max-bandwidth', '1MiB/s'],
    ['limit', 'm1'],
    ['limit', 'm1', '--max-bandwidth', 'quick'],
  ]) {
    const result = dwcp(...args);
    assert.equal(result.status, 2, `dwcp ${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, /error ERR_DWCP_USAGE: /);
    assert.equal(result.stdout, '');
  }
});

test('wrong usage with --json also prints the error as one document', () => {
  const result = dwcp('nope', '--json');
  assert.equal(result.status, 2);
  const document = JSON.parse(result.stdout) as { error: { code: string; hint: string } };
  assert.equal(document.error.code, 'ERR_DWCP_USAGE');
  assert.match(document.error.hint, /--help/);
});

test('help exits 0 and every command has an example', () => {
  const top = dwcp('--help');
  assert.equal(top.status, 0);
  const names = [...top.stdout.matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1] ?? '');
  assert.ok(names.includes('doctor'), top.stdout);
  for (const name of names.filter((each) => each !== 'help')) {
    const help = dwcp(name, '--help');
    assert.equal(help.status, 0, name);
    assert.match(help.stdout, /Example/, name);
  }
});

test('doctor reports what it tried, each missing thing with what gets it', () => {
  const result = dwcp('doctor', '--json');
  assert.equal(result.status, 0, result.stderr);
  const { findings } = JSON.parse(result.stdout) as {
    findings: { name: string; status: string; value: string; fix: string | null }[];
  };
  const names = findings.map((finding) => finding.name);
  for (const name of ['kernel', 'dirty tracking', 'congestion control', 'RDMA devices', 'qemu']) {
    assert.ok(names.includes(name), `${name} in ${names.join(', ')}`);
  }
  for (const finding of findings) {
    assert.notEqual(finding.value, '');
    assert.equal(finding.fix === null, finding.status === 'ok', finding.name);
  }
});
