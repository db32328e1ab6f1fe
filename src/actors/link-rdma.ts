/** What an operator's word about RDMA means for a link, out of what this host has and what the peer offers. */
import type { RdmaWish } from '../ports/rdma.ts';
import type { BulkLinkCounters } from '../ports/transport.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { DwcpError } from '../util/errors.ts';

export const RDMA_FEATURE = 'rdma';

export interface RdmaPlan {
  /** `auto` takes what is there; `rdma` tells where it is not. */
  readonly transport: 'auto' | 'rdma';
  /** No link without it. */
  readonly isRequired: boolean;
  /** Why this host has none, or null. */
  readonly absent: string | null;
}

interface Said {
  readonly transport?: 'auto' | 'tcp' | 'rdma';
  readonly requireTransport?: boolean;
}

/** Null: TCP. Whoever requires what this host lacks is refused here. */
export function rdmaPlan(
  { transport = 'auto', requireTransport = false }: Said,
  absent: () => string | null,
): RdmaPlan | null {
  if (transport === 'tcp') return null;
  const plan = {
    transport,
    isRequired: transport === 'rdma' && requireTransport,
    absent: absent(),
  };
  if (plan.absent === null || !plan.isRequired) return plan;
  throw new DwcpError(
    'ERR_DWCP_UNSUPPORTED',
    `link.transport is rdma, and required, but ${plan.absent}`,
    { hint: 'Run "dwcp doctor", or set link.requireTransport to false to fall back to TCP.' },
  );
}

/** What the hello offers. */
export function rdmaFeatures(plan: RdmaPlan | null): readonly string[] {
  return plan !== null && plan.absent === null ? [RDMA_FEATURE] : [];
}

export function rdmaRequired(plan: RdmaPlan | null): readonly string[] {
  return plan?.isRequired === true ? [RDMA_FEATURE] : [];
}

/** Once both sides said hello. A reason is given only where somebody asked for what does not come about. */
export function agreedRdma(
  plan: RdmaPlan | null,
  peer: string,
  { features }: LinkAgreement,
): { readonly wish: RdmaWish; readonly why: string } {
  if (plan !== null && features.includes(RDMA_FEATURE)) {
    return { wish: plan.isRequired ? 'require' : 'prefer', why: '' };
  }
  if (plan?.transport !== 'rdma') return { wish: 'off', why: '' };
  return { wish: 'off', why: plan.absent ?? `${peer} offers no RDMA` };
}

/** What a link is carried by, and why it is not what was asked for. */
export interface CarriedBy {
  readonly transport: 'tcp' | 'rdma' | null;
  readonly transportFallback: string | null;
}

export function transportOf(counters: BulkLinkCounters | undefined): CarriedBy {
  if (counters === undefined || counters.streams === 0) {
    return { transport: null, transportFallback: counters?.rdma.fallback || null };
  }
  const { rdma } = counters;
  return {
    transport: rdma.streams > 0 ? 'rdma' : 'tcp',
    transportFallback: rdma.fallback || null,
  };
}
