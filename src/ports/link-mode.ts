/**
 * What kind of way leads to a peer. A mode tunes streams, congestion control, chunks, codecs and
 * time-outs; who is trusted and what is encrypted never follow it.
 */
export type LinkMode = 'datacenter' | 'hybrid' | 'internet';

/** From the shortest and widest way to the longest and narrowest. */
export const LINK_MODES: readonly LinkMode[] = ['datacenter', 'hybrid', 'internet'];
