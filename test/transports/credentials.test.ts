/** New certificates and revocations while channels stand. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { type Authority, createAuthority, issueNode } from '../../src/identity/authority.ts';
import { Credentials } from '../../src/identity/credentials.ts';
import { type IdentityFiles, loadNode, saveNode } from '../../src/identity/files.ts';
import type {
  ControlChannel,
  ControlEvent,
  ControlListener,
  ControlTransport,
  RefusedConnections,
} from '../../src/ports/transport.ts';
import { createTlsControlTransport } from '../../src/transports/tls-control.ts';
import type { DwcpError, Outcome } from '../../src/util/errors.ts';
import { until } from './bulk-pair.ts';

const host = '127.0.0.1';
let directory = '';
let authority: Authority;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dwcp-credentials-'));
  authority = await createAuthority();
});

after(() => rmSync(directory, { recursive: true, force: true }));

interface Side {
  readonly files: IdentityFiles & { readonly revokedFile: string };
  readonly credentials: Credentials;
  readonly transport: ControlTransport;
}

let made = 0;

async function side(id: string): Promise<Side> {
  made += 1;
  const own = join(directory, `${made}`);
  const saved = saveNode(own, await issueNode(authority, id));
  const files = { ...saved, revokedFile: join(own, 'revoked') };
  writeFileSync(files.revokedFile, '# nobody yet\n');
  const credentials = Credentials.load(files);
  return { files, credentials, transport: createTlsControlTransport({ identity: credentials }) };
}

interface Listening {
  readonly port: number;
  readonly accepted: ControlChannel[];
  readonly refused: RefusedConnections[];
  close(): void;
}

async function listening({ transport }: Side): Promise<Listening> {
  const accepted: ControlChannel[] = [];
  const refused: RefusedConnections[] = [];
  const outcome = await new Promise<Outcome<ControlListener>>((done) =>
    transport.listen(
      { host, port: 0 },
      (channel) => accepted.push(channel),
      done,
      (report) => refused.push(report),
    ),
  );
  assert.ok(outcome.ok);
  return { port: outcome.value.port, accepted, refused, close: () => outcome.value.close() };
}

function dial({ transport }: Side, port: number, peer: string): Promise<Outcome<ControlChannel>> {
  return new Promise((done) => transport.dial({ host, port }, peer, done));
}

async function dialled(from: Side, port: number, peer: string): Promise<ControlChannel> {
  const outcome = await dial(from, port, peer);
  assert.ok(outcome.ok);
  return outcome.value;
}

function events(channel: ControlChannel): ControlEvent[] {
  const list: ControlEvent[] = [];
  channel.subscribe((event) => list.push(event));
  return list;
}

function closedBecause(list: readonly ControlEvent[]): DwcpError | null {
  const last = list.at(-1);
  return last?.type === 'closed' ? last.error : null;
}

function serialOf({ certFile, keyFile, caFile }: IdentityFiles): string {
  return new X509Certificate(loadNode({ certFile, keyFile, caFile }).certificatePem).serialNumber;
}

/** What a handshake that begins now gets to see. */
function serialAt(port: number, { credentials }: Side): Promise<string> {
  const { certificatePem: cert, privateKeyPem: key, authorityPem: ca } = credentials.identity;
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, cert, key, ca, checkServerIdentity: () => undefined });
    socket.on('error', reject);
    socket.on('secureConnect', () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
      socket.destroy();
    });
  });
}

