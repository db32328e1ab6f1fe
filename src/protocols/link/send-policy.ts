/**
 * Hybrid mode: each transfer goes as it would in a datacenter, raw and at once, or as it would over the internet,
 * encoded. Whichever is there sooner by what is known of the way; where nothing is, small ones go raw.
 */
import type { CodecPolicy } from '../../ports/transport.ts';
import { assert } from '../../util/assert.ts';

export interface SendQuestion {
  readonly bytes: number;
  /** Of the way; null while unknown. */
  readonly bytesPerSec: number | null;
}

export interface SendPlan {
  readonly like: 'datacenter' | 'internet';
  readonly codec: CodecPolicy;
  readonly reason: string;
}

/** Where nothing is known of the way. */
const SMALL_BYTES = 2 ** 20;
/** Before the first encoded chunk leaves: workers start, and samples are tried. */
const ENCODE_START_SEC = 0.005;
/** Of memory, on one core, and what is left of it: cautious, so that encoding must pay clearly. */
const ENCODE_BYTES_PER_SEC = 400e6;
const ENCODED_SHARE = 0.6;

export function planSend({ bytes, bytesPerSec }: SendQuestion): SendPlan {
  assert(bytes >= 0, 'a size');
  if (bytesPerSec === null || bytesPerSec <= 0) {
    const reason = `${bytes} bytes on a way of unknown rate`;
    return bytes < SMALL_BYTES ? raw(reason) : encoded(reason);
  }
  const rawSec = bytes / bytesPerSec;
  // Encoding and sending overlap: the slower of the two counts.
  const busySec = Math.max(bytes / ENCODE_BYTES_PER_SEC, (bytes * ENCODED_SHARE) / bytesPerSec);
  const encodedSec = ENCODE_START_SEC + busySec;
  const reason = `raw ${ms(rawSec)}, encoded ${ms(encodedSec)}`;
  return rawSec <= encodedSec ? raw(reason) : encoded(reason);
}

function raw(reason: string): SendPlan {
  return { like: 'datacenter', codec: { kind: 'raw' }, reason };
}

function encoded(reason: string): SendPlan {
  return { like: 'internet', codec: { kind: 'adaptive' }, reason };
}

function ms(seconds: number): string {
  return `${(seconds * 1000).toFixed(1)} ms`;
}
