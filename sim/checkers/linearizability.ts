/**
 * Is there one order of these operations, each at an instant between its call and its return, in which a
 * single object would have given these answers? The search is Wing and Gong's with Lowe's memory of what
 * was tried (as in Porcupine), per key, and tells configurations apart by open operations only, so that
 * its cost follows how many operations overlap and not how long the history is.
 */
import { DwcpError } from '../../src/util/errors.ts';
import type { Model } from './models.ts';
import { type Operation, type PlacedOperation, placed } from './operation.ts';
import { checkRegister, type Stuck } from './register-zones.ts';
import { RepeatingSearch } from './repeating-search.ts';

export interface LinearizabilityOptions {
  /** Wall time for the whole history; past it the verdict is `unknown`. */
  readonly maxMs: number;
}

export interface LinearizabilityResult {
  /** `unknown` is no pass: the search ran out of time. */
  readonly verdict: 'linearizable' | 'violation' | 'unknown';
  readonly witness?: LinearizabilityWitness;
}

/** Where the search got stuck: no order of what came before lets `operation` answer as it did. */
export interface LinearizabilityWitness extends Stuck {
  readonly key: string;
}

/** A precedes B if and only if `A.returnUs < B.callUs`; operations that touch at one instant overlap. */
export function checkLinearizability<S, I, O>(
  model: Model<S, I, O>,
  ops: readonly Operation<I, O>[],
  options: LinearizabilityOptions,
): LinearizabilityResult {
  const partitions = new Map<string, Operation<I, O>[]>();
  for (const op of ops) {
    checkOperation(op);
    const key = model.partition?.(op.input) ?? '';
    const partition = partitions.get(key);
    if (partition === undefined) partitions.set(key, [op]);
    else partition.push(op);
  }
  const deadlineMs = performance.now() + options.maxMs;
  let left = partitions.size;
  let unknown = false;
  for (const [key, part] of [...partitions].sort(([, a], [, b]) => a.length - b.length)) {
    const now = performance.now();
    const result =
      checkRegister(model, part) ?? new Search(model, part, now + (deadlineMs - now) / left).run();
    left -= 1;
    if (result === 'unknown') unknown = true;
    else if (result !== 'linearizable') {
      return { verdict: 'violation', witness: { key, ...result } as LinearizabilityWitness };
    }
  }
  return { verdict: unknown ? 'unknown' : 'linearizable' };
}

function checkOperation(op: Operation): void {
  const { callUs, returnUs } = op;
  if (Number.isFinite(callUs) && (returnUs === null || returnUs >= callUs)) return;
  throw new DwcpError(
    'ERR_DWCP_USAGE',
    `an operation returns at ${returnUs}, called at ${callUs}`,
    {
      hint: 'callUs is a number, and returnUs a later or equal one, or null for an unknown outcome.',
    },
  );
}

/** A place in the search: what was put in order, and what may still be tried from there. */
interface Frame<S, I, O> {
  readonly state: S;
  readonly stateKey: string;
  /** Index into `returns` of the first that is not in order yet. */
  readonly first: number;
  /** Completed operations in order whose return comes later, sorted by id. */
  readonly ahead: readonly number[];
  /** Operations of unknown outcome in order, sorted by id. */
  readonly used: readonly number[];
  /** The operation that led here. */
  readonly by: PlacedOperation<I, O> | null;
  readonly moves: readonly Move<S, I, O>[];
  next: number;
}

interface Move<S, I, O> {
  readonly op: PlacedOperation<I, O>;
  readonly state: S;
}

const STEPS_PER_LOOK_AT_CLOCK = 256;
const QUICK_STEPS = 20_000;

class Search<S, I, O> {
  readonly #model: Model<S, I, O>;
  readonly #deadlineMs: number;
  /** Completed operations by return. */
  readonly #returns: readonly PlacedOperation<I, O>[];
  /** Completed operations by call. */
  readonly #calls: readonly PlacedOperation<I, O>[];
  readonly #unknown: readonly PlacedOperation<I, O>[];
  /** For each return, the first call that may still be open there. */
  readonly #openFrom: readonly number[];
  /** Tried: configurations without their unknown operations, and the sets of those. */
  readonly #tried = new Map<string, (readonly number[])[]>();

