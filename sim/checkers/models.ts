/**
 * Sequential objects that histories are checked against. Values are compared by content, so plain data of
 * any kind can be stored.
 */

/** `output` is undefined when the outcome is unknown: then any answer of the object is accepted. */
export interface Model<S = unknown, I = unknown, O = unknown> {
  initial(): S;
  /** The next state, or null when the object could not have given this output here. */
  step(state: S, input: I, output: O | undefined): { readonly state: S } | null;
  /** Equal states have equal keys. */
  key(state: S): string;
  /** Independent parts of the object: histories are checked apart for each. */
  partition?(input: I): string;
  /** With this output the operation changes no state, whenever it happened. Output undefined: unknown. */
  observes?(input: I, output: O | undefined): boolean;
  /**
   * Whatever `narrow` makes of any state that it changes, `wide` would make of it too, and never the other
   * way round.
   */
  covers?(wide: I, narrow: I): boolean;
  /** The operation as one of a plain register, where it is: such histories are checked much faster. */
  asRegister?(input: I): RegisterInput | null;
}

export type RegisterInput =
  | { readonly op: 'read' }
  | { readonly op: 'write'; readonly value: unknown };

export type CasRegisterInput =
  | RegisterInput
  | { readonly op: 'cas'; readonly expect: unknown; readonly value: unknown };

export type KvInput =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'put'; readonly key: string; readonly value: unknown }
  | { readonly op: 'append'; readonly key: string; readonly value: string }
  | { readonly op: 'delete'; readonly key: string }
  | {
      readonly op: 'cas';
      readonly key: string;
      readonly expect: unknown;
      readonly value: unknown;
    };

/** `read` answers the value, null at first; what `write` answers does not matter. */
const register: Model<unknown, RegisterInput, unknown> = {
  initial: () => null,
  step: (state, input, output) => stepRegister(state, input, output),
  key: keyOf,
  observes: (input) => input.op === 'read',
  asRegister: (input) => input,
};

/** And `cas` answers whether it wrote. */
const casRegister: Model<unknown, CasRegisterInput, unknown> = {
  initial: () => null,
  step: (state, input, output) => stepRegister(state, input, output),
  key: keyOf,
  observes: (input, output) => input.op === 'read' || (input.op === 'cas' && output === false),
  covers: (wide, narrow) =>
    wide.op === 'write' && narrow.op === 'cas' && same(wide.value, narrow.value),
  asRegister: (input) => (input.op === 'cas' ? null : input),
};

/** Many registers by key: `get`, `put`, `append` (to a string), `delete` and `cas`. */
const kv: Model<unknown, KvInput, unknown> = {
  initial: () => null,
  step: (state, input, output) => {
    if (input.op === 'get') return stepRegister(state, { op: 'read' }, output);
    if (input.op === 'delete') return { state: null };
    if (input.op === 'append') return { state: `${state ?? ''}${input.value}` };
    if (input.op === 'put') return { state: input.value };
    return stepRegister(state, input, output);
  },
  key: keyOf,
  partition: (input) => input.key,
  covers: (wide, narrow) =>
    narrow.op === 'cas' &&
    (wide.op === 'put' || wide.op === 'delete') &&
    same(wide.op === 'put' ? wide.value : null, narrow.value),
  observes: (input, output) => input.op === 'get' || (input.op === 'cas' && output === false),
  asRegister: (input) => {
    if (input.op === 'get') return { op: 'read' };
    if (input.op === 'put') return { op: 'write', value: input.value };
    return input.op === 'delete' ? { op: 'write', value: null } : null;
  },
};

export const models: {
  readonly register: typeof register;
  readonly casRegister: typeof casRegister;
  readonly kv: typeof kv;
} = { register, casRegister, kv };

function stepRegister(
  state: unknown,
  input: { readonly op: string; readonly expect?: unknown; readonly value?: unknown },
  output: unknown,
): { readonly state: unknown } | null {
  if (input.op === 'read') return output === undefined || same(state, output) ? { state } : null;
  if (input.op === 'write') return { state: input.value };
  const swaps = same(state, input.expect);
  if (output !== undefined && output !== swaps) return null;
  return { state: swaps ? input.value : state };
}

/** Nothing stored and null are one. */
function same(a: unknown, b: unknown): boolean {
  return a === b || keyOf(a) === keyOf(b);
}

/** Equal values have equal keys. */
export function keyOf(value: unknown): string {
  if (typeof value === 'string') return `s${value}`;
  if (typeof value === 'number') return `n${value}`;
  return JSON.stringify(value ?? null, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([x], [y]) => (x < y ? -1 : 1)))
      : item,
  );
}
