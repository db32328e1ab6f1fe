/**
 * How the pages of one migration travel. `v3`: as the link is set. `v1` is what later versions are measured
 * against, whatever the link is set to: one stream, every page whole, zstd at level 3.
 */
export type TransferProfile = 'v1' | 'v3';

export const TRANSFER_PROFILES: readonly TransferProfile[] = ['v1', 'v3'];
