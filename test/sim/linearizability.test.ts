import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkLinearizability } from '../../sim/checkers/linearizability.ts';
import {
  type CasRegisterInput,
  type KvInput,
  type Model,
  models,
  type RegisterInput,
} from '../../sim/checkers/models.ts';
import { type Operation, placed } from '../../sim/checkers/operation.ts';
import { RepeatingSearch } from '../../sim/checkers/repeating-search.ts';
import { Xoshiro } from '../../sim/world/random.ts';

const MAX_MS = 5_000;

type Row = readonly [
  client: number,
  callUs: number,
  returnUs: number | null,
  input: unknown,
  output?: unknown,
];

function verdict<S, I, O>(model: Model<S, I, O>, rows: readonly Row[]): string {
  const ops = rows.map(([client, callUs, returnUs, input, output]) => {
    return { client, callUs, returnUs, input, output } as Operation<I, O>;
  });
  return checkLinearizability(model, ops, { maxMs: MAX_MS }).verdict;
}

const read: RegisterInput = { op: 'read' };
const write = (value: unknown): RegisterInput => ({ op: 'write', value });
const cas = (expect: unknown, value: unknown): CasRegisterInput => ({ op: 'cas', expect, value });

test('histories known good are linearizable', () => {
  const good: readonly (readonly Row[])[] = [
    [],
    [[1, 0, 1, read, null]],
    [
      [1, 0, 10, write(1)],
      [2, 5, 6, read, null],
      [2, 7, 8, read, 1],
    ],
    [
      [1, 0, 10, write(1)],
      [2, 0, 10, write(2)],
      [3, 11, 12, read, 1],
    ],
    // They touch at one instant, so they overlap.
    [
      [1, 0, 10, write(1)],
      [2, 10, 11, read, null],
    ],
    // Of unknown outcome: seen late, or never.
    [
      [1, 0, null, write(1)],
      [2, 5, 6, read, null],
      [2, 70, 80, read, 1],
    ],
    [
      [1, 0, null, write(1)],
      [2, 5, 6, read, null],
      [2, 70, 80, read, null],
    ],
    [
      [1, 0, null, read],
      [2, 5, 6, read, null],
    ],
  ];
  for (const rows of good) assert.equal(verdict(models.register, rows), 'linearizable');
});

test('histories known bad are violations', () => {
  const bad: readonly (readonly Row[])[] = [
    [[1, 0, 1, read, 7]],
    // A stale read.
    [
      [1, 0, 1, write(1)],
      [2, 2, 3, read, null],
    ],
    // New, then old again.
    [
      [1, 0, 100, write(1)],
      [2, 1, 2, read, 1],
      [3, 3, 4, read, null],
    ],
    // Seen, then gone, although its outcome is unknown.
    [
      [1, 0, null, write(1)],
      [2, 5, 6, read, 1],
      [3, 7, 8, read, null],
    ],
    // Read before it was called.
    [
      [1, 5, null, write(1)],
      [2, 1, 2, read, 1],
    ],
    // Two orders of the same writes.
    [
      [1, 0, 9, write(1)],
      [2, 0, 9, write(2)],
      [3, 10, 11, read, 1],
      [4, 12, 13, read, 2],
    ],
  ];
  for (const rows of bad) assert.equal(verdict(models.register, rows), 'violation');
});

test('compare-and-swap is judged by what it answered', () => {
  const wins: readonly Row[] = [
    [1, 0, 1, write(1)],
    [1, 2, 9, cas(1, 2), true],
    [2, 3, 8, cas(1, 3), false],
  ];
  assert.equal(verdict(models.casRegister, [...wins, [3, 10, 11, read, 2]]), 'linearizable');
  assert.equal(verdict(models.casRegister, [...wins, [3, 10, 11, read, 3]]), 'violation');
  const both: readonly Row[] = [
    [1, 0, 1, write(1)],
    [1, 2, 9, cas(1, 2), true],
    [2, 3, 8, cas(1, 3), true],
  ];
  assert.equal(verdict(models.casRegister, both), 'violation');
  // A swap of unknown outcome explains what was read.
  const lost: readonly Row[] = [
    [1, 0, 1, write(1)],
    [2, 2, null, cas(1, 2)],
    [3, 5, 6, read, 2],
  ];
  assert.equal(verdict(models.casRegister, lost), 'linearizable');
});

