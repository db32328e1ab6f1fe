import { createHmac } from 'node:crypto';

/** HMAC-SHA-256 for the cores, which have no cryptography of their own. */
export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', key).update(data).digest());
}
