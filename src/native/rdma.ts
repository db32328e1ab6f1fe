/** What RDMA devices this machine has, as the libraries of rdma-core see them. */
import { addon } from './addon.ts';

export interface RdmaPort {
  readonly device: string;
  readonly port: number;
  readonly state: string;
  readonly mtuBytes: number;
  readonly queuePairsMax: number;
  /** Of the network interface below: what a peer connects to. */
  readonly addresses: readonly string[];
}

export interface RdmaPorts {
  readonly ports: readonly RdmaPort[];
  /** Why there are none. */
  readonly why: string;
}

export interface RdmaAddon {
  rdmaPorts(): RdmaPorts;
}

export function rdmaPorts(): RdmaPorts {
  return addon.rdmaPorts();
}
