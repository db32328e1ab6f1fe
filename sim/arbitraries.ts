/**
 * Topologies, fault plans and workloads as fast-check arbitraries: drawn for every seed here, and there to
 * be used, and shrunk, in properties of one's own.
 */
import fc from 'fast-check';
import type { Workload } from './world/clients.ts';
import {
  type Fault,
  type FaultKind,
  type FaultPlan,
  faultKinds,
  type NetworkPlan,
} from './world/fault-plan.ts';

export interface Topology {
  readonly hosts: number;
  readonly clients: number;
}

export interface PlanShape extends Topology {
  /** Faults begin within it; all end with it. */
  readonly durationUs: number;
  readonly kinds?: readonly FaultKind[];
  /** Groups of those kinds of which every plan holds one fault at least. */
  readonly models?: readonly (readonly FaultKind[])[];
  /** At most this many hosts are ever hit by a crash, pause or disk fault: the same ones all the time. */
  readonly faultyHostsMax?: number;
  readonly faultsMax?: number;
  /** How wrong a clock's rate may be. Default: as wrong as a quartz. */
  readonly driftMaxPpm?: number;
}

/** Runs of a minute have up to four a second; short ones still have a few that meet. */
const FAULTS_PER_SECOND_MAX = 4;
const FAULTS_MAX_AT_LEAST = 24;
const FAULT_MIN_US = 1_000;
const FAULT_MAX_US = 8_000_000;
const CLOCK_FAULT_MAX_US = 60_000_000;
/** Most faults are about as long as a round trip or an election: much goes on within them. */
const SHORT_FAULT_MAX_US = 400_000;
/** Damage is never aimed: it could go from host to host until no quorum is whole. */
const AIMED: ReadonlySet<FaultKind> = new Set([
  ...(['crash', 'pause', 'partition', 'clog', 'loss', 'disk-stall'] as const),
]);
const BURST_APART_US = 3_000;
/** A cascade hits again while what the last fault did is being repaired. */
const CASCADE_APART_US = 1_500_000;
/** A quarter of the sites, each a quarter of the time, as FoundationDB does. */
const BUGGIFY_PERMYRIAD = 2_500;
/** No quartz is worse than this. */
const QUARTZ_DRIFT_PPM = 500;
const JUMP_MAX_US = 3_600_000_000;

function topology(
  bounds: { readonly hostsMax?: number; readonly clientsMax?: number } = {},
): fc.Arbitrary<Topology> {
  return record({
    hosts: fc.integer({ min: 1, max: bounds.hostsMax ?? 7 }),
    clients: fc.integer({ min: 1, max: bounds.clientsMax ?? 8 }),
  });
}

function workload(bounds: { readonly operationsMax?: number } = {}): fc.Arbitrary<Workload> {
  return record({
    clients: fc.integer({ min: 1, max: 8 }),
    operations: fc.integer({ min: 1, max: bounds.operationsMax ?? 1_000 }),
    thinkMinUs: fc.integer({ min: 0, max: 1_000 }),
    thinkMaxUs: fc.integer({ min: 1_000, max: 400_000 }),
    timeoutUs: fc.integer({ min: 200_000, max: 2_000_000 }),
  });
}

function networkPlan(): fc.Arbitrary<NetworkPlan> {
  const sometimes = (max: number): fc.Arbitrary<number> =>
    fc.oneof(fc.constant(0), fc.integer({ min: 1, max }));
  return record({
    latencyMinUs: fc.integer({ min: 100, max: 2_000 }),
    spreadUs: fc.integer({ min: 0, max: 20_000 }),
    lossPermyriad: sometimes(500),
    duplicatePermyriad: sometimes(500),
    reorderPermyriad: sometimes(2_000),
    reorderMaxUs: fc.integer({ min: 1_000, max: 100_000 }),
  }).map(({ spreadUs, ...plan }) => ({ ...plan, latencyMaxUs: plan.latencyMinUs + spreadUs }));
}

function faultPlan(shape: PlanShape): fc.Arbitrary<FaultPlan> {
  const kinds = shape.kinds ?? faultKinds;
  const faultsMax = kinds.length === 0 ? 0 : (shape.faultsMax ?? faultsMaxOf(shape));
  const buggify = fc.constantFrom(0, BUGGIFY_PERMYRIAD).map((sitePermyriad) => ({
    ...{ sitePermyriad, firePermyriad: sitePermyriad, disabled: [] },
  }));
  return faultyHosts(shape).chain((hosts) =>
    record({
      network: networkPlan(),
      disk: record({
        latencyMinUs: fc.integer({ min: 50, max: 500 }),
        latencyMaxUs: fc.integer({ min: 500, max: 20_000 }),
      }),
      buggify,
      faults: ofEveryModel(
        fc
          // Which kinds a run has at all is drawn first: runs of one kind of fault find other bugs.
          .subarray([...kinds], { minLength: Math.min(1, kinds.length) })
          .chain((some) =>
            fc.array(burst(some, shape, hosts), { maxLength: faultsMax, size: 'max' }),
          )
          .map((bursts) => bursts.flat().slice(0, faultsMax)),
        shape,
        hosts,
      ).map((faults) => [...faults].sort((a, b) => a.atUs - b.atUs)),
    }),
  );
}

/** Adds one fault of each model to a run of few kinds, so that no seed is without one. */
function ofEveryModel(
  faults: fc.Arbitrary<readonly Fault[]>,
  shape: PlanShape,
  hosts: readonly number[],
): fc.Arbitrary<readonly Fault[]> {
  const { models = [] } = shape;
  if (models.length === 0) return faults;
  // Between hosts: not all clients use the network.
  const amongHosts = { ...shape, clients: 0 };
  const others = fc.tuple(...models.map((kinds) => fault(kinds, amongHosts, hosts)));
  return fc.tuple(faults, others).map(([drawn, required]) => [...drawn, ...required]);
}

