/** Checkers as a scenario lists them. */
import { toPlain } from '../world/plain.ts';
import type { Run } from '../world/scenario.ts';
import type { Checker } from '../world/violation.ts';
import { checkLinearizability } from './linearizability.ts';
import type { Model } from './models.ts';
import type { Operation } from './operation.ts';
import { checkOwnership, type RunInterval } from './ownership.ts';

/** Wall time, which a busy machine shares out: the search itself mostly takes milliseconds. */
const MAX_MS = 60_000;

/** The history of the scenario's clients is that of one object. Running out of time is a finding too. */
function linearizability<S, I, O>(
  model: Model<S, I, O>,
  options: { readonly maxMs?: number } = {},
): Checker<Run<I, O>> {
  return {
    name: 'linearizability',
    audit: ({ clients }) => {
      const history = clients.history as readonly Operation<I, O>[];
      const result = checkLinearizability(model, history, { maxMs: options.maxMs ?? MAX_MS });
      if (result.verdict === 'linearizable') return null;
      const { witness } = result;
      const message =
        witness === undefined
          ? 'the checker ran out of time, which is no pass'
          : `no order explains ${JSON.stringify(toPlain(witness.operation))}`;
      return { message, details: toPlain(witness ?? null) };
    },
  };
}

/** `intervals` says who ran when, as the guests themselves saw it. */
function ownership<I, O>(
  intervals: (run: Run<I, O>) => readonly RunInterval[],
): Checker<Run<I, O>> {
  return {
    name: 'ownership',
    audit: (run) => {
      const { witness } = checkOwnership(intervals(run));
      return witness === undefined ? null : { message: witness.reason, details: witness };
    },
  };
}

/** Any rule of one's own: `look` answers what is wrong, after every event and at the end. */
function invariant<I, O>(
  name: string,
  look: (run: Run<I, O>) => string | null,
): Checker<Run<I, O>> {
  const finding = (run: Run<I, O>): { message: string } | null => {
    const message = look(run);
    return message === null ? null : { message };
  };
  return { name, onEvent: finding, audit: finding };
}

export const checkers: {
  readonly linearizability: typeof linearizability;
  readonly ownership: typeof ownership;
  readonly invariant: typeof invariant;
} = { linearizability, ownership, invariant };
