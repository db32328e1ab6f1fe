export interface Operation<I = unknown, O = unknown> {
  readonly client: number | string;
  readonly callUs: number;
  /** Null: the outcome is unknown, it may happen at any time after its call, or never. */
  readonly returnUs: number | null;
  readonly input: I;
  /** Not looked at when the outcome is unknown. */
  readonly output: O;
}

/** An operation in its history. Positions are places in the order of all calls and returns. */
export interface PlacedOperation<I, O> {
  readonly id: number;
  readonly op: Operation<I, O>;
  callAt: number;
  /** Infinity when the outcome is unknown. */
  returnAt: number;
  readonly inputKey: string;
}

/** Calls come before returns of the same instant, so that operations which touch overlap. */
export function placed<I, O>(ops: readonly Operation<I, O>[]): PlacedOperation<I, O>[] {
  const all = ops.map((op, id) => ({
    id,
    op,
    callAt: 0,
    returnAt: Number.POSITIVE_INFINITY,
    inputKey: op.returnUs === null ? JSON.stringify(op.input) : '',
  }));
  const calls = all.toSorted((a, b) => a.op.callUs - b.op.callUs);
  const returns = all
    .filter(({ op }) => op.returnUs !== null)
    .sort((a, b) => returnUsOf(a) - returnUsOf(b));
  let position = 0;
  let returned = 0;
  const returnBefore = (us: number): void => {
    for (; returned < returns.length; returned += 1) {
      const next = returns[returned] as (typeof all)[number];
      if (returnUsOf(next) >= us) return;
      next.returnAt = position;
      position += 1;
    }
  };
  for (const call of calls) {
    returnBefore(call.op.callUs);
    call.callAt = position;
    position += 1;
  }
  returnBefore(Number.POSITIVE_INFINITY);
  return all;
}

function returnUsOf({ op }: { readonly op: Operation }): number {
  return op.returnUs as number;
}
