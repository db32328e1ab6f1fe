/**
 * What goes wrong in a run, as data: drawn by `arbitraries`, kept in a replay file, made smaller by the
 * shrinker. Nodes are numbers: hosts first, then clients. Times count from the start of the chaos phase.
 */
export interface FaultPlan {
  readonly network: NetworkPlan;
  readonly disk: DiskPlan;
  readonly buggify: {
    /** How many sites of 10,000 are on in this run. */
    readonly sitePermyriad: number;
    readonly firePermyriad: number;
    readonly disabled: readonly string[];
  };
  readonly faults: readonly Fault[];
}

/** How every link behaves during chaos, apart from faults. */
export interface NetworkPlan {
  readonly latencyMinUs: number;
  readonly latencyMaxUs: number;
  readonly lossPermyriad: number;
  readonly duplicatePermyriad: number;
  /** Share of messages that may overtake earlier ones of their link, and by how much. */
  readonly reorderPermyriad: number;
  readonly reorderMaxUs: number;
}

export interface DiskPlan {
  readonly latencyMinUs: number;
  readonly latencyMaxUs: number;
}

export interface FaultSpan {
  readonly atUs: number;
  readonly forUs: number;
  /** Hits whom the scenario says matters most just then, such as a leader, instead of whom it names. */
  readonly aimed?: boolean;
}

export type Fault = FaultSpan &
  (
    | { readonly kind: 'crash'; readonly host: number }
    | { readonly kind: 'pause'; readonly host: number }
    /** Nodes of `side` no longer reach the others; unless one-way, nor are they reached. */
    | { readonly kind: 'partition'; readonly side: readonly number[]; readonly oneWay: boolean }
    /** Messages wait and then arrive all at once. */
    | { readonly kind: 'clog'; readonly from: number; readonly to: number }
    | {
        readonly kind: 'loss';
        readonly from: number;
        readonly to: number;
        readonly permyriad: number;
      }
    | {
        readonly kind: 'clock';
        readonly host: number;
        readonly driftPpm: number;
        /** Of the wall clock alone: the monotonic one never jumps. */
        readonly jumpUs: number;
      }
    /** Breaks the connections of two hosts; who is told of it may be one of them only. */
    | {
        readonly kind: 'reset';
        readonly from: number;
        readonly to: number;
        readonly told: 'both' | 'from' | 'to';
      }
    /** Segments of connections arrive with a bit turned that TCP did not see. */
    | {
        readonly kind: 'damage';
        readonly from: number;
        readonly to: number;
        readonly permyriad: number;
      }
    | {
        readonly kind: 'slow';
        readonly from: number;
        readonly to: number;
        readonly bytesPerSec: number;
      }
    /** What the scenario says of it: the end of a process other than the agent. */
    | { readonly kind: 'guest-kill'; readonly host: number }
    /** A whole machine at once, and silently: what runs beside the agent ends with it. */
    | { readonly kind: 'power-loss'; readonly host: number }
    | { readonly kind: 'disk-stall'; readonly host: number }
    | { readonly kind: 'disk-full'; readonly host: number }
    | { readonly kind: 'disk-fsync-error'; readonly host: number }
    /** One bit of one durable sector turns; for ever, so `forUs` does not matter. */
    | { readonly kind: 'disk-bit-rot'; readonly host: number }
    /** The next write lands in another place and says that all went well; for ever, too. */
    | { readonly kind: 'disk-misdirect'; readonly host: number }
  );

export type FaultKind = Fault['kind'];

export const faultKinds: readonly FaultKind[] = [
  ...(['crash', 'pause', 'partition', 'clog', 'loss', 'clock'] as const),
  ...(['disk-stall', 'disk-full', 'disk-fsync-error', 'disk-bit-rot'] as const),
];

/** Whatever a plan may name. */
export const knownFaultKinds: readonly FaultKind[] = [
  ...faultKinds,
  ...(['reset', 'damage', 'slow', 'guest-kill', 'power-loss', 'disk-misdirect'] as const),
];

/** Nothing goes wrong: set-up, the time after healing, and what a plan is shrunk towards. */
export const calmNetwork: NetworkPlan = {
  latencyMinUs: 500,
  latencyMaxUs: 1_000,
  lossPermyriad: 0,
  duplicatePermyriad: 0,
  reorderPermyriad: 0,
  reorderMaxUs: 0,
};

export const calmDisk: DiskPlan = { latencyMinUs: 200, latencyMaxUs: 400 };

export const calmPlan: FaultPlan = {
  network: calmNetwork,
  disk: calmDisk,
  buggify: { sitePermyriad: 0, firePermyriad: 0, disabled: [] },
  faults: [],
};

/** What a plan does that a calm run does not; the shrinker makes it smaller. */
export function faultCount(plan: FaultPlan): number {
  const { lossPermyriad, duplicatePermyriad, reorderPermyriad } = plan.network;
  const network = [lossPermyriad, duplicatePermyriad, reorderPermyriad].filter((each) => each > 0);
  return plan.faults.length + network.length + (plan.buggify.sitePermyriad > 0 ? 1 : 0);
}
