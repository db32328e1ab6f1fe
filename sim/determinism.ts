/** Runs a seed twice and compares every event: what differs first is where chance got in from outside. */
import { toPlain } from './world/plain.ts';
import type { Scenario } from './world/scenario.ts';
import { type SimulateOptions, type SimulationResult, simulate } from './world/simulate.ts';

export interface DeterminismReport {
  readonly equal: boolean;
  /** Of the first run. */
  readonly result: SimulationResult;
  readonly difference: {
    /** Events before it were the same. */
    readonly event: number;
    /** Null: that run had ended. */
    readonly first: EventText | null;
    readonly second: EventText | null;
  } | null;
}

export interface EventText {
  readonly atUs: number;
  readonly kind: string;
  readonly actor: string;
  readonly data: unknown;
}

/** Enough for a minute of a busy cluster; beyond it runs are compared by their hashes alone. */
const EVENTS_KEPT_MAX = 2_000_000;

export function checkDeterminism<I, O>(
  scenario: Scenario<I, O>,
  options: SimulateOptions,
): DeterminismReport {
  const hashes: number[] = [];
  const result = simulate(scenario, {
    ...options,
    onEvent: (_event, rolling) => {
      if (hashes.length < EVENTS_KEPT_MAX) hashes.push(rolling);
    },
  });
  let count = 0;
  let different = -1;
  const second = simulate(scenario, {
    ...options,
    onEvent: (_event, rolling) => {
      if (different < 0 && count < EVENTS_KEPT_MAX && hashes[count] !== rolling) different = count;
      count += 1;
    },
  });
  if (second.traceHash === result.traceHash) return { equal: true, result, difference: null };
  const event = different >= 0 ? different : Math.min(count, hashes.length);
  const texts = [eventAt(scenario, options, event), eventAt(scenario, options, event)];
  const difference = { event, first: texts[0] ?? null, second: texts[1] ?? null };
  return { equal: false, result, difference };
}

function eventAt<I, O>(
  scenario: Scenario<I, O>,
  options: SimulateOptions,
  wanted: number,
): EventText | null {
  let text: EventText | null = null;
  let count = 0;
  simulate(scenario, {
    ...options,
    onEvent: ({ atUs, kind, actor, data }) => {
      if (count === wanted) text = { atUs, kind, actor, data: toPlain(data) };
      count += 1;
    },
  });
  return text;
}
