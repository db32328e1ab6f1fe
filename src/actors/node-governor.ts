/** Holds the links back so that sending stays below the CPU limit of this node. */
import type { BulkLink } from '../ports/transport.ts';
import { CpuGovernor } from '../protocols/migration/cpu-governor.ts';
import type { BandwidthTable } from './node-bandwidth.ts';
import type { NodeContext } from './node-messages.ts';

/** How much of the processor this process may use, and used so far. */
export interface CpuBudget {
  readonly maxCpuPercent: number;
  readonly usedUs: () => number;
}

const INTERVAL_US = 200_000;
const TOLERANCE = 0.05;

export class LinkGovernor {
  readonly #budget: CpuBudget;
  readonly #links: ReadonlyMap<string, BulkLink>;
  readonly #bandwidth: BandwidthTable;
  readonly #governor: CpuGovernor;
  readonly #sentBytes = new Map<string, number>();
  readonly #caps = new Map<string, number>();
  #usedUs: number;
  #sampledUs: number;

  constructor(
    budget: CpuBudget,
    links: ReadonlyMap<string, BulkLink>,
    bandwidth: BandwidthTable,
    context: NodeContext,
  ) {
    this.#budget = budget;
    this.#links = links;
    this.#bandwidth = bandwidth;
    this.#governor = new CpuGovernor(budget.maxCpuPercent);
    this.#usedUs = budget.usedUs();
    this.#sampledUs = context.nowUs();
    this.#later(context);
  }

  govern(context: NodeContext): void {
    const usedUs = this.#budget.usedUs();
    const sent = [...this.#links].map(([peer, bulk]) => {
      const total = bulk.counters().wireBytesSent;
      const before = this.#sentBytes.get(peer) ?? 0;
      this.#sentBytes.set(peer, total);
      // A new session of the link counts from 0 again.
      return { peer, bytes: total >= before ? total - before : total };
    });
    const sentBytes = sent.reduce((sum, each) => sum + each.bytes, 0);
    const cap = this.#governor.step({
      elapsedUs: context.nowUs() - this.#sampledUs,
      cpuUs: usedUs - this.#usedUs,
      sentBytes,
    });
    this.#usedUs = usedUs;
    this.#sampledUs = context.nowUs();
    if (cap > 0) this.#deal(cap, sent);
    this.#later(context);
  }

  /** In equal shares; a link that is idle may begin as one more of those that send. */
  #deal(cap: number, sent: readonly { readonly peer: string; readonly bytes: number }[]): void {
    const busy = sent.filter(({ bytes }) => bytes > 0).length;
    for (const { peer, bytes } of sent) {
      const share = Math.round(cap / (bytes > 0 ? busy : busy + 1));
      const current = this.#caps.get(peer) ?? 0;
      // A new rate empties the link's bucket: small corrections would cost more than they mend.
      if (Math.abs(share - current) <= current * TOLERANCE) continue;
      this.#caps.set(peer, share);
      this.#bandwidth.setCpuCap(peer, share);
    }
  }

  #later(context: NodeContext): void {
    context.setTimer('govern', context.nowUs() + INTERVAL_US, { type: 'govern' });
  }
}
