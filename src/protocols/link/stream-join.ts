/**
 * How a bulk stream proves that it belongs to a link. The key is the control channel's exporter
 * secret, which only the two authenticated ends know, so a stranger's socket never gets past this.
 *
 *   listener -> dialler   challenge
 *   dialler -> listener   StreamJoin   mac = HMAC(secret, 'dwcp join' | challenge | every field)
 *   listener -> dialler   StreamAccept mac = HMAC(secret, 'dwcp accept' | challenge | nonce)
 */
import { dwcp } from '#wire';
import { DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { equalBytes } from './handshake.ts';

/** HMAC-SHA-256, given from outside: a core has no cryptography of its own. */
export type Hmac = (key: Uint8Array, data: Uint8Array) => Uint8Array;

/** Both ends of one link know it; neither side has to choose or send it beforehand. */
export interface JoinKey {
  readonly hmac: Hmac;
  readonly secret: Uint8Array;
}

export interface JoinRequest {
  readonly node: string;
  readonly streamIndex: number;
  readonly nonce: Uint8Array;
}

export const NONCE_BYTES = 16;
const LINK_ID_BYTES = 16;

export function linkIdOf(key: JoinKey): Uint8Array {
  return key.hmac(key.secret, text('dwcp link id')).slice(0, LINK_ID_BYTES);
}

export function makeJoin(key: JoinKey, challenge: Uint8Array, request: JoinRequest): Uint8Array {
  const { node, streamIndex, nonce } = request;
  const linkId = linkIdOf(key);
  const mac = key.hmac(key.secret, joined(challenge, linkId, request));
  return dwcp.StreamJoin.encode({ node, linkId, streamIndex, nonce, mac }).finish();
}

/** Who says to be calling; nothing is proven yet. Null when it is not even a join. */
export function claimedNode(message: Uint8Array): string | null {
  try {
    return dwcp.StreamJoin.decode(message).node ?? null;
  } catch {
    return null;
  }
}

export function checkJoin(
  key: JoinKey,
  peer: string,
  challenge: Uint8Array,
  message: Uint8Array,
): Outcome<JoinRequest> {
  const join = decoded(() => dwcp.StreamJoin.decode(message));
  const refuse = (why: string): Outcome<JoinRequest> =>
    failed(new DwcpError('ERR_DWCP_IDENTITY', `a bulk stream for ${peer} was refused: ${why}`));
  if (join === null) return refuse('its join is malformed');
  const linkId = linkIdOf(key);
  const node = join.node ?? '';
  const streamIndex = join.streamIndex ?? 0;
  const nonce = Uint8Array.from(join.nonce ?? []);
  if (node !== peer) return refuse(`it says to come from ${node}`);
  if (nonce.length !== NONCE_BYTES) return refuse('its nonce has the wrong length');
  if (!equalBytes(linkId, Uint8Array.from(join.linkId ?? []))) {
    return refuse('it belongs to another control channel');
  }
  const request = { node, streamIndex, nonce };
  const mac = key.hmac(key.secret, joined(challenge, linkId, request));
  if (!equalBytes(mac, Uint8Array.from(join.mac ?? []))) return refuse('its mac is wrong');
  return succeeded(request);
}

export function makeAccept(key: JoinKey, challenge: Uint8Array, nonce: Uint8Array): Uint8Array {
  const mac = key.hmac(key.secret, concat(text('dwcp accept'), challenge, nonce));
  return dwcp.StreamAccept.encode({ mac }).finish();
}

export function checkAccept(
  key: JoinKey,
  challenge: Uint8Array,
  nonce: Uint8Array,
  message: Uint8Array,
): boolean {
  const accept = decoded(() => dwcp.StreamAccept.decode(message));
  const mac = key.hmac(key.secret, concat(text('dwcp accept'), challenge, nonce));
  return accept !== null && equalBytes(mac, Uint8Array.from(accept.mac ?? []));
}

/** Every field has a fixed length or its length in front, so that no two requests look alike. */
function joined(challenge: Uint8Array, linkId: Uint8Array, request: JoinRequest): Uint8Array {
  const node = text(request.node);
  const numbers = new Uint8Array(8);
  new DataView(numbers.buffer).setUint32(0, node.length);
  new DataView(numbers.buffer).setUint32(4, request.streamIndex);
  return concat(text('dwcp join'), challenge, numbers, node, linkId, request.nonce);
}

function decoded<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch {
    return null;
  }
}

/** Names here are ASCII: node ids and our own labels. */
function text(value: string): Uint8Array {
  return Uint8Array.from(value, (letter) => letter.charCodeAt(0) & 0xff);
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
