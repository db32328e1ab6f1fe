/**
 * Quick proofs that a history has no order. Operations of unknown outcome make the exact search exponential,
 * because it must remember which of them are spent. Here each may happen again and again: what has no order
 * even so has none. And where there is one, the fewest of them that any order needs are counted, all
 * together and by what they lead to: more than there are is as impossible.
 *
 * Level by level, a level being a return: the configurations (operations in order ahead of their return,
 * state) that are possible just before it, each with the least that it cost.
 */
import type { Model } from './models.ts';
import type { PlacedOperation } from './operation.ts';

/** The return that nothing reaches, or that all is well as far as can be seen, or that it cannot be seen. */
export type RepeatingVerdict = { readonly stuckAt: number } | 'possible' | 'unknown';

/** Open operations are bits of a word. */
const SLOTS_MAX = 30;
/** An object with more states than this is left to the search. */
const STATES_MAX = 1_000;
const CONFIGURATIONS_MAX = 200_000;
const STEPS_PER_LOOK_AT_CLOCK = 1_024;
const NO_STATE = -1;
const NOT_TRIED = -2;
const ANYTHING = -1;
const NOTHING = -2;

interface Slotted {
  readonly bit: number;
  /** Of equal input and output. */
  readonly kind: number;
  readonly returnAt: number;
  readonly callAt: number;
  readonly observes: boolean;
}

interface Reach {
  readonly state: number;
  readonly cost: number;
}

export class RepeatingSearch<S, I, O> {
  readonly #model: Model<S, I, O>;
  readonly #deadlineMs: number;
  readonly #returns: readonly Slotted[] | null;
  /** Per return, what may come before it: called by then, and not over before. */
  readonly #open: readonly (readonly Slotted[])[];
  /** Kinds of unknown operations, and where the first of each kind was called. */
  readonly #unknownKinds: { readonly kind: number; readonly callAt: number }[] = [];
  readonly #unknown: readonly { readonly kind: number; readonly callAt: number }[];
  readonly #kinds = new Map<string, number>();
  readonly #samples: { readonly input: I; readonly output: O | undefined }[] = [];
  readonly #states = new Map<string, number>();
  readonly #values: S[] = [];
  /** By state, then by kind: the next state. */
  readonly #steps: number[][] = [];
  #reaches: (readonly Reach[] | undefined)[] = [];
  #reachKinds = 0;
  #looks = 0;

