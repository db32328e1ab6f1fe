/** One seed, from set-up to the final audit. */
import { assert } from '../../src/util/assert.ts';
import { drawPlan } from '../arbitraries.ts';
import { Clients, type Workload } from './clients.ts';
import { type DecisionLog, Decisions, type ReplayFit } from './decisions.ts';
import type { SimEvent } from './event-queue.ts';
import { type FaultKind, type FaultPlan, faultKinds } from './fault-plan.ts';
import { Faults } from './faults.ts';
import type { Run, Scenario, Timing } from './scenario.ts';
import type { Violation } from './violation.ts';
import { World } from './world.ts';

export interface SimulateOptions {
  readonly seed: number;
  /** Default: drawn from the seed. */
  readonly plan?: FaultPlan;
  readonly workload?: Partial<Workload>;
  readonly timing?: Partial<Timing>;
  readonly hosts?: number;
  /** Draws of an earlier run to repeat. */
  readonly decisions?: DecisionLog | null;
  readonly recordDecisions?: boolean;
  /** Sees each event before it runs, and the rolling hash up to it. */
  readonly onEvent?: (event: SimEvent, rolling: number) => void;
}

export interface SimulationResult {
  readonly scenario: string;
  readonly seed: number;
  readonly ok: boolean;
  readonly events: number;
  readonly simulatedMs: number;
  readonly wallMs: number;
  readonly traceHash: string;
  readonly faults: Readonly<Record<string, number>>;
  readonly sometimes: Readonly<Record<string, number>>;
  readonly violation: Violation | null;
  /** Why no progress was asked for, when the scenario says that this run could not recover. */
  readonly unrecoverable: string | null;
  readonly configuration: RunConfiguration;
  /** Empty unless recorded. */
  readonly decisions: DecisionLog;
  /** How a replayed decision log fitted; null when none was replayed. */
  readonly fit: ReplayFit | null;
  readonly history: Clients<unknown, unknown>['history'];
}

/** All that a run depends on beside its seed and its code. */
export interface RunConfiguration {
  readonly hosts: number;
  readonly plan: FaultPlan;
  readonly workload: Workload;
  readonly timing: Timing;
}

const DEFAULT_TIMING: Timing = {
  setUpUs: 2_000_000,
  chaosUs: 60_000_000,
  progressUs: 30_000_000,
};

const DEFAULT_WORKLOAD: Workload = {
  clients: 4,
  operations: 1_000,
  thinkMinUs: 1_000,
  thinkMaxUs: 400_000,
  timeoutUs: 1_000_000,
};

const OPERATIONS_AFTER_HEALING = 10;

const DEFAULT_FAULTS: readonly FaultKind[] = faultKinds.filter(
  (kind) => !['disk-full', 'disk-fsync-error', 'disk-bit-rot'].includes(kind),
);

export function configure<I, O>(
  scenario: Scenario<I, O>,
  options: SimulateOptions,
): RunConfiguration {
  const chance = new Decisions({ seed: options.seed, replay: null, record: false });
  const varied = scenario.vary?.(chance.stream('variation')) ?? {};
  const hosts = options.hosts ?? varied.hosts ?? scenario.hosts;
  assert(hosts > 0, 'at least one host');
  const timing = { ...DEFAULT_TIMING, ...scenario.timing, ...options.timing };
  const noClients = scenario.clients === undefined ? { clients: 0, operations: 0 } : {};
  const asked = {
    ...{ ...DEFAULT_WORKLOAD, ...scenario.workload, ...varied.workload, ...options.workload },
  };
  const workload = { ...asked, ...noClients };
  const plan =
    options.plan ??
    drawPlan(options.seed, {
      hosts,
      clients: workload.clients,
      durationUs: timing.chaosUs,
      kinds: scenario.faults ?? DEFAULT_FAULTS,
      ...(scenario.models === undefined ? {} : { models: scenario.models }),
      ...(scenario.driftMaxPpm === undefined ? {} : { driftMaxPpm: scenario.driftMaxPpm }),
      faultyHostsMax: scenario.faultyHostsMax ?? Math.max(1, Math.floor((hosts - 1) / 2)),
    });
  return { hosts, plan, workload, timing };
}

