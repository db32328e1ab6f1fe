/** How large the copies of a guest's RAM are that both hosts keep while its pages travel. */
import type { IncomingEndpoint } from '../../ports/hypervisor.ts';
import type { CodecPolicy } from '../../ports/transport.ts';

/** Firmware, option ROMs, tables and video memory are RAM to QEMU as well; untouched, they cost nothing. */
const BESIDE_RAM_BYTES = 256 * 2 ** 20;
const PAGE_BYTES = 4096;
/** Two transfers of one migration: names of migrations have 48 bits. */
const PAGES_TRANSFER = 2 ** 48;

/** Agreed on before QEMU says which blocks it has, so that both sides make the same. */
export function stagingBytes(memoryBytes: number): number {
  return Math.ceil((memoryBytes + BESIDE_RAM_BYTES) / PAGE_BYTES) * PAGE_BYTES;
}

export function pagesTransferId(transferId: number): number {
  return transferId + PAGES_TRANSFER;
}

/**
 * Are a guest's pages taken out of QEMU's stream? Only to a destination that stages them, and where it pays:
 * pages that are not encoded go faster within the stream, which copies them once less.
 */
export function goesByPages(options: {
  readonly endpoint: IncomingEndpoint;
  readonly memoryBytes: number;
  readonly policy: CodecPolicy;
}): boolean {
  const { endpoint, memoryBytes, policy } = options;
  return policy.kind !== 'raw' && endpoint['stagingBytes'] === stagingBytes(memoryBytes);
}