test('keys are independent, and a violation names its key', () => {
  const ops: Operation<KvInput>[] = [
    { client: 1, callUs: 0, returnUs: 1, input: { op: 'put', key: 'a', value: 1 }, output: null },
    { client: 1, callUs: 2, returnUs: 3, input: { op: 'get', key: 'b' }, output: null },
    {
      client: 1,
      callUs: 4,
      returnUs: 5,
      input: { op: 'append', key: 'b', value: 'x' },
      output: null,
    },
    { client: 1, callUs: 6, returnUs: 7, input: { op: 'get', key: 'b' }, output: 'x' },
    { client: 1, callUs: 8, returnUs: 9, input: { op: 'delete', key: 'b' }, output: null },
    { client: 1, callUs: 10, returnUs: 11, input: { op: 'get', key: 'b' }, output: null },
  ];
  assert.equal(checkLinearizability(models.kv, ops, { maxMs: MAX_MS }).verdict, 'linearizable');
  const stale = {
    client: 2,
    callUs: 12,
    returnUs: 13,
    input: { op: 'get', key: 'a' },
    output: null,
  } as const;
  const result = checkLinearizability(models.kv, [...ops, stale], { maxMs: MAX_MS });
  assert.equal(result.verdict, 'violation');
  assert.equal(result.witness?.key, 'a');
  assert.deepEqual(result.witness.operation, stale);
});

/** Tries every order: right by being dumb. */
function dumb(ops: readonly Operation<CasRegisterInput, unknown>[]): boolean {
  const model = models.casRegister;
  const search = (
    state: unknown,
    left: readonly Operation<CasRegisterInput, unknown>[],
  ): boolean => {
    if (left.every(({ returnUs }) => returnUs === null)) return true;
    return left.some((op) => {
      if (left.some(({ returnUs }) => returnUs !== null && returnUs < op.callUs)) return false;
      const output = op.returnUs === null ? undefined : op.output;
      const next = model.step(state, op.input, output);
      return (
        next !== null &&
        search(
          next.state,
          left.filter((other) => other !== op),
        )
      );
    });
  };
  return search(model.initial(), ops);
}

test('the verdict is that of a search through every order', () => {
  const value = fc.integer({ min: 0, max: 2 });
  const operation = fc
    .record({
      client: fc.integer({ min: 0, max: 3 }),
      callUs: fc.integer({ min: 0, max: 12 }),
      takesUs: fc.option(fc.integer({ min: 0, max: 8 }), { freq: 4 }),
      call: fc.oneof(
        fc.record({ input: fc.constant(read), output: fc.option(value, { nil: null }) }),
        fc.record({ input: value.map(write), output: fc.constant('ok') }),
        fc.record({
          input: fc.tuple(value, value).map(([a, b]) => cas(a, b)),
          output: fc.boolean(),
        }),
      ),
    })
    .map(({ client, callUs, takesUs, call }): Operation<CasRegisterInput, unknown> => {
      return { client, callUs, returnUs: takesUs === null ? null : callUs + takesUs, ...call };
    });
  const verdicts = { linearizable: 0, violation: 0, unknown: 0 };
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 7 }), (ops) => {
      const { verdict } = checkLinearizability(models.casRegister, ops, { maxMs: MAX_MS });
      verdicts[verdict] += 1;
      assert.equal(verdict, dumb(ops) ? 'linearizable' : 'violation');
    }),
    { numRuns: 3_000, seed: 7 },
  );
  assert.ok(verdicts.linearizable > 500 && verdicts.violation > 500, JSON.stringify(verdicts));
});

