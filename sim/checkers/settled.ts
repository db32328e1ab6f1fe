/**
 * After healing every VM runs in exactly one place, and the agent there knows it. A VM whose last copy was
 * killed by a fault cannot: that is told apart from one that is stuck.
 */
import type { GuestLog, VmHistory } from '../hypervisor/guest-log.ts';

export interface LiveCopy {
  readonly host: string;
  readonly instance: number;
  readonly isExecuting: boolean;
}

export interface SettledView {
  readonly log: GuestLog;
  /** Every process of a VM that lives. */
  readonly copies: (vm: string) => readonly LiveCopy[];
  /** Whether the agent of that host manages the VM as running; false while it is down. */
  readonly isManaged: (host: string, vm: string) => boolean;
}

/** Null when all is settled; else what is not, for people. */
export function unsettled({ log, copies, isManaged }: SettledView): string | null {
  for (const [vm, history] of log.vms) {
    const live = copies(vm);
    const running = live.filter(({ isExecuting }) => isExecuting);
    if (isLost(history, live)) continue;
    const [only] = running;
    if (only === undefined) return `${vm} runs nowhere (${describe(live)})`;
    if (live.length > 1) return `${vm} has more than one copy (${describe(live)})`;
    if (!isManaged(only.host, vm)) return `${vm} runs on ${only.host}, whose agent does not say so`;
  }
  return null;
}

/** VMs that nothing can bring back, with why. */
export function lostVms({ log, copies }: SettledView): readonly string[] {
  return [...log.vms.values()]
    .filter((history) => isLost(history, copies(history.vm)))
    .map(({ vm, lostBecause }) => `${vm}: ${lostBecause}`);
}

/** The copy that ran last is gone: what is left of others, stopped for good, is older than what was done. */
function isLost({ lostBecause, last }: VmHistory, live: readonly LiveCopy[]): boolean {
  if (lostBecause === null) return false;
  return !live.some(({ instance, isExecuting }) => isExecuting || instance === last?.instance);
}

function describe(live: readonly LiveCopy[]): string {
  if (live.length === 0) return 'no process of it lives';
  return live
    .map(({ host, instance, isExecuting }) => {
      return `copy ${instance} on ${host} ${isExecuting ? 'runs' : 'stands still'}`;
    })
    .join(', ');
}
