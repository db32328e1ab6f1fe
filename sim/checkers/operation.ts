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
    ...{ id, op, callAt: 0, returnAt: Number.POSITIVE_INFINITY },
    inputKey: op.returnUs === null ? JSON.stringify(op.input) : '',
  }));
  const instants = all.flatMap((each) => {
    const call = { us: each.op.callUs, isReturn: 0, each };
    const { returnUs } = each.op;
    return returnUs === null ? [call] : [call, { us: returnUs, isReturn: 1, each }];
  });
  instants.sort((a, b) => a.us - b.us || a.isReturn - b.isReturn || a.each.id - b.each.id);
  for (const [position, { isReturn, each }] of instants.entries()) {
    if (isReturn === 1) each.returnAt = position;
    else each.callAt = position;
  }
  return all;
}