test('registers whose writes all differ get the same verdict without a search', () => {
  const operation = fc.record({
    callUs: fc.integer({ min: 0, max: 12 }),
    takesUs: fc.option(fc.integer({ min: 0, max: 8 }), { freq: 4 }),
    reads: fc.option(fc.integer({ min: 0, max: 6 })),
    isRead: fc.boolean(),
  });
  const verdicts = { linearizable: 0, violation: 0, unknown: 0 };
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 7 }), (drawn) => {
      const ops = drawn.map(({ callUs, takesUs, reads, isRead }, index) => {
        const returnUs = takesUs === null ? null : callUs + takesUs;
        const call = isRead
          ? { input: read, output: reads }
          : { input: write(index), output: 'ok' };
        return { client: index, callUs, returnUs, ...call };
      });
      const { verdict } = checkLinearizability(models.register, ops, { maxMs: MAX_MS });
      verdicts[verdict] += 1;
      assert.equal(verdict, dumb(ops) ? 'linearizable' : 'violation');
    }),
    { numRuns: 3_000, seed: 7 },
  );
  assert.ok(verdicts.linearizable > 500 && verdicts.violation > 500, JSON.stringify(verdicts));
});

/** What clients of a correct register would have seen: each operation takes effect at an instant. */
function honestHistory(options: {
  readonly operations: number;
  readonly clients: number;
  readonly unknownPercent: number;
  /** Few values make histories that only a search can judge. */
  readonly values: number;
}): Operation<CasRegisterInput, unknown>[] {
  const random = new Xoshiro('honest history');
  const freeUs = new Array<number>(options.clients).fill(0);
  const planned = Array.from({ length: options.operations }, (_, serial) => {
    const client = random.below(options.clients);
    const callUs = (freeUs[client] ?? 0) + random.below(20);
    const effectUs = callUs + random.below(50);
    const returnUs = effectUs + random.below(50);
    freeUs[client] = returnUs + 1;
    const isUnknown = random.below(100) < options.unknownPercent;
    const value = serial % options.values;
    const kind = random.below(options.values < options.operations ? 3 : 2);
    const input = [read, write(value), cas((value * 7 + 1) % options.values, value)][kind] ?? read;
    return { client, callUs, effectUs, returnUs: isUnknown ? null : returnUs, input };
  });
  let value: unknown = null;
  return planned
    .sort((a, b) => a.effectUs - b.effectUs)
    .map(({ client, callUs, returnUs, input }) => {
      const swaps = input.op === 'cas' && input.expect === value;
      if (input.op === 'write' || swaps) value = input.value;
      const output = input.op === 'read' ? value : input.op === 'cas' ? swaps : 'ok';
      return { client, callUs, returnUs, input, output };
    });
}

test('it stays fast on long histories, good and bad, with many outcomes unknown', () => {
  for (const [operations, clients, unknownPercent, values] of [
    [20_000, 8, 0, 20_000],
    [5_000, 40, 5, 5_000],
    [5_000, 4, 0, 5],
    [500, 4, 3, 5],
  ] as const) {
    const ops = honestHistory({ operations, clients, unknownPercent, values });
    const title = `${operations} operations of ${clients} clients`;
    const good = checkLinearizability(models.casRegister, ops, { maxMs: MAX_MS });
    assert.equal(good.verdict, 'linearizable', title);
    const last = Math.max(...ops.map(({ returnUs }) => returnUs ?? 0));
    const times = { callUs: last + 1, returnUs: last + 2 };
    const stale: (typeof ops)[0] = { client: 999, ...times, input: read, output: null };
    const bad = checkLinearizability(models.casRegister, [...ops, stale], { maxMs: MAX_MS });
    assert.equal(bad.verdict, 'violation', title);
    assert.equal(bad.witness?.operation, stale);
  }
});