test('a new certificate is what new handshakes see, and a channel that stands goes on', async () => {
  const [a, b] = [await side('a'), await side('b')];
  const at = await listening(b);
  const channel = await dialled(a, at.port, 'b');
  await until(() => at.accepted.length === 1);
  const other = at.accepted[0] ?? assert.fail();
  const [seen, back] = [events(other), events(channel)];
  const old = serialOf(b.files);
  assert.equal(await serialAt(at.port, a), old);
  saveNode(join(b.files.certFile, '..'), await issueNode(authority, 'b'));
  saveNode(join(a.files.certFile, '..'), await issueNode(authority, 'a'));
  assert.equal(await serialAt(at.port, a), old, 'files alone change nothing');
  b.credentials.reload();
  a.credentials.reload();
  assert.notEqual(serialOf(b.files), old);
  assert.equal(await serialAt(at.port, a), serialOf(b.files));
  channel.send(Uint8Array.of(1));
  other.send(Uint8Array.of(2));
  await until(() => seen.length === 1 && back.length === 1);
  assert.deepEqual([seen[0]?.type, back[0]?.type], ['frame', 'frame']);
  const second = await dialled(a, at.port, 'b');
  for (const each of [channel, second]) each.close();
  at.close();
});

test('a peer that is revoked by its name loses its channel at once, and gets no other one', async () => {
  const [a, b, c] = [await side('a'), await side('b'), await side('c')];
  const at = await listening(b);
  const channel = await dialled(a, at.port, 'b');
  const kept = await dialled(c, at.port, 'b');
  await until(() => at.accepted.length === 2);
  const ofA = at.accepted.find(({ peer }) => peer === 'a') ?? assert.fail();
  const ofC = at.accepted.find(({ peer }) => peer === 'c') ?? assert.fail();
  const [seenOfA, seenOfC, seen] = [events(ofA), events(ofC), events(channel)];
  appendFileSync(b.files.revokedFile, 'a  # stolen\n');
  assert.equal(seenOfA.length, 0);
  b.credentials.reload();
  await until(() => seenOfA.length === 1 && seen.length === 1);
  assert.equal(closedBecause(seenOfA)?.code, 'ERR_DWCP_IDENTITY');
  assert.match(closedBecause(seenOfA)?.message ?? '', /certificate of a was revoked/);
  // To the peer it looks open until the other side has seen its certificate; then it is not.
  const again = await dial(a, at.port, 'b');
  if (again.ok) {
    const ends = events(again.value);
    await until(() => ends.length === 1);
  }
  await until(() => at.refused.length > 0);
  assert.match(at.refused[0]?.error.message ?? '', /certificate of a was revoked/);
  assert.equal(at.accepted.length, 2, 'it was taken in again');
  assert.equal(seenOfC.length, 0, 'another peer lost its channel');
  kept.close();
  at.close();
});

test('a dialler refuses a revoked serial number, whatever way it is written, and not the next certificate', async () => {
  const [a, b] = [await side('a'), await side('b')];
  const at = await listening(b);
  const serial = serialOf(b.files).toLowerCase();
  writeFileSync(a.files.revokedFile, `${serial.replace(/(..)(?=.)/g, '$1:')}\n`);
  a.credentials.reload();
  const refused = await dial(a, at.port, 'b');
  assert.ok(!refused.ok);
  assert.equal(refused.error.code, 'ERR_DWCP_IDENTITY');
  assert.match(refused.error.message, /certificate of b was revoked/);
  saveNode(join(b.files.certFile, '..'), await issueNode(authority, 'b'));
  b.credentials.reload();
  (await dialled(a, at.port, 'b')).close();
  at.close();
});

test('files that are no good change nothing, and neither do those of another node', async () => {
  const [a, b] = [await side('a'), await side('b')];
  const at = await listening(b);
  const old = serialOf(b.files);
  const stranger = await issueNode(authority, 'x');
  writeFileSync(b.files.certFile, stranger.certificatePem);
  assert.throws(() => b.credentials.reload(), { code: 'ERR_DWCP_IDENTITY' });
  writeFileSync(b.files.keyFile, stranger.privateKeyPem);
  assert.throws(() => b.credentials.reload(), /certificate of "x" now, not of "b"/);
  saveNode(join(b.files.certFile, '..'), await issueNode(authority, 'b'));
  rmSync(b.files.revokedFile);
  assert.throws(() => b.credentials.reload(), /cannot read .*revoked: ENOENT/);
  assert.equal(await serialAt(at.port, a), old);
  at.close();
});
