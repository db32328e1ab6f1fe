import { createHmac } from 'node:crypto';
import type { Hmac } from '../protocols/link/stream-join.ts';

export const hmacSha256: Hmac = (key, data) =>
  new Uint8Array(createHmac('sha256', key).update(data).digest());