/** A history that an honest object did not give, in `lies` places. */
function corrupted(
  ops: readonly Operation<CasRegisterInput, unknown>[],
  lies: number,
  values: number,
): Operation<CasRegisterInput, unknown>[] {
  const random = new Xoshiro(`lies ${lies}`);
  const changed = [...ops];
  for (let lie = 0; lie < lies; ) {
    const at = random.below(changed.length);
    const op = changed[at];
    if (op === undefined || op.returnUs === null || op.input.op === 'write') continue;
    const output = op.input.op === 'cas' ? op.output !== true : random.below(values);
    changed[at] = { ...op, output };
    lie += 1;
  }
  return changed;
}

/** Seconds on a machine of its own; the whole suite shares two cores. */
const SOON_MS = 40_000;

test('long bad histories of compare-and-swap with unknown outcomes are violations within seconds', () => {
  for (const [clients, unknownPercent, values, lies] of [
    [4, 3, 5, 0],
    [8, 5, 5, 40],
    [8, 10, 5, 100],
    [4, 5, 3, 0],
    [16, 5, 5, 0],
    [8, 5, 50, 10],
  ] as const) {
    const title = `${clients} clients, ${unknownPercent} % unknown, ${values} values, ${lies} lies`;
    const good = honestHistory({ operations: 2_500, clients, unknownPercent, values });
    const honest = checkLinearizability(models.casRegister, good, { maxMs: SOON_MS });
    assert.equal(honest.verdict, 'linearizable', title);
    const last = Math.max(...good.map(({ returnUs }) => returnUs ?? 0));
    const stale: (typeof good)[0] = {
      ...{ client: 999, callUs: last + 1, returnUs: last + 2, input: read, output: null },
    };
    const bad = lies === 0 ? [...good, stale] : corrupted(good, lies, values);
    const found = checkLinearizability(models.casRegister, bad, { maxMs: SOON_MS });
    assert.equal(found.verdict, 'violation', title);
  }
});

test('what has no order even if unknown operations repeat has none, and never the other way round', () => {
  const value = fc.integer({ min: 0, max: 2 });
  const operation = fc
    .record({
      callUs: fc.integer({ min: 0, max: 12 }),
      takesUs: fc.option(fc.integer({ min: 0, max: 8 }), { freq: 2 }),
      call: fc.oneof(
        fc.record({ input: fc.constant(read), output: fc.option(value, { nil: null }) }),
        fc.record({ input: value.map(write), output: fc.constant('ok') }),
        fc.record({
          input: fc.tuple(value, value).map(([a, b]) => cas(a, b)),
          output: fc.boolean(),
        }),
      ),
    })
    .map(({ callUs, takesUs, call }): Operation<CasRegisterInput, unknown> => {
      return { client: 0, callUs, returnUs: takesUs === null ? null : callUs + takesUs, ...call };
    });
  let proofs = 0;
  let violations = 0;
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 7 }), (ops) => {
      const all = placed(ops);
      const known = all.filter(({ op }) => op.returnUs !== null);
      const unknown = all.filter(({ op }) => op.returnUs === null);
      const byCall = unknown.sort((a, b) => a.callAt - b.callAt);
      const deadlineMs = performance.now() + MAX_MS;
      const verdict = new RepeatingSearch(models.casRegister, known, byCall, deadlineMs).run();
      const isGood = dumb(ops);
      if (!isGood) violations += 1;
      if (typeof verdict === 'string') return;
      proofs += 1;
      assert.equal(isGood, false);
    }),
    { numRuns: 3_000, seed: 11 },
  );
  assert.ok(proofs > 500 && proofs > violations * 0.8, `${proofs} of ${violations} violations`);
});

test('out of time the verdict is unknown', () => {
  const shape = { operations: 5_000, clients: 8, unknownPercent: 0, values: 5 };
  const { verdict } = checkLinearizability(models.casRegister, honestHistory(shape), { maxMs: -1 });
  assert.equal(verdict, 'unknown');
});

test('an operation that returns before its call is refused', () => {
  const op = { client: 1, callUs: 5, returnUs: 4, input: read, output: null };
  assert.throws(() => checkLinearizability(models.register, [op], { maxMs: 1 }), {
    code: 'ERR_DWCP_USAGE',
  });
});
