/** Whether this machine has an RDMA device that tests may use, and at which address. */
import { rdmaPorts } from '../../src/native.ts';

const usable = rdmaPorts().ports.filter(({ state }) => state === 'active');

/** IPv4, or null where there is none. */
export const RDMA_ADDRESS: string | null =
  usable.flatMap(({ addresses }) => addresses).find((address) => address.includes('.')) ?? null;

/** For `skip` of a test: false, or which capability is missing. */
export const NO_RDMA: string | false =
  RDMA_ADDRESS === null ? `needs an RDMA device: ${rdmaPorts().why || 'none is active'}` : false;
