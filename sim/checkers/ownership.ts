/** Who ran, judged by the guests themselves: of one VM at most one instance, and epochs only grow. */
export interface RunInterval {
  readonly vm: string;
  /** Names one running copy of the VM. */
  readonly instance: string | number;
  readonly host: string | number;
  readonly epoch: number;
  readonly fromUs: number;
  /** Not included; null: still running. */
  readonly toUs: number | null;
}

export interface OwnershipResult {
  readonly verdict: 'ok' | 'violation';
  readonly witness?: {
    readonly reason: string;
    readonly first: RunInterval;
    readonly second: RunInterval;
  };
}

export function checkOwnership(intervals: readonly RunInterval[]): OwnershipResult {
  const byVm = new Map<string, RunInterval[]>();
  for (const interval of intervals) {
    const others = byVm.get(interval.vm);
    if (others === undefined) byVm.set(interval.vm, [interval]);
    else others.push(interval);
  }
  for (const [vm, runs] of byVm) {
    runs.sort((a, b) => a.fromUs - b.fromUs || endOf(a) - endOf(b));
    const witness = firstConflict(vm, runs);
    if (witness !== null) return { verdict: 'violation', witness };
  }
  return { verdict: 'ok' };
}

type Witness = NonNullable<OwnershipResult['witness']>;

/** Runs are in order of their start, so each is held against the one that ends last so far. */
function firstConflict(vm: string, runs: readonly RunInterval[]): Witness | null {
  const owners = new Map<number, RunInterval>();
  let latest: RunInterval | null = null;
  let newest: RunInterval | null = null;
  for (const run of runs) {
    if (endOf(run) <= run.fromUs) continue;
    if (latest !== null && run.fromUs < endOf(latest) && !isSameRun(latest, run)) {
      const reason = `two instances of ${vm} ran at ${run.fromUs} us`;
      return { reason, first: latest, second: run };
    }
    if (newest !== null && run.epoch < newest.epoch) {
      const reason = `${vm} ran under epoch ${run.epoch} after epoch ${newest.epoch}`;
      return { reason, first: newest, second: run };
    }
    const owner = owners.get(run.epoch);
    if (owner !== undefined && owner.host !== run.host) {
      const reason = `two hosts ran ${vm} under epoch ${run.epoch}`;
      return { reason, first: owner, second: run };
    }
    owners.set(run.epoch, owner ?? run);
    newest = run;
    if (latest === null || endOf(run) > endOf(latest)) latest = run;
  }
  return null;
}

function isSameRun(a: RunInterval, b: RunInterval): boolean {
  return a.instance === b.instance && a.host === b.host && a.epoch === b.epoch;
}

function endOf({ toUs }: RunInterval): number {
  return toUs ?? Number.POSITIVE_INFINITY;
}
