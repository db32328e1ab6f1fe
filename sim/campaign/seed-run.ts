import { checkDeterminism, type DeterminismReport } from '../determinism.ts';
import { type Replay, recordReplay } from '../replay.ts';
import type { Scenario } from '../world/scenario.ts';
import { type SimulateOptions, type SimulationResult, simulate } from '../world/simulate.ts';
import type { Violation } from '../world/violation.ts';

/** One line of `dwcp sim run --json`. */
export interface SeedReport {
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
  /** The file to replay, when something was found. */
  readonly replay: string | null;
  readonly unrecoverable: string | null;
  /** Null unless the seed ran twice. */
  readonly deterministic: boolean | null;
  readonly difference: DeterminismReport['difference'];
}

export interface SeedRunOptions {
  /** A name of ours or the path of a module. */
  readonly scenario: string;
  readonly checkDeterminism: boolean;
  readonly commit: string;
  readonly simulate: Omit<SimulateOptions, 'seed'>;
}

export interface SeedRun {
  readonly report: SeedReport;
  /** Recorded when something was found. */
  readonly replay: Replay | null;
}

export function runSeed<I, O>(
  scenario: Scenario<I, O>,
  seed: number,
  options: SeedRunOptions,
): SeedRun {
  const one = { ...options.simulate, seed };
  const twice = options.checkDeterminism ? checkDeterminism(scenario, one) : null;
  const result = twice?.result ?? simulate(scenario, one);
  const report = reportOf(result, twice);
  return { report, replay: result.ok ? null : recordReplay(scenario, result, options) };
}

export function reportOf(
  result: SimulationResult,
  twice: DeterminismReport | null = null,
): SeedReport {
  const { scenario, seed, events, simulatedMs, wallMs, traceHash, faults, sometimes } = result;
  return {
    ...{ scenario, seed, ok: result.ok && twice?.equal !== false, events, simulatedMs, wallMs },
    ...{ traceHash, faults, sometimes, violation: result.violation, replay: null },
    unrecoverable: result.unrecoverable,
    deterministic: twice === null ? null : twice.equal,
    difference: twice?.difference ?? null,
  };
}
