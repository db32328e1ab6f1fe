/** A run as a file: enough to repeat it on the same commit, and by its labelled draws on a later one. */
import { DwcpError } from '../src/util/errors.ts';
import type { DecisionLog } from './world/decisions.ts';
import { knownFaultKinds } from './world/fault-plan.ts';
import type { Scenario } from './world/scenario.ts';
import {
  type RunConfiguration,
  type SimulateOptions,
  type SimulationResult,
  simulate,
} from './world/simulate.ts';
import type { Violation } from './world/violation.ts';

export interface Replay {
  readonly format: 'dwcp-replay-1';
  /** As it was asked for: a name of ours, or the path of a module. */
  readonly scenario: string;
  readonly commit: string;
  readonly nodeVersion: string;
  readonly seed: number;
  readonly configuration: RunConfiguration;
  readonly decisions: DecisionLog;
  readonly traceHash: string;
  readonly violation: Violation | null;
  /** The bug of the museum that was planted; absent for clean code. */
  readonly bug?: string;
}

/** Runs the seed once more, recording. */
export function recordReplay<I, O>(
  scenario: Scenario<I, O>,
  run: { readonly seed: number; readonly configuration: RunConfiguration },
  origin: Pick<Replay, 'scenario' | 'commit' | 'bug'>,
): Replay {
  const { seed, configuration } = run;
  const result = simulate(scenario, { ...configuration, seed, recordDecisions: true });
  const { decisions, traceHash, violation } = result;
  const made = { format: 'dwcp-replay-1', ...origin, nodeVersion: process.version } as const;
  return { ...made, seed, configuration, decisions, traceHash, violation };
}

export interface ReplayOutcome {
  readonly result: SimulationResult;
  /** The same events to the last byte. */
  readonly sameTrace: boolean;
  /** The same checker found something, or nothing was found then and now. */
  readonly reproduced: boolean;
}

export function runReplay<I, O>(
  scenario: Scenario<I, O>,
  replay: Replay,
  options: Pick<SimulateOptions, 'onEvent'> = {},
): ReplayOutcome {
  const { seed, configuration, decisions, traceHash, violation } = replay;
  const result = simulate(scenario, { ...configuration, ...options, seed, decisions });
  const reproduced = result.violation?.checker === violation?.checker;
  return { result, sameTrace: result.traceHash === traceHash, reproduced };
}

export function parseReplay(text: string, where: string): Replay {
  let parsed: Partial<Replay> | null;
  try {
    parsed = JSON.parse(text) as Partial<Replay> | null;
  } catch {
    parsed = null;
  }
  const { format, scenario, seed, configuration, decisions } = parsed ?? {};
  const isWhole =
    format === 'dwcp-replay-1' &&
    typeof scenario === 'string' &&
    Number.isSafeInteger(seed) &&
    Array.isArray(configuration?.plan?.faults) &&
    typeof configuration.workload === 'object' &&
    typeof configuration.timing === 'object' &&
    typeof decisions === 'object';
  if (isWhole) {
    checkFaults(configuration.plan.faults, where);
    return parsed as Replay;
  }
  throw new DwcpError('ERR_DWCP_PROTOCOL', `${where} is no replay file of this version`, {
    hint: 'A replay file is what "dwcp sim run" writes for a seed that fails.',
  });
}

/** A fault that nobody knows would be left out, and the run be another one. */
function checkFaults(faults: readonly { readonly kind: string }[], where: string): void {
  const known: readonly string[] = knownFaultKinds;
  const unknown = faults.find(({ kind }) => !known.includes(kind));
  if (unknown === undefined) return;
  throw new DwcpError(
    'ERR_DWCP_USAGE',
    `${where} has a fault "${unknown.kind}", which is unknown`,
    {
      hint: `There are: ${known.join(', ')}.`,
    },
  );
}
