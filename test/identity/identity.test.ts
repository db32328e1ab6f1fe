import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import { loadAuthority, loadNode, saveAuthority, saveNode } from '../../src/identity/files.ts';

const directory = mkdtempSync(join(tmpdir(), 'dwcp-identity-'));
after(() => rmSync(directory, { recursive: true }));

test('an issued node is found again in its files, which only the owner can read', async () => {
  saveAuthority(join(directory, 'ca'), await createAuthority());
  const authority = loadAuthority(join(directory, 'ca'));
  const identity = await issueNode(authority, 'host-a');
  const files = saveNode(join(directory, 'node'), identity);
  assert.deepEqual(loadNode(files), identity);
  for (const path of Object.values(files)) assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('an authority is never replaced', async () => {
  const authority = await createAuthority();
  saveAuthority(join(directory, 'once'), authority);
  const error = { code: 'ERR_DWCP_IDENTITY', message: /exists already/ };
  assert.throws(() => saveAuthority(join(directory, 'once'), authority), error);
});

test('what would make a handshake fail is refused when it is loaded, with the file named', async () => {
  const authority = await createAuthority();
  const files = saveNode(join(directory, 'bad'), await issueNode(authority, 'b'));
  const others = saveNode(join(directory, 'others'), await issueNode(await createAuthority(), 'b'));
  const refuses = (change: Partial<typeof files>, message: RegExp): void => {
    assert.throws(() => loadNode({ ...files, ...change }), { code: 'ERR_DWCP_IDENTITY', message });
  };
  refuses({ certFile: join(directory, 'none.pem') }, /none\.pem/);
  refuses({ keyFile: others.keyFile }, /is not the key of/);
  refuses({ caFile: others.caFile }, /was not signed by/);
  refuses({ certFile: files.keyFile }, /not a PEM file of the right kind/);
  const authorityFiles = { certFile: files.caFile, keyFile: join(directory, 'ca.key.pem') };
  writeFileSync(authorityFiles.keyFile, authority.privateKeyPem, { mode: 0o600 });
  refuses(authorityFiles, /names no dwcp node/);
  chmodSync(files.keyFile, 0o644);
  refuses({}, /others may read/);
});

test('a node id that is not a plain name is refused', async () => {
  const authority = await createAuthority();
  for (const id of ['', '../a', 'a b', 'a, URI:dwcp:node:b', 'x'.repeat(64)]) {
    await assert.rejects(issueNode(authority, id), { code: 'ERR_DWCP_IDENTITY' }, id);
  }
});