  constructor(
    model: Model<S, I, O>,
    completed: readonly PlacedOperation<I, O>[],
    unknown: readonly PlacedOperation<I, O>[],
    deadlineMs: number,
  ) {
    this.#model = model;
    this.#deadlineMs = deadlineMs;
    this.#returns = this.#slotted(completed);
    this.#open = this.#returns === null ? [] : openAt(this.#returns);
    this.#unknown = unknown.map(({ op, callAt }) => ({
      ...{ kind: this.#kindOf(op.input, undefined), callAt },
    }));
    const seen = new Set<number>();
    for (const each of this.#unknown) {
      if (!seen.has(each.kind)) this.#unknownKinds.push(each);
      seen.add(each.kind);
    }
  }

  run(): RepeatingVerdict {
    if (this.#returns === null) return 'unknown';
    // What leads to a state is known only once all states are.
    const first = this.#pass(NOTHING);
    if (first !== 'possible') return first;
    const groups = [ANYTHING, ...this.#values.keys()];
    for (const group of groups) {
      const verdict = this.#pass(group);
      if (verdict !== 'possible') return verdict;
    }
    return 'possible';
  }

  /** Counts what leads to `group`. */
  #pass(group: number): RepeatingVerdict {
    const returns = this.#returns ?? [];
    const callsOfGroup = this.#unknown.filter(({ kind }) => this.#leadsTo(kind, group));
    this.#forgetReaches();
    let level = new Map<number, number>([
      [this.#keyOf(0, this.#stateOf(this.#model.initial())), 0],
    ]);
    for (const [at, wanted] of returns.entries()) {
      const supply =
        group === NOTHING
          ? 0
          : callsOfGroup.filter(({ callAt }) => callAt < wanted.returnAt).length;
      const next = this.#level(level, at, wanted, group, supply);
      if (next === null) return 'unknown';
      if (next.size === 0) return { stuckAt: at };
      level = next;
    }
    return 'possible';
  }

  /** Null when there are too many, or the time is over. */
  #level(
    level: ReadonlyMap<number, number>,
    at: number,
    wanted: Slotted,
    group: number,
    supply: number,
  ): Map<number, number> | null {
    const next = new Map<number, number>();
    const costs = new Map<number, number>();
    const work: number[] = [];
    const reachable = (key: number, cost: number): void => {
      const { bits, state } = this.#parts(key);
      const to = (bits & wanted.bit) === 0 ? costs : next;
      const settled = to === next ? this.#keyOf(bits & ~wanted.bit, state) : key;
      const known = to.get(settled);
      if (known !== undefined && known <= cost) return;
      to.set(settled, cost);
      if (to === costs) work.push(key);
    };
    for (const [key, cost] of level) reachable(key, cost);
    const open = this.#open[at] ?? [];
    for (let key = work.pop(); key !== undefined; key = work.pop()) {
      if (costs.size + next.size > CONFIGURATIONS_MAX || this.#isLate()) return null;
      const cost = costs.get(key) ?? 0;
      const { bits, state } = this.#parts(key);
      const pending = open.filter(({ bit }) => (bits & bit) === 0);
      // What never changes anything and is possible now loses nothing by happening now.
      const free = pending.find(({ kind, observes }) => observes && this.#step(state, kind) >= 0);
      if (free !== undefined) {
        reachable(this.#keyOf(bits | free.bit, state), cost);
        continue;
      }
      const reaches = this.#reachesOf(state, wanted.returnAt, group);
      if (reaches === null) return null;
      for (const { bit, kind } of pending) {
        const direct = this.#step(state, kind);
        if (direct >= 0) reachable(this.#keyOf(bits | bit, direct), cost);
        for (const reach of reaches) {
          const after = this.#step(reach.state, kind);
          if (after < 0 || after === direct || cost + reach.cost > supply) continue;
          reachable(this.#keyOf(bits | bit, after), cost + reach.cost);
        }
      }
    }
    return next;
  }

  /** Where operations of unknown outcome alone lead from a state, and the fewest of the group for it. */
  #reachesOf(state: number, beforeAt: number, group: number): readonly Reach[] | null {
    let kinds = this.#reachKinds;
    while ((this.#unknownKinds[kinds]?.callAt ?? Number.POSITIVE_INFINITY) < beforeAt) kinds += 1;
    if (kinds !== this.#reachKinds) {
      this.#forgetReaches();
      this.#reachKinds = kinds;
    }
    const known = this.#reaches[state];
    if (known !== undefined) return known;
    const costs = new Map<number, number>([[state, 0]]);
    const work = [state];
    for (let from = work.shift(); from !== undefined; from = work.shift()) {
      const cost = costs.get(from) ?? 0;
      for (let index = 0; index < kinds; index += 1) {
        const kind = this.#unknownKinds[index]?.kind ?? 0;
        const to = this.#step(from, kind);
        if (to < 0 || to === from) continue;
        if (this.#values.length > STATES_MAX) return null;
        const total = cost + (group === ANYTHING || group === to ? 1 : 0);
        if ((costs.get(to) ?? Number.POSITIVE_INFINITY) <= total) continue;
        costs.set(to, total);
        work.push(to);
      }
    }
    costs.delete(state);
    const reaches = [...costs].map(([to, cost]) => ({ state: to, cost }));
    this.#reaches[state] = reaches;
    return reaches;
  }

  #forgetReaches(): void {
    this.#reaches = [];
    this.#reachKinds = 0;
  }

  /** Whether an operation of this kind, anywhere, makes the state. */
  #leadsTo(kind: number, group: number): boolean {
    if (group === ANYTHING) return true;
    return this.#values.some((_, from) => from !== group && this.#step(from, kind) === group);
  }

  #step(state: number, kind: number): number {
    const row = this.#steps[state] as number[];
    const known = row[kind] ?? NOT_TRIED;
    if (known !== NOT_TRIED) return known;
    const { input, output } = this.#samples[kind] as { input: I; output: O | undefined };
    const next = this.#model.step(this.#values[state] as S, input, output);
    const to = next === null ? NO_STATE : this.#stateOf(next.state);
    row[kind] = to;
    return to;
  }

  #stateOf(value: S): number {
    const key = this.#model.key(value);
    let state = this.#states.get(key);
    if (state === undefined) {
      state = this.#values.length;
      this.#states.set(key, state);
      this.#values.push(value);
      this.#steps.push([]);
    }
    return state;
  }

  #kindOf(input: I, output: O | undefined): number {
    const key = JSON.stringify([input, output === undefined ? [] : [output]]);
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = this.#samples.length;
      this.#kinds.set(key, kind);
      this.#samples.push({ input, output });
    }
    return kind;
  }

  #keyOf(bits: number, state: number): number {
    return state * 2 ** SLOTS_MAX + bits;
  }

  #parts(key: number): { readonly bits: number; readonly state: number } {
    const bits = key % 2 ** SLOTS_MAX;
    return { bits, state: (key - bits) / 2 ** SLOTS_MAX };
  }

  #isLate(): boolean {
    this.#looks += 1;
    return this.#looks % STEPS_PER_LOOK_AT_CLOCK === 0 && performance.now() > this.#deadlineMs;
  }

  /** By return, each with a bit that no other has while it is open; null when too many are. */
  #slotted(completed: readonly PlacedOperation<I, O>[]): readonly Slotted[] | null {
    const free = Array.from({ length: SLOTS_MAX }, (_, slot) => slot);
    const held: { readonly returnAt: number; readonly slot: number }[] = [];
    const slotted: Slotted[] = [];
    for (const { op, callAt, returnAt } of [...completed].sort((a, b) => a.callAt - b.callAt)) {
      for (let at = held.length - 1; at >= 0; at -= 1) {
        const { returnAt: until, slot } = held[at] as { returnAt: number; slot: number };
        if (until > callAt) continue;
        free.push(slot);
        held.splice(at, 1);
      }
      const slot = free.pop();
      if (slot === undefined) return null;
      held.push({ returnAt, slot });
      const kind = this.#kindOf(op.input, op.output);
      const observes = this.#model.observes?.(op.input, op.output) === true;
      slotted.push({ bit: 1 << slot, kind, returnAt, callAt, observes });
    }
    return slotted.sort((a, b) => a.returnAt - b.returnAt);
  }
}

function openAt(returns: readonly Slotted[]): readonly (readonly Slotted[])[] {
  const calls = [...returns].sort((a, b) => a.callAt - b.callAt);
  let called = 0;
  let open: Slotted[] = [];
  return returns.map((wanted) => {
    for (; called < calls.length; called += 1) {
      const next = calls[called] as Slotted;
      if (next.callAt > wanted.returnAt) break;
      open.push(next);
    }
    const now = open;
    open = open.filter((each) => each !== wanted);
    return now;
  });
}
