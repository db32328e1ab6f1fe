/** Memory that a card may still touch is not given back. */
import type { QueuePair } from '../rdma/queue-pair.ts';
import type { RdmaRegion } from '../rdma/region.ts';

export class RdmaRegions {
  finding: string | null = null;

  frees(region: RdmaRegion, pairs: readonly QueuePair[]): void {
    const busy = pairs.find((pair) => pair.uses(region));
    if (busy === undefined) return;
    this.finding ??= `the region of session ${region.session} is given back while queue pair ${busy.number} has work`;
  }

  left({ isRegistered, session }: RdmaRegion): void {
    if (isRegistered) return;
    this.finding ??= `a card reads memory of session ${session} that was given back`;
  }
}
