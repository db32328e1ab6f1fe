/**
 * Makes a failing run small: fewer faults, a calmer network, less work, as long as the same checker fails.
 * Chance is split by label, so a fault that is taken away does not redraw what it had nothing to do with.
 */
import type { Fault, FaultPlan } from './world/fault-plan.ts';
import { calmDisk, calmNetwork, faultCount } from './world/fault-plan.ts';
import type { Scenario } from './world/scenario.ts';
import { type RunConfiguration, type SimulationResult, simulate } from './world/simulate.ts';

export interface ShrinkOptions {
  readonly maxMs: number;
  readonly maxRuns: number;
  /** After every run that still fails. */
  readonly onProgress?: (faults: number, runs: number) => void;
}

export interface ShrinkResult {
  readonly configuration: RunConfiguration;
  readonly result: SimulationResult;
  readonly runs: number;
  readonly faultsBefore: number;
  readonly faultsAfter: number;
}

/** Null when the run does not fail to begin with. */
export function shrink<I, O>(
  scenario: Scenario<I, O>,
  run: { readonly seed: number; readonly configuration: RunConfiguration },
  options: ShrinkOptions,
): ShrinkResult | null {
  const { seed, configuration } = run;
  const first = simulate(scenario, { ...configuration, seed });
  const checker = first.violation?.checker;
  if (checker === undefined) return null;
  const deadlineMs = performance.now() + options.maxMs;
  let best = { configuration, result: first };
  let runs = 1;
  const fails = (candidate: RunConfiguration): boolean => {
    if (runs >= options.maxRuns || performance.now() > deadlineMs) return false;
    runs += 1;
    const result = simulate(scenario, { ...candidate, seed });
    if (result.violation?.checker !== checker) return false;
    best = { configuration: candidate, result };
    options.onProgress?.(faultCount(candidate.plan), runs);
    return true;
  };
  const failsWith = (change: Partial<FaultPlan>): boolean =>
    fails({ ...best.configuration, plan: { ...best.configuration.plan, ...change } });

  dropLater(best.configuration, best.result, fails);
  for (let before = -1; before !== faultCount(best.configuration.plan); ) {
    before = faultCount(best.configuration.plan);
    removeFaults(best.configuration.plan.faults, (faults) => failsWith({ faults }));
    calm(() => best.configuration.plan, failsWith);
    lessWork(() => best.configuration, fails);
  }
  simplify(
    () => best.configuration.plan.faults,
    (faults) => failsWith({ faults }),
  );
  const faultsAfter = faultCount(best.configuration.plan);
  return { ...best, runs, faultsBefore: faultCount(configuration.plan), faultsAfter };
}

type Attempt<T> = (candidate: T) => boolean;

/** What comes after the violation cannot have caused it; what a final audit found may lie anywhere. */
function dropLater(
  configuration: RunConfiguration,
  { violation }: SimulationResult,
  fails: Attempt<RunConfiguration>,
): void {
  const { timing, plan } = configuration;
  const chaosUs = (violation?.atUs ?? Number.POSITIVE_INFINITY) - timing.setUpUs;
  if (chaosUs <= 0 || chaosUs >= timing.chaosUs) return;
  const faults = plan.faults.filter(({ atUs }) => atUs <= chaosUs);
  fails({ ...configuration, plan: { ...plan, faults } });
}

/** Delta debugging: halves first, then ever smaller parts, until no single fault can go. */
function removeFaults(faults: readonly Fault[], fails: Attempt<readonly Fault[]>): void {
  let left = faults;
  if (left.length > 0 && fails([])) return;
  for (let size = Math.ceil(left.length / 2); size >= 1 && left.length > 0; ) {
    let removed = false;
    for (let from = 0; from < left.length; ) {
      const fewer = [...left.slice(0, from), ...left.slice(from + size)];
      if (fewer.length < left.length && fails(fewer)) {
        left = fewer;
        removed = true;
      } else {
        from += size;
      }
    }
    if (size === 1 && !removed) return;
    size = size === 1 ? 1 : Math.floor(size / 2);
  }
}

function calm(plan: () => FaultPlan, failsWith: Attempt<Partial<FaultPlan>>): void {
  const network = (): FaultPlan['network'] => plan().network;
  if (plan().buggify.sitePermyriad > 0) {
    failsWith({ buggify: { sitePermyriad: 0, firePermyriad: 0, disabled: [] } });
  }
  if (JSON.stringify(plan().disk) !== JSON.stringify(calmDisk)) failsWith({ disk: calmDisk });
  if (JSON.stringify(network()) === JSON.stringify(calmNetwork)) return;
  if (failsWith({ network: calmNetwork })) return;
  for (const which of ['lossPermyriad', 'duplicatePermyriad', 'reorderPermyriad'] as const) {
    if (network()[which] > 0) failsWith({ network: { ...network(), [which]: 0 } });
  }
}

function lessWork(configuration: () => RunConfiguration, fails: Attempt<RunConfiguration>): void {
  for (;;) {
    const { workload } = configuration();
    const operations = Math.floor(workload.operations / 2);
    const candidate = { ...configuration(), workload: { ...workload, operations } };
    if (operations === 0 || !fails(candidate)) return;
  }
}

/** Each fault for half as long, and partitions both ways, where that still fails. */
function simplify(faults: () => readonly Fault[], fails: Attempt<readonly Fault[]>): void {
  for (let index = 0; index < faults().length; index += 1) {
    const replaced = (fault: Fault): Fault[] =>
      faults().map((old, at) => (at === index ? fault : old));
    for (let fault = faults()[index]; fault !== undefined && fault.forUs > 1_000; ) {
      const shorter = { ...fault, forUs: Math.floor(fault.forUs / 2) };
      fault = fails(replaced(shorter)) ? shorter : undefined;
    }
    const fault = faults()[index];
    if (fault?.kind === 'partition' && fault.oneWay) fails(replaced({ ...fault, oneWay: false }));
  }
}
