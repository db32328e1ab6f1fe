/** Of simulated hosts, which have no RDMA device. */
import { type BulkRdmaCounters, NO_RDMA_COUNTERS, type RdmaWish } from '../../src/ports/rdma.ts';

/** What a link says on a machine that has no device. */
export function withoutDevice(wish: RdmaWish, why: string): BulkRdmaCounters {
  if (wish === 'off') {
    return why === '' ? NO_RDMA_COUNTERS : { ...NO_RDMA_COUNTERS, fallbacks: 1, fallback: why };
  }
  return { ...NO_RDMA_COUNTERS, fallbacks: 1, fallback: 'this machine has no RDMA device' };
}
