import type { Completion } from '../../util/errors.ts';
import { inTurn } from '../../util/in-turn.ts';

/** Something asked of the disk; the next one is asked only after it went well. */
export type Step = (next: Completion<void>) => void;

export function steps(all: readonly Step[], done: Completion<void>): void {
  inTurn(
    all,
    (step: Step, next: Completion<void>) => step(next),
    (outcome) => done(outcome.ok ? { ok: true, value: undefined } : outcome),
  );
}
