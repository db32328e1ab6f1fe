/** What the mode of a link tunes. */
import type { LinkMode } from '../node.ts';
import type { CongestionControl } from '../ports/transport.ts';

const CONGESTION_CONTROL: Readonly<Record<LinkMode, CongestionControl>> = {
  // Short ways, deep enough buffers: loss means congestion, and every kernel has it.
  datacenter: 'cubic',
};

export function congestionControlOf(
  mode: LinkMode,
  asked: CongestionControl | 'auto',
): CongestionControl {
  return asked === 'auto' ? CONGESTION_CONTROL[mode] : asked;
}
