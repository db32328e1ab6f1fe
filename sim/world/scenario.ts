import type { ClientRules, Clients, Workload } from './clients.ts';
import type { LabelledStream } from './decisions.ts';
import type { FaultKind } from './fault-plan.ts';
import type { SimHost } from './host.ts';
import type { Checker } from './violation.ts';
import type { World } from './world.ts';

/** What runs, who asks, what must hold. Everything else has a default. */
export interface Scenario<I = unknown, O = unknown> {
  readonly name: string;
  readonly describe?: string;
  /** How much of what ships takes part, from the kernel of the simulator alone to whole agents. */
  readonly depth?: string;
  /** How many machines, `host-0` and on. */
  readonly hosts: number;
  /** Starts what runs on one machine: at the beginning, and again after every restart. */
  readonly boot: (host: SimHost) => void;
  readonly clients?: ClientRules<I>;
  readonly workload?: Partial<Workload>;
  /** What differs from seed to seed beside the faults; what is asked for when it is run goes first. */
  readonly vary?: (random: LabelledStream) => Variation;
  /** Which faults a drawn plan may hold. Default: all but rotting bits and failing disks. */
  readonly faults?: readonly FaultKind[];
  /** Groups of those, such as what a network does: every drawn plan holds one of each. */
  readonly models?: readonly (readonly FaultKind[])[];
  /** At most this many machines are down, cut off or damaged at once. Default: a minority. */
  readonly faultyHostsMax?: number;
  /** How wrong clocks may run. Default: as wrong as a quartz. */
  readonly driftMaxPpm?: number;
  /** Index of the host that matters most now, for faults that are aimed; null: nobody. */
  readonly focus?: (world: World) => number | null;
  readonly checkers?: readonly Checker<Run<I, O>>[];
  /** What counts as progress after healing. Default: ten more operations answered, if there are clients. */
  readonly progressed?: (run: Run<I, O>) => boolean;
  /** Why this run cannot be expected to recover; then no progress is no violation. */
  readonly unrecoverable?: (run: Run<I, O>) => string | null;
  /** What the run ended with, for the trace hash. */
  readonly finalState?: (run: Run<I, O>) => unknown;
  /** Labels of `sometimes` that a campaign must have hit. */
  readonly probes?: readonly string[];
  readonly timing?: Partial<Timing>;
}

/** A size and a load in place of the scenario's own. */
export interface Variation {
  readonly hosts?: number;
  readonly workload?: Partial<Workload>;
}

/** How long each phase takes, in simulated time. */
export interface Timing {
  readonly setUpUs: number;
  readonly chaosUs: number;
  /** By when after healing there must be progress. */
  readonly progressUs: number;
}

/** A run as its checkers see it. */
export interface Run<I = unknown, O = unknown> {
  readonly world: World;
  readonly clients: Clients<I, O>;
}
