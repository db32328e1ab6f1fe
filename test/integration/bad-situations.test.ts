/** What a host can lack or refuse: each a coded error that names it and says what to do, and exit 1. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { saveNode } from '../../src/identity/files.ts';

const DWCP = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));

let directory: string;
let identity: ReturnType<typeof saveNode>;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dwcp-bad-'));
  identity = saveNode(join(directory, 'keys'), await issueNode(await createAuthority(), 'a'));
});

after(() => rmSync(directory, { recursive: true, force: true }));

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Runs an agent that must not start, and reads its refusal as a script would. */
async function refusedAgent(settings: object): Promise<Refusal> {
  const config = join(directory, 'agent.yaml');
  const document = {
    id: 'a',
    listen: '127.0.0.1:0',
    admin: { listen: '127.0.0.1:0', operators: [] },
    metrics: { listen: '127.0.0.1:0' },
    peers: [],
    dataDir: join(directory, 'data'),
    identity,
    log: { level: 'error' },
    ...settings,
  };
  writeFileSync(config, stringify(document));
  const { status, stdout } = await dwcp('agent', '--json', '--config', config);
  const { error } = JSON.parse(stdout) as { readonly error: Omit<Refusal, 'status'> };
  assert.ok(error.hint.length > 10, 'it says what to do');
  return { status, ...error };
}

function dwcp(
  ...args: readonly string[]
): Promise<{ readonly status: number; readonly stdout: string }> {
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [DWCP, ...args],
      { env, timeout: 30_000 },
      (_, stdout) => resolve({ status: child.exitCode ?? -1, stdout }),
    );
  });
}

async function takenPort(use: (port: number) => Promise<void>): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await use((server.address() as AddressInfo).port);
  await new Promise((resolve) => server.close(resolve));
}

for (const [name, settings] of [
  ['control', (listen: string) => ({ listen })],
  ['admin', (listen: string) => ({ admin: { listen, operators: [] } })],
  ['metrics', (listen: string) => ({ metrics: { listen } })],
] as const) {
  test(`an agent whose ${name} port is taken names the port`, () =>
    takenPort(async (port) => {
      const refusal = await refusedAgent(settings(`127.0.0.1:${port}`));
      assert.equal(refusal.status, 1);
      assert.equal(refusal.code, 'ERR_DWCP_LISTEN');
      assert.match(refusal.message, new RegExp(`127\\.0\\.0\\.1:${port}`));
    }));
}

test('an agent names the key that it cannot read, and why', async () => {
  const missing = join(directory, 'no.key.pem');
  const absent = await refusedAgent({ identity: { ...identity, keyFile: missing } });
  assert.equal(absent.status, 1);
  assert.equal(absent.code, 'ERR_DWCP_IDENTITY');
  assert.match(absent.message, /no\.key\.pem: ENOENT/);
  assert.match(absent.hint, /dwcp keys issue/);
  const folder = await refusedAgent({ identity: { ...identity, keyFile: directory } });
  assert.equal(folder.code, 'ERR_DWCP_IDENTITY');
  assert.match(folder.message, /EISDIR/);
});

test('an agent refuses a key that others may read, or that is none', async () => {
  const path = join(directory, 'open.key.pem');
  writeFileSync(path, readFileSync(identity.keyFile));
  chmodSync(path, 0o644);
  const open = await refusedAgent({ identity: { ...identity, keyFile: path } });
  assert.equal(open.status, 1);
  assert.equal(open.code, 'ERR_DWCP_IDENTITY');
  assert.match(open.hint, /chmod 600/);
  const garbage = join(directory, 'garbage.key.pem');
  writeFileSync(garbage, 'no key', { mode: 0o600 });
  const none = await refusedAgent({ identity: { ...identity, keyFile: garbage } });
  assert.equal(none.code, 'ERR_DWCP_IDENTITY');
  assert.match(none.message, /garbage\.key\.pem/);
});

test('an agent refuses a data directory that it cannot have', async () => {
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const refusal = await refusedAgent({ dataDir: join(file, 'data') });
  assert.equal(refusal.status, 1);
  assert.equal(refusal.code, 'ERR_DWCP_STORAGE');
  assert.match(refusal.message, /ENOTDIR/);
});

test('a demo that is interrupted while it starts leaves nothing behind', async () => {
  for (const afterMs of [0, 100, 250, 400, 800]) {
    const temporary = join(directory, `demo-${afterMs}`);
    mkdirSync(temporary);
    const child = spawn(process.execPath, [DWCP, 'demo', '--size', '64MiB', '--json'], {
      env: { ...process.env, DWCP_NO_SETUP: '1', TMPDIR: temporary },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
    while (readdirSync(temporary).length === 0) await delay(5);
    await delay(afterMs);
    child.kill('SIGINT');
    assert.equal(await closed, 1, `after ${afterMs} ms: ${stdout}`);
    assert.match(stdout, /ERR_DWCP_CANCELLED/);
    assert.deepEqual(readdirSync(temporary), [], `after ${afterMs} ms a directory is left`);
    assert.deepEqual(processesNaming(temporary), [], `after ${afterMs} ms a process is left`);
  }
});

function processesNaming(path: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => commandLine(pid))
    .filter((line) => line.includes(`${path}/`));
}

/** Empty when it ended meanwhile. */
function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
