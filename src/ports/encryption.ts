/** What memory under way is sealed with. */
export const CIPHERS = ['aes-128-gcm', 'aes-256-gcm'] as const;

export type Cipher = (typeof CIPHERS)[number];

/** Protection is what nobody has to ask for. */
export const DEFAULT_CIPHER: Cipher = 'aes-128-gcm';
