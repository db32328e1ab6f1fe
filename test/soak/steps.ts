/** The steps of a move at which an agent can be made to stop: those at which the kill tests kill. */
import { memoryScenarios, qemuScenarios } from '../integration/faults/scenarios.ts';

export interface Step {
  /** Whose agent reaches it. */
  readonly side: 'source' | 'destination';
  readonly step: string;
  /** From the step to the stop, for the middle of a long step. */
  readonly delayMs: number;
}

export function stepsOf(guest: 'memory' | 'qemu'): readonly Step[] {
  const scenarios = guest === 'memory' ? memoryScenarios : qemuScenarios;
  const steps = new Map<string, Step>();
  for (const { victim: side, step, delayMs } of scenarios) {
    const key = `${side} ${step}`;
    if (!steps.has(key)) steps.set(key, { side, step, delayMs });
  }
  return [...steps.values()];
}
