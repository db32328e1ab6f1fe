/** Whether this host could carry memory by RDMA. */
import { rdmaPorts } from '../native.ts';

/** Null where it could; else what is missing. */
export function rdmaAbsent(): string | null {
  const { ports, why } = rdmaPorts();
  if (ports.length === 0) return why;
  if (ports.some(({ state, addresses }) => state === 'active' && addresses.length > 0)) return null;
  const each = ports.map(({ device, port, state, addresses }) => {
    return `${device} port ${port} is ${state}${addresses.length === 0 ? ', without an address' : ''}`;
  });
  return `no RDMA device of this machine is ready: ${each.join('; ')}`;
}

/** The first that a peer could call by RDMA, or null. */
export function rdmaAddress(): string | null {
  const usable = rdmaPorts().ports.filter(({ state }) => state === 'active');
  return usable.flatMap(({ addresses }) => addresses).find((each) => each.includes('.')) ?? null;
}