function faultsMaxOf({ durationUs }: PlanShape): number {
  return Math.max(FAULTS_MAX_AT_LEAST, Math.ceil((durationUs * FAULTS_PER_SECOND_MAX) / 1_000_000));
}

/** Faults that come together, such as a power loss of all: independent ones would hardly ever meet. */
function burst(
  kinds: readonly FaultKind[],
  shape: PlanShape,
  hosts: readonly number[],
): fc.Arbitrary<readonly Fault[]> {
  const one = fault(kinds, shape, hosts);
  const many = (maxLength: number, apartUs: number): fc.Arbitrary<readonly Fault[]> =>
    fc.array(one, { minLength: 2, maxLength, size: 'max' }).chain((faults) => {
      const [first] = faults as [Fault];
      const { length } = faults;
      const apart = fc.array(fc.integer({ min: 0, max: apartUs }), {
        ...{ minLength: length, maxLength: length },
      });
      return apart.map((offsets) =>
        faults.map((each, index) => {
          const atUs = Math.min(first.atUs + (offsets[index] ?? 0), shape.durationUs);
          return { ...each, atUs };
        }),
      );
    });
  // The same on every host at one instant, as when the power goes.
  const everywhere = one.map((each) =>
    'host' in each ? hosts.map((host) => ({ ...each, host })) : [each],
  );
  return fc.oneof(
    one.map((each) => [each]),
    many(4, BURST_APART_US),
    many(8, CASCADE_APART_US),
    everywhere,
  );
}

/** Damage stays with a few hosts, so that what a quorum holds is never a fair loss. */
function faultyHosts({ hosts, faultyHostsMax }: PlanShape): fc.Arbitrary<readonly number[]> {
  const all = Array.from({ length: hosts }, (_, host) => host);
  const maxLength = Math.max(1, Math.min(hosts, faultyHostsMax ?? hosts));
  return fc.subarray(all, { minLength: 1, maxLength });
}

function fault(
  kinds: readonly FaultKind[],
  shape: PlanShape,
  hosts: readonly number[],
): fc.Arbitrary<Fault> {
  const nodes = shape.hosts + shape.clients;
  const span = {
    atUs: fc.integer({ min: 0, max: shape.durationUs }),
    forUs: fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: FAULT_MIN_US, max: SHORT_FAULT_MAX_US }) },
      { weight: 1, arbitrary: fc.integer({ min: FAULT_MIN_US, max: FAULT_MAX_US }) },
    ),
  };
  const host = fc.constantFrom(...hosts);
  const node = fc.integer({ min: 0, max: nodes - 1 });
  return fc.constantFrom(...kinds).chain((kind): fc.Arbitrary<Fault> => {
    const drawn = unaimed(kind);
    if (!AIMED.has(kind)) return drawn;
    return fc
      .boolean()
      .chain((aimed) => (aimed ? drawn.map((each) => ({ ...each, aimed })) : drawn));
  });

  function unaimed(kind: FaultKind): fc.Arbitrary<Fault> {
    switch (kind) {
      case 'partition': {
        const all = Array.from({ length: nodes }, (_, index) => index);
        const side = fc.subarray(all, { minLength: 1, maxLength: Math.max(1, nodes - 1) });
        return record({ kind: fc.constant(kind), ...span, side, oneWay: fc.boolean() });
      }
      case 'clog':
        return record({ kind: fc.constant(kind), ...span, from: node, to: node });
      case 'loss': {
        const permyriad = fc.integer({ min: 1_000, max: 9_000 });
        return record({ kind: fc.constant(kind), ...span, from: node, to: node, permyriad });
      }
      case 'reset': {
        const told = fc.constantFrom('both' as const, 'from' as const, 'to' as const);
        return record({ kind: fc.constant(kind), ...span, from: node, to: node, told });
      }
      case 'damage': {
        const permyriad = fc.integer({ min: 10, max: 2_000 });
        return record({ kind: fc.constant(kind), ...span, from: node, to: node, permyriad });
      }
      case 'slow': {
        const bytesPerSec = fc.integer({ min: 20_000, max: 5_000_000 });
        return record({ kind: fc.constant(kind), ...span, from: node, to: node, bytesPerSec });
      }
      case 'clock': {
        const driftMaxPpm = shape.driftMaxPpm ?? QUARTZ_DRIFT_PPM;
        const driftPpm = fc.integer({ min: -driftMaxPpm, max: driftMaxPpm });
        const jumpUs = fc.integer({ min: -JUMP_MAX_US, max: JUMP_MAX_US });
        // A clock that runs wrong does so for long.
        const forUs = fc.integer({ min: FAULT_MAX_US, max: CLOCK_FAULT_MAX_US });
        return record({ kind: fc.constant(kind), ...span, forUs, host, driftPpm, jumpUs });
      }
      default:
        return record({ kind: fc.constant(kind), ...span, host });
    }
  }
}

/** Ordinary objects, equal to what comes back from a file. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}

export const arbitraries: {
  readonly topology: typeof topology;
  readonly workload: typeof workload;
  readonly faultPlan: typeof faultPlan;
} = { topology, workload, faultPlan };

/** The plan of a seed. */
export function drawPlan(seed: number, shape: PlanShape): FaultPlan {
  // fast-check takes 32-bit seeds.
  const [plan] = fc.sample(faultPlan(shape), { seed: seed | 0, numRuns: 1 });
  return plan as FaultPlan;
}
