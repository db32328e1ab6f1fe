/**
 * Whether the frames of a link are sealed. Each side's operator declares what it trusts; one that wants
 * sealing requires it, as a feature, so the other one either does it or refuses by that name. What either
 * wants is done, and the longer key wins: nothing that anybody says takes protection away.
 */
import type { Cipher } from '../../ports/encryption.ts';

/** What one side wants; `off` where its operator declared the network to the peer as trusted. */
export type SealingWish = Cipher | 'off';

const SEALED = 'sealed-bulk';
const LONG_KEYS = 'sealed-bulk-256';

/** What this build can do, whether it is wanted or not. */
export const SEALING_FEATURES: readonly string[] = [SEALED, LONG_KEYS];

/** Features that a side with this wish requires. */
export function requiredBy(wish: SealingWish): readonly string[] {
  if (wish === 'off') return [];
  return wish === 'aes-128-gcm' ? [SEALED] : [SEALED, LONG_KEYS];
}

/** Null: neither side requires it. */
export function agreedKeyBits(
  ours: readonly string[],
  theirs: readonly string[],
): 128 | 256 | null {
  const either = new Set([...ours, ...theirs]);
  if (either.has(LONG_KEYS)) return 256;
  return either.has(SEALED) ? 128 : null;
}

export function sealingName(keyBits: number): SealingWish {
  if (keyBits === 0) return 'off';
  return keyBits === 256 ? 'aes-256-gcm' : 'aes-128-gcm';
}