  constructor(model: Model<S, I, O>, ops: readonly Operation<I, O>[], deadlineMs: number) {
    this.#model = model;
    this.#deadlineMs = deadlineMs;
    const all = placed(ops.filter((op) => !saysNothing(model, op)));
    const completed = all.filter(({ op }) => op.returnUs !== null);
    this.#returns = [...completed].sort((a, b) => a.returnAt - b.returnAt);
    this.#calls = [...completed].sort((a, b) => a.callAt - b.callAt);
    this.#unknown = all
      .filter(({ op }) => op.returnUs === null)
      .sort((a, b) => a.callAt - b.callAt);
    this.#openFrom = this.#firstOpenCalls();
  }

  run(): 'linearizable' | 'unknown' | Stuck {
    // Where an order exists the search mostly finds one at once; where none does it may go on for ever.
    const quick = this.#search(QUICK_STEPS);
    if (quick !== 'unknown') return quick;
    const proof = this.#searchRepeating();
    if (proof !== null) return proof;
    this.#tried.clear();
    return this.#search(Number.POSITIVE_INFINITY);
  }

  /** Only where outcomes are unknown: without them the search is as quick. */
  #searchRepeating(): Stuck | null {
    if (this.#unknown.length === 0) return null;
    const now = performance.now();
    const deadlineMs = now + (this.#deadlineMs - now) / 2;
    const verdict = new RepeatingSearch(
      ...([this.#model, this.#returns, this.#unknown, deadlineMs] as const),
    ).run();
    return typeof verdict === 'string' ? null : this.#stuck(verdict.stuckAt, []);
  }

  #search(stepsMax: number): 'linearizable' | 'unknown' | Stuck {
    const state = this.#model.initial();
    const root = { state, stateKey: this.#model.key(state), first: 0, ahead: [], used: [] };
    const stack: Frame<S, I, O>[] = [{ ...root, by: null, moves: this.#moves(root), next: 0 }];
    let deepest = 0;
    let longest: PlacedOperation<I, O>[] = [];
    for (let steps = 1; ; steps += 1) {
      const frame = stack.at(-1);
      if (frame === undefined) return this.#stuck(deepest, longest);
      if (frame.first === this.#returns.length) return 'linearizable';
      if (frame.first > deepest) {
        deepest = frame.first;
        longest = [];
      }
      if (frame.first === deepest && longest.length < stack.length - 1 && longest.length < 64) {
        longest = stack.slice(-64).flatMap(({ by }) => (by === null ? [] : [by]));
      }
      if (steps > stepsMax) return 'unknown';
      if (steps % STEPS_PER_LOOK_AT_CLOCK === 0 && performance.now() > this.#deadlineMs) {
        return 'unknown';
      }
      const move = frame.moves[frame.next];
      frame.next += 1;
      if (move === undefined) {
        stack.pop();
        continue;
      }
      if (this.#wasNoHelp(stack.at(-2), frame, move)) continue;
      const child = this.#after(frame, move);
      if (child !== null) stack.push(child);
    }
  }

  /** An operation of unknown outcome just before `move`, which would have come to the same without it. */
  #wasNoHelp(
    before: Frame<S, I, O> | undefined,
    { by }: Frame<S, I, O>,
    { op, state }: Move<S, I, O>,
  ): boolean {
    if (before === undefined || by?.returnAt !== Number.POSITIVE_INFINITY) return false;
    const output = op.returnAt === Number.POSITIVE_INFINITY ? undefined : op.op.output;
    const without = this.#model.step(before.state, op.op.input, output);
    return without !== null && this.#model.key(without.state) === this.#model.key(state);
  }

  /** Null when something at least as good was tried before. */
  #after(frame: Frame<S, I, O>, { op, state }: Move<S, I, O>): Frame<S, I, O> | null {
    const stateKey = this.#model.key(state);
    let { first, ahead, used } = frame;
    if (op.returnAt === Number.POSITIVE_INFINITY) {
      used = inserted(used, op.id);
    } else {
      ahead = inserted(ahead, op.id);
      for (let next = this.#returns[first]; next !== undefined; next = this.#returns[first]) {
        const { id } = next;
        if (!ahead.includes(id)) break;
        ahead = ahead.filter((other) => other !== id);
        first += 1;
      }
    }
    const key = `${first} ${ahead.join(',')} ${stateKey}`;
    const tried = this.#tried.get(key);
    // With fewer unknown operations spent, one could do from there all that one can from here.
    if (tried?.some((spent) => isSubset(spent, used)) === true) return null;
    if (tried === undefined) this.#tried.set(key, [used]);
    else tried.push(used);
    const place = { state, stateKey, first, ahead, used };
    return { ...place, by: op, moves: this.#moves(place), next: 0 };
  }

  /** What may come next, likeliest first: any operation called before the first pending return. */
  #moves(at: Omit<Frame<S, I, O>, 'by' | 'moves' | 'next'>): Move<S, I, O>[] {
    const wanted = this.#returns[at.first];
    if (wanted === undefined) return [];
    const model = this.#model;
    const direct: Move<S, I, O>[] = [];
    const helpful: Move<S, I, O>[] = [];
    const others: Move<S, I, O>[] = [];
    const sort = (move: Move<S, I, O>): void => {
      const helps = model.step(move.state, wanted.op.input, wanted.op.output) !== null;
      (helps ? helpful : others).push(move);
    };
    for (let index = this.#openFrom[at.first] ?? 0; index < this.#calls.length; index += 1) {
      const op = this.#calls[index] as PlacedOperation<I, O>;
      if (op.callAt > wanted.returnAt) break;
      if (op.returnAt < wanted.returnAt || at.ahead.includes(op.id)) continue;
      const next = model.step(at.state, op.op.input, op.op.output);
      if (next === null) continue;
      const move = { op, state: next.state };
      // What never changes anything and is possible now loses nothing by happening now.
      if (model.observes?.(op.op.input, op.op.output) === true) return [move];
      if (op === wanted) direct.push(move);
      else sort(move);
    }
    for (const move of this.#unknownMoves(at, wanted)) sort(move);
    return [...direct, ...helpful, ...others];
  }

  #unknownMoves(
    at: Omit<Frame<S, I, O>, 'by' | 'moves' | 'next'>,
    wanted: PlacedOperation<I, O>,
  ): readonly Move<S, I, O>[] {
    const model = this.#model;
    const moves: (Move<S, I, O> & { readonly stateKey: string })[] = [];
    const twins = new Set<string>();
    for (const op of this.#unknown) {
      if (op.callAt > wanted.returnAt) break;
      // Of equal ones the earliest called can do all that the later ones can.
      if (at.used.includes(op.id) || twins.has(op.inputKey)) continue;
      twins.add(op.inputKey);
      const next = model.step(at.state, op.op.input, undefined);
      if (next === null) continue;
      const stateKey = model.key(next.state);
      if (stateKey !== at.stateKey) moves.push({ op, state: next.state, stateKey });
    }
    // What does more is kept for later where what does less is enough.
    const { covers } = model;
    if (covers === undefined) return moves;
    return moves.filter(
      (move) =>
        !moves.some(
          (other) =>
            other.stateKey === move.stateKey && covers(move.op.op.input, other.op.op.input),
        ),
    );
  }

  #firstOpenCalls(): number[] {
    const openFrom: number[] = [];
    let from = 0;
    for (const wanted of this.#returns) {
      // Calls whose return came before this one are in order already.
      while ((this.#calls[from]?.returnAt ?? Number.POSITIVE_INFINITY) < wanted.returnAt) from += 1;
      openFrom.push(from);
    }
    return openFrom;
  }

  #stuck(deepest: number, longest: readonly PlacedOperation<I, O>[]): Stuck {
    const wanted = this.#returns[deepest] as PlacedOperation<I, O>;
    return { operation: wanted.op, longestOrder: longest.map(({ op }) => op) };
  }
}

/** Of unknown outcome, and nothing to see of it. */
function saysNothing<S, I, O>(
  model: Model<S, I, O>,
  { returnUs, input }: Operation<I, O>,
): boolean {
  return returnUs === null && model.observes?.(input, undefined) === true;
}

function inserted(sorted: readonly number[], id: number): readonly number[] {
  const at = sorted.findIndex((other) => other > id);
  return at < 0 ? [...sorted, id] : [...sorted.slice(0, at), id, ...sorted.slice(at)];
}

function isSubset(small: readonly number[], large: readonly number[]): boolean {
  if (small.length > large.length) return false;
  let at = 0;
  for (const id of small) {
    while (at < large.length && (large[at] as number) < id) at += 1;
    if (large[at] !== id) return false;
    at += 1;
  }
  return true;
}