export function simulate<I, O>(
  scenario: Scenario<I, O>,
  options: SimulateOptions,
): SimulationResult {
  const startedMs = performance.now();
  const configuration = configure(scenario, options);
  const { hosts, plan, workload, timing } = configuration;
  const world = new World({
    seed: options.seed,
    plan,
    hosts: names('host', hosts),
    clients: names('client', workload.clients),
    replay: options.decisions ?? null,
    recordDecisions: options.recordDecisions ?? false,
    onEvent: options.onEvent ?? null,
  });
  const rules = scenario.clients ?? NO_CLIENTS;
  const clients = new Clients<I, O>(world, workload, rules as NonNullable<typeof scenario.clients>);
  const run: Run<I, O> = { world, clients };
  for (const checker of scenario.checkers ?? []) world.checkers.push(bind(checker, run));
  const faults = new Faults(world, plan, scenario);
  const at = (atUs: number, kind: string, what: () => void): void => {
    world.schedule(atUs, 'phase', kind, null, what);
  };

  at(0, 'set up', () => {
    for (const host of world.hosts) scenario.boot(host);
  });
  at(timing.setUpUs, 'chaos', () => {
    faults.start();
    clients.start();
  });
  const chaosEndUs = timing.setUpUs + timing.chaosUs;
  world.run(chaosEndUs - 1);
  let unrecoverable: string | null = null;
  if (world.violation === null) unrecoverable = demandProgress(scenario, run, faults, timing);
  if (world.violation === null) world.audit();
  // What a checker finds at the end belongs to the run as much as its events.
  world.hash.value([world.violation, scenario.finalState?.(run) ?? null]);
  for (const host of world.hosts) world.hash.value(host.disk.durableState());
  return {
    scenario: scenario.name,
    seed: options.seed,
    ok: world.violation === null,
    events: world.events,
    simulatedMs: Math.round(world.nowUs / 1_000),
    wallMs: Math.round(performance.now() - startedMs),
    traceHash: world.hash.digest(),
    faults: { ...faults.counts, ...prefixed('buggify/', world.probes.fired()) },
    sometimes: world.probes.counts(),
    violation: world.violation,
    unrecoverable,
    configuration,
    decisions: world.decisions.log(),
    fit: world.decisions.fit(),
    history: clients.history,
  };
}

/** Heals, then wants progress in bounded time: a run that cannot is stuck, or lost by design. */
function demandProgress<I, O>(
  scenario: Scenario<I, O>,
  run: Run<I, O>,
  faults: Faults,
  timing: Timing,
): string | null {
  const { world, clients } = run;
  let answeredBefore = 0;
  world.schedule(world.nowUs, 'phase', 'heal', null, () => {
    faults.heal();
    answeredBefore = clients.answered;
    clients.extend(OPERATIONS_AFTER_HEALING);
  });
  const enough = OPERATIONS_AFTER_HEALING / 2;
  const progressed =
    scenario.progressed ??
    (() => scenario.clients === undefined || clients.answered >= answeredBefore + enough);
  const deadlineUs = world.nowUs + timing.progressUs;
  let reached = false;
  world.run(deadlineUs, () => {
    reached = progressed(run);
    return reached && clients.finished;
  });
  if (world.violation !== null || reached) return null;
  const why = scenario.unrecoverable?.(run) ?? null;
  if (why === null) {
    const waitedMs = timing.progressUs / 1_000;
    world.violate('progress', `stuck: no progress within ${waitedMs} simulated ms after healing`);
  }
  return why;
}

const NO_CLIENTS: Scenario['clients'] = { next: () => null };

function bind<I, O>(
  checker: NonNullable<Scenario<I, O>['checkers']>[number],
  run: Run<I, O>,
): World['checkers'][number] {
  const { name, onEvent, audit } = checker;
  return {
    name,
    ...(onEvent === undefined ? {} : { onEvent: () => onEvent(run) }),
    ...(audit === undefined ? {} : { audit: () => audit(run) }),
  };
}

function names(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${kind}-${index}`);
}

function prefixed(
  prefix: string,
  counts: Readonly<Record<string, number>>,
): Record<string, number> {
  const entries = Object.entries(counts).map(([key, count]) => [`${prefix}${key}`, count] as const);
  return Object.fromEntries(entries);
}
