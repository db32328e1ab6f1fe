import assert from 'node:assert/strict';
import { createHmac, hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import { dwcp } from '#wire';
import {
  type HandshakeEffect,
  type HandshakeOptions,
  LinkHandshake,
} from '../../src/protocols/link/handshake.ts';
import { type KeyInput, linkSecrets } from '../../src/protocols/link/link-keys.ts';
import {
  requiredBy,
  SEALING_FEATURES,
  type SealingWish,
} from '../../src/protocols/link/sealing.ts';
import {
  checkAccept,
  checkJoin,
  claimedNode,
  makeAccept,
  makeJoin,
} from '../../src/protocols/link/stream-join.ts';

const base: HandshakeOptions = {
  nodeId: 'a',
  peer: 'b',
  incarnation: new Uint8Array(16).fill(1),
  lastPeerIncarnation: null,
  features: [],
  requiredFeatures: [],
  bulkListen: { host: '127.0.0.1', port: 7001 },
  keyRandom: new Uint8Array(32).fill(3),
};
const hello: dwcp.ILinkHello = {
  ...{ versionMin: 1, versionMax: 1, node: 'b', incarnation: new Uint8Array(16).fill(2) },
  ...{ bulkHost: '127.0.0.1', bulkPort: 7002 },
};

function judge(
  change: Partial<dwcp.ILinkHello>,
  options: Partial<HandshakeOptions> = {},
): HandshakeEffect {
  const effects = new LinkHandshake({ ...base, ...options }).step({
    type: 'hello',
    hello: { ...hello, ...change },
  });
  return effects[effects.length - 1] as HandshakeEffect;
}

function refusalOf(effect: HandshakeEffect): string {
  assert.equal(effect.type, 'refused');
  return effect.type === 'refused' ? `${effect.error.code}: ${effect.error.message}` : '';
}

test('two nodes of one version agree, and each learns where the other takes bulk streams', () => {
  const a = new LinkHandshake(base);
  const b = new LinkHandshake({ ...base, nodeId: 'b', peer: 'a', features: ['lz4'] });
  const [said] = a.step({ type: 'start' });
  assert.ok(said?.type === 'send' && said.envelope.linkHello);
  const wire = dwcp.Envelope.decode(dwcp.Envelope.encode(said.envelope).finish());
  const [effect] = b.step({ type: 'hello', hello: wire.linkHello ?? {} });
  assert.ok(effect?.type === 'established');
  assert.deepEqual(effect.agreement, {
    ...{ version: 1, features: [], peerRestarted: false, sealing: null },
    ...{ peerIncarnation: base.incarnation, peerBulk: base.bulkListen },
  });
});

test('the highest common version is used, and no common one is refused on both sides', () => {
  const newer = judge({ versionMin: 1, versionMax: 9 });
  assert.ok(newer.type === 'established' && newer.agreement.version === 1);
  assert.match(refusalOf(judge({ versionMin: 2, versionMax: 9 })), /ERR_DWCP_VERSION.*2 to 9/);
  const told = new LinkHandshake(base).step({
    type: 'refused',
    refusal: { code: 'ERR_DWCP_VERSION', message: 'too old' },
  });
  assert.match(refusalOf(told[0] as HandshakeEffect), /ERR_DWCP_VERSION: refused by b: too old/);
});

test('an unknown required feature is refused by its name, an unknown optional one is ignored', () => {
  const refusal = refusalOf(judge({ requiredFeatures: ['teleport'] }));
  assert.match(refusal, /ERR_DWCP_FEATURE: b requires the feature "teleport"/);
  const effect = judge({ optionalFeatures: ['x', 'lz4'] }, { features: ['lz4'] });
  assert.deepEqual(effect.type === 'established' && effect.agreement.features, ['lz4']);
});

test('fields that this version does not know are tolerated', () => {
  const bytes = dwcp.LinkHello.encode(hello).finish();
  const extended = Uint8Array.of(...bytes, 0xfa, 0x3f, 2, 1, 2);
  assert.equal(judge(dwcp.LinkHello.decode(extended)).type, 'established');
});

test('a peer whose process is another one has restarted; a reconnected one has not', () => {
  const restarted = (last: number): unknown => {
    const effect = judge({}, { lastPeerIncarnation: new Uint8Array(16).fill(last) });
    return effect.type === 'established' && effect.agreement.peerRestarted;
  };
  assert.equal(restarted(2), false);
  assert.equal(restarted(3), true);
});

test('a hello under another name, a second hello and a short incarnation are refused', () => {
  assert.match(refusalOf(judge({ node: 'c' })), /ERR_DWCP_IDENTITY/);
  assert.match(refusalOf(judge({ incarnation: new Uint8Array(3) })), /ERR_DWCP_PROTOCOL/);
  const handshake = new LinkHandshake(base);
  handshake.step({ type: 'hello', hello });
  const again = handshake.step({ type: 'hello', hello });
  assert.match(refusalOf(again[again.length - 1] as HandshakeEffect), /twice/);
});

const key = {
  hmac: (secret: Uint8Array, data: Uint8Array): Uint8Array =>
    createHmac('sha256', secret).update(data).digest(),
  secret: new Uint8Array(32).fill(5),
};
const challenge = new Uint8Array(16).fill(6);
const request = { node: 'b', streamIndex: 3, nonce: new Uint8Array(16).fill(7) };

test('a join made with the secret is accepted, and its acceptance is proven too', () => {
  const join = makeJoin(key, challenge, request);
  assert.ok(join.length <= 256, `${join.length} bytes`);
  assert.equal(claimedNode(join), 'b');
  assert.deepEqual(checkJoin(key, 'b', challenge, join), { ok: true, value: request });
  const accept = makeAccept(key, challenge, request.nonce);
  assert.equal(checkAccept(key, challenge, request.nonce, accept), true);
  assert.equal(checkAccept(key, challenge, new Uint8Array(16), accept), false);
  assert.equal(checkAccept(key, new Uint8Array(16), request.nonce, accept), false);
});

test('no join survives a flipped bit, another challenge, another peer or another secret', () => {
  const join = makeJoin(key, challenge, request);
  for (let bit = 0; bit < join.length * 8; bit += 1) {
    const forged = Uint8Array.from(join);
    forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(checkJoin(key, 'b', challenge, forged).ok, false, `bit ${bit}`);
  }
  assert.equal(checkJoin(key, 'b', new Uint8Array(16), join).ok, false);
  assert.equal(checkJoin(key, 'c', challenge, join).ok, false);
  const other = { ...key, secret: new Uint8Array(32) };
  assert.equal(checkJoin(other, 'b', challenge, join).ok, false);
  assert.equal(checkJoin(key, 'b', challenge, new Uint8Array(0)).ok, false);
});

test('what either side wants sealed is sealed, with the longer key; nothing is when neither wants it', () => {
  const agreed = (ours: SealingWish, theirs: SealingWish): number | null => {
    const effect = judge(
      {
        requiredFeatures: [...requiredBy(theirs)],
        optionalFeatures: [...SEALING_FEATURES],
        keyRandom: new Uint8Array(32).fill(4),
      },
      { features: SEALING_FEATURES, requiredFeatures: requiredBy(ours) },
    );
    assert.ok(effect.type === 'established');
    return effect.agreement.sealing?.keyBits ?? null;
  };
  assert.equal(agreed('off', 'off'), null);
  assert.equal(agreed('aes-128-gcm', 'off'), 128);
  assert.equal(agreed('off', 'aes-128-gcm'), 128);
  assert.equal(agreed('aes-256-gcm', 'off'), 256);
  assert.equal(agreed('aes-128-gcm', 'aes-256-gcm'), 256);
  assert.equal(agreed('aes-256-gcm', 'aes-128-gcm'), 256);
});

test('a peer that cannot seal is refused by that name, and so is one whose fresh bytes are missing', () => {
  const wish = { features: SEALING_FEATURES, requiredFeatures: requiredBy('aes-256-gcm') };
  assert.match(refusalOf(judge({}, wish)), /ERR_DWCP_FEATURE: b lacks the feature "sealed-bulk"/);
  const half = { optionalFeatures: ['sealed-bulk'], keyRandom: new Uint8Array(32) };
  assert.match(refusalOf(judge(half, wish)), /lacks the feature "sealed-bulk-256"/);
  const offered = { optionalFeatures: [...SEALING_FEATURES] };
  for (const length of [0, 16, 31, 33]) {
    const keyRandom = new Uint8Array(length);
    assert.match(
      refusalOf(judge({ ...offered, keyRandom }, wish)),
      /ERR_DWCP_PROTOCOL.*fresh bytes/,
    );
  }
  // A build before sealing, asked by one that wants it: it refuses by that name on its side, too.
  const old = judge({ requiredFeatures: ['sealed-bulk'] });
  assert.match(refusalOf(old), /ERR_DWCP_FEATURE: b requires the feature "sealed-bulk"/);
});

const hmac = key.hmac;
const [randomOfA, randomOfB] = [new Uint8Array(32).fill(8), new Uint8Array(32).fill(9)];
const ofA = { keyBits: 128, ownRandom: randomOfA, peerRandom: randomOfB } as const;
const ofB = { keyBits: 128, ownRandom: randomOfB, peerRandom: randomOfA } as const;

function secretsOfA(over: Partial<KeyInput> = {}): string[] {
  const made = linkSecrets({
    hmac,
    secret: key.secret,
    sealing: ofA,
    nodeId: 'a',
    peer: 'b',
    ...over,
  });
  return [made.sendSecret, made.receiveSecret].map((secret) => Buffer.from(secret).toString('hex'));
}

test("what one side sends with is what the other one receives with, and it is Node's own HKDF", () => {
  const [send, receive] = secretsOfA();
  assert.deepEqual(secretsOfA({ sealing: ofB, nodeId: 'b', peer: 'a' }), [receive, send]);
  const salt = Buffer.concat([randomOfA, randomOfB]);
  const info = 'dwcp bulk v1 aes-128-gcm a to b';
  const wanted = hkdfSync('sha256', key.secret, salt, info, 32);
  assert.equal(send, Buffer.from(wanted).toString('hex'));
});

test('another channel, other fresh bytes of either side, another peer or size means other secrets, and each way has its own', () => {
  const one = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
  const all = [
    secretsOfA(),
    secretsOfA({ secret: one(1) }),
    secretsOfA({ sealing: { ...ofA, ownRandom: one(2) } }),
    secretsOfA({ sealing: { ...ofA, peerRandom: one(2) } }),
    secretsOfA({ sealing: { ...ofA, keyBits: 256 } }),
    secretsOfA({ peer: 'c' }),
  ].flat();
  assert.equal(new Set(all).size, all.length);
});
