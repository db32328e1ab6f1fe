/**
 * The secrets that the bulk frames of one session are sealed with: HKDF-SHA-256 (RFC 5869) over the
 * control channel's exporter secret, salted with fresh bytes of both sides, one secret per direction.
 * A new channel, and so every reconnect and restart, means new ones; neither side can bring the other
 * to use old ones, because its own fresh bytes are in the salt.
 */
import type { Hmac } from './stream-join.ts';

export const KEY_RANDOM_BYTES = 32;
const SECRET_BYTES = 32;

/** What both sides found out about each other in the handshake. */
export interface Sealing {
  readonly keyBits: 128 | 256;
  readonly ownRandom: Uint8Array;
  readonly peerRandom: Uint8Array;
}

export interface LinkSecrets {
  readonly sendSecret: Uint8Array;
  readonly receiveSecret: Uint8Array;
}

export interface KeyInput {
  readonly hmac: Hmac;
  /** Of the control channel, which both ends know and nobody else. */
  readonly secret: Uint8Array;
  readonly sealing: Sealing;
  readonly nodeId: string;
  readonly peer: string;
}

export function linkSecrets({ hmac, secret, sealing, nodeId, peer }: KeyInput): LinkSecrets {
  const { ownRandom, peerRandom, keyBits } = sealing;
  // Both sides put the lower id first, so that they say the same.
  const isFirst = nodeId < peer;
  const salt = isFirst ? joined(ownRandom, peerRandom) : joined(peerRandom, ownRandom);
  const extracted = hmac(salt, secret);
  const secretFrom = (from: string, to: string): Uint8Array => {
    const info = ascii(`dwcp bulk v1 aes-${keyBits}-gcm ${from} to ${to}`);
    // The first block of HKDF-Expand is all that is needed.
    return hmac(extracted, joined(info, Uint8Array.of(1))).slice(0, SECRET_BYTES);
  };
  const secrets = { sendSecret: secretFrom(nodeId, peer), receiveSecret: secretFrom(peer, nodeId) };
  extracted.fill(0);
  return secrets;
}

export function wipe({ sendSecret, receiveSecret }: LinkSecrets): void {
  sendSecret.fill(0);
  receiveSecret.fill(0);
}

/** Node ids and our own labels. */
function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
