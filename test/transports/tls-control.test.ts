import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { type Authority, createAuthority, issueNode } from '../../src/identity/authority.ts';
import type {
  ControlChannel,
  ControlEvent,
  ControlListener,
  ControlTransport,
} from '../../src/ports/transport.ts';
import { createTlsControlTransport } from '../../src/transports/tls-control.ts';
import type { DwcpError, Outcome } from '../../src/util/errors.ts';

const host = '127.0.0.1';
let authority: Authority;
let a: ControlTransport;
let b: ControlTransport;
let listener: ControlListener;
const accepted: ControlChannel[] = [];
const opened: ControlChannel[] = [];

before(async () => {
  authority = await createAuthority();
  const limits = { handshakeTimeoutMs: 300, maxPendingHandshakes: 2, maxBufferedBytes: 2 ** 20 };
  a = createTlsControlTransport({ ...limits, identity: await issueNode(authority, 'a') });
  b = createTlsControlTransport({ ...limits, identity: await issueNode(authority, 'b') });
  listener = await take<ControlListener>((done) =>
    b.listen({ host, port: 0 }, (channel) => accepted.push(channel), done),
  );
});

after(() => {
  listener.close();
  for (const channel of [...accepted, ...opened]) channel.close();
});

test('both ends agree on who they are and on a secret that is new for every channel', async () => {
  const [dialled, other] = await pair();
  assert.equal(dialled.peer, 'b');
  assert.equal(other.peer, 'a');
  assert.equal(dialled.secret.length, 32);
  assert.deepEqual(dialled.secret, other.secret);
  const [second] = await pair();
  assert.notDeepEqual(second.secret, dialled.secret);
});

test('frames arrive whole and in order, in both directions', async () => {
  const [dialled, other] = await pair();
  const atOther = events(other);
  const atDialled = events(dialled);
  const big = new Uint8Array(300_000).map((_, index) => index % 251);
  for (const frame of [new Uint8Array(0), big, Uint8Array.of(7)]) {
    assert.equal(dialled.send(frame), 'accepted');
  }
  other.send(Uint8Array.of(9));
  await until(() => atOther.length === 3 && atDialled.length === 1);
  assert.deepEqual(atOther.map(frameOf), [new Uint8Array(0), big, Uint8Array.of(7)]);
  assert.deepEqual(atDialled.map(frameOf), [Uint8Array.of(9)]);
});

test('a close is told to both sides once', async () => {
  const [dialled, other] = await pair();
  const seen = [events(dialled), events(other)];
  dialled.close();
  await until(() => seen.every((list) => list.length > 0));
  assert.deepEqual(
    seen.map((list) => list.map(({ type }) => type)),
    [['closed'], ['closed']],
  );
  assert.equal(dialled.send(Uint8Array.of(1)), 'closed');
});

test("a stranger's certificate is refused by the listener", async () => {
  const before = accepted.length;
  const stranger = createTlsControlTransport({
    identity: await issueNode(await createAuthority(), 'a'),
  });
  const outcome = await ask<ControlChannel>((done) =>
    stranger.dial({ host, port: listener.port }, 'b', done),
  );
  assert.equal(errorOf(outcome).code, 'ERR_DWCP_IDENTITY');
  // One that trusts everybody still needs a certificate that we trust.
  const identity = await issueNode(await createAuthority(), 'a');
  const socket = connect({
    ...{ host, port: listener.port, rejectUnauthorized: false },
    ...{ cert: identity.certificatePem, key: identity.privateKeyPem },
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => {});
  socket.resume();
  await closed;
  assert.equal(accepted.length, before);
});

test('a peer with another node id than expected is refused by name', async () => {
  const outcome = await ask<ControlChannel>((done) =>
    a.dial({ host, port: listener.port }, 'c', done),
  );
  assert.equal(errorOf(outcome).code, 'ERR_DWCP_IDENTITY');
  assert.match(errorOf(outcome).message, /expected node c, found b/);
});

test('an oversize frame closes the channel with a protocol error', async () => {
  const small = createTlsControlTransport({
    identity: await issueNode(authority, 'small'),
    maxFrameBytes: 100,
  });
  const arrived: ControlChannel[] = [];
  const own = await take<ControlListener>((done) =>
    small.listen({ host, port: 0 }, (channel) => arrived.push(channel), done),
  );
  const dialled = await take<ControlChannel>((done) =>
    a.dial({ host, port: own.port }, 'small', done),
  );
  await until(() => arrived.length === 1);
  const seen = events(arrived[0] as ControlChannel);
  dialled.send(new Uint8Array(101));
  await until(() => seen.length === 1);
  assert.ok(seen[0]?.type === 'closed' && seen[0].error?.code === 'ERR_DWCP_PROTOCOL');
  own.close();
  dialled.close();
});

test('a peer that does not read makes send answer full', async () => {
  const [dialled] = await pair();
  const answers = new Set<string>();
  for (let count = 0; count < 10; count += 1) answers.add(dialled.send(new Uint8Array(200_000)));
  assert.deepEqual([...answers], ['accepted', 'full']);
});

test('silent strangers are bounded in number and in time', async () => {
  const sockets = [1, 2, 3].map(() => connectTcp(listener.port, host));
  let closed = 0;
  for (const socket of sockets) {
    socket.on('error', () => {});
    socket.on('close', () => {
      closed += 1;
    });
    socket.resume();
  }
  await until(() => closed === 1);
  await until(() => closed === 3);
  const [dialled] = await pair();
  assert.equal(dialled.peer, 'b');
});

test('a taken port and a dead peer are answered with codes', async () => {
  const taken = await ask<ControlListener>((done) =>
    a.listen({ host, port: listener.port }, () => {}, done),
  );
  assert.equal(errorOf(taken).code, 'ERR_DWCP_LISTEN');
  const nobody = await ask<ControlChannel>((done) => a.dial({ host, port: 1 }, 'b', done));
  assert.equal(errorOf(nobody).code, 'ERR_DWCP_PEER_UNREACHABLE');
  assert.equal(errorOf(nobody).errno, 'ECONNREFUSED');
});

async function pair(): Promise<readonly [ControlChannel, ControlChannel]> {
  const before = accepted.length;
  const dialled = await take<ControlChannel>((done) =>
    a.dial({ host, port: listener.port }, 'b', done),
  );
  opened.push(dialled);
  await until(() => accepted.length > before);
  return [dialled, accepted[before] as ControlChannel];
}

function events(channel: ControlChannel): ControlEvent[] {
  const seen: ControlEvent[] = [];
  channel.subscribe((event) => seen.push(event));
  return seen;
}

function frameOf(event: ControlEvent): Uint8Array | null {
  return event.type === 'frame' ? event.frame : null;
}

function ask<T>(start: (done: (outcome: Outcome<T>) => void) => void): Promise<Outcome<T>> {
  return new Promise((resolve) => start(resolve));
}

async function take<T>(start: (done: (outcome: Outcome<T>) => void) => void): Promise<T> {
  const outcome = await ask(start);
  if (!outcome.ok) throw outcome.error;
  return outcome.value;
}

function errorOf<T>(outcome: Outcome<T>): DwcpError {
  assert.ok(!outcome.ok, 'expected a failure');
  return outcome.error;
}

async function until(condition: () => boolean): Promise<void> {
  const endMs = Date.now() + 5000;
  while (!condition()) {
    assert.ok(Date.now() < endMs, `not in time: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
