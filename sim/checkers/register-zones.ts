/**
 * Registers whose writes all differ need no search (Gibbons and Korach, 1997). A write with the reads of
 * its value is a cluster, which happens as one piece. One whose operations do not all overlap spans at
 * least from its first return to its last call: such spans must not meet, and a cluster that has an instant
 * in common needs one outside of every other's span.
 */
import { keyOf, type Model } from './models.ts';
import { type Operation, type PlacedOperation, placed } from './operation.ts';

/** What could not be put in any order, and the operations that stand in its way or came before it. */
export interface Stuck {
  readonly operation: Operation;
  /** Of a search: the longest order found, its last operations. */
  readonly longestOrder: readonly Operation[];
}

interface Cluster {
  firstReturn: Place;
  lastCall: Place;
  /** Where the write was called, before which nobody can read it. */
  readonly writtenAt: number;
}

interface Place {
  readonly at: number;
  readonly op: Operation;
}

/** Null when this is not a register, or two writes wrote the same. */
export function checkRegister<S, I, O>(
  model: Model<S, I, O>,
  ops: readonly Operation<I, O>[],
): 'linearizable' | Stuck | null {
  const clusters = new Map<string | number, Cluster>();
  const reads: PlacedOperation<I, O>[] = [];
  const initialKey = mapKeyOf(model.initial());
  const initial = { client: 'initial state', callUs: 0, returnUs: 0, input: null, output: null };
  const before = { at: -1, op: initial };
  clusters.set(initialKey, { firstReturn: before, lastCall: before, writtenAt: -1 });
  for (const each of placed(ops)) {
    const register = model.asRegister?.(each.op.input) ?? null;
    if (register === null) return null;
    if (register.op === 'read') {
      if (each.op.returnUs !== null) reads.push(each);
      continue;
    }
    const key = mapKeyOf(register.value);
    if (clusters.has(key)) return null;
    const { op, callAt, returnAt } = each;
    const cluster = { firstReturn: { at: returnAt, op }, lastCall: { at: callAt, op } };
    clusters.set(key, { ...cluster, writtenAt: callAt });
  }
  for (const { op, callAt, returnAt } of reads) {
    const cluster = clusters.get(mapKeyOf(op.output));
    if (cluster === undefined || returnAt < cluster.writtenAt) {
      return { operation: op, longestOrder: [] };
    }
    if (returnAt < cluster.firstReturn.at) cluster.firstReturn = { at: returnAt, op };
    if (callAt > cluster.lastCall.at) cluster.lastCall = { at: callAt, op };
  }
  return findConflict([...clusters.values()]) ?? 'linearizable';
}

/** Numbers, which most values are, need no text. */
function mapKeyOf(value: unknown): string | number {
  return typeof value === 'number' ? value : keyOf(value);
}

function findConflict(clusters: readonly Cluster[]): Stuck | null {
  const isSpan = ({ firstReturn, lastCall }: Cluster): boolean => firstReturn.at < lastCall.at;
  // The initial state was written before all else, so that it is over when the next one is written.
  const spans = clusters
    .filter((cluster) => isSpan(cluster) || cluster.writtenAt < 0)
    .sort((a, b) => a.firstReturn.at - b.firstReturn.at);
  for (const [index, span] of spans.entries()) {
    const previous = spans[index - 1];
    if (previous !== undefined && span.firstReturn.at < previous.lastCall.at) {
      return stuck(previous.lastCall, [previous.firstReturn, span.firstReturn, span.lastCall]);
    }
  }
  for (const cluster of clusters) {
    if (isSpan(cluster) || cluster.writtenAt < 0) continue;
    const around = lastBegunBefore(spans, cluster.lastCall.at);
    if (around !== null && cluster.firstReturn.at < around.lastCall.at) {
      return stuck(around.lastCall, [around.firstReturn, cluster.firstReturn, cluster.lastCall]);
    }
  }
  return null;
}

/** Spans do not meet, so the last one that began is the only one that can contain a later instant. */
function lastBegunBefore(spans: readonly Cluster[], at: number): Cluster | null {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle] as Cluster).firstReturn.at < at) low = middle + 1;
    else high = middle;
  }
  return spans[low - 1] ?? null;
}

function stuck({ op }: Place, others: readonly Place[]): Stuck {
  return { operation: op, longestOrder: others.map((other) => other.op) };
}
