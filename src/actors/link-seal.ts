/**
 * What an operator's word about the networks means for a link, and what a session's bulk frames are sealed with, out of
 * what its handshake found out. The measured mode has no say in either.
 */
import { type Cipher, DEFAULT_CIPHER } from '../ports/encryption.ts';
import type { BulkKeys } from '../ports/transport.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { linkSecrets } from '../protocols/link/link-keys.ts';
import type { SealingWish } from '../protocols/link/sealing.ts';
import { hmacSha256 } from '../system/hmac.ts';

interface Trust {
  readonly encryption?: 'on' | 'off';
  readonly cipher?: Cipher;
}

export function sealingWish(
  { encryption = 'on', cipher = DEFAULT_CIPHER }: Trust,
  { trustedNetwork = encryption === 'off' }: { readonly trustedNetwork?: boolean | undefined },
): SealingWish {
  return trustedNetwork ? 'off' : cipher;
}

interface Ends {
  readonly nodeId: string;
  readonly peer: string;
  /** Of the control channel. */
  readonly secret: Uint8Array;
}

/** Null: neither side wants them sealed. Whoever took them into use wipes them. */
export function sessionKeys(ends: Ends, { sealing }: LinkAgreement): BulkKeys | null {
  if (sealing === null) return null;
  const { keyBits } = sealing;
  return { keyBits, ...linkSecrets({ ...ends, hmac: hmacSha256, sealing }) };
}
