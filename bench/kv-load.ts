/** A closed loop of operations: so many in flight, each with its latency, for so long. */
import { quantile } from './statistics.ts';

export interface LoadPlan {
  readonly inflight: number;
  readonly seconds: number;
  /** Number of the first operation: what is written says which one wrote it. */
  readonly first: number;
  readonly valueBytes: number;
}

export interface LoadFigures {
  readonly operations: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly perSecond: number;
}

/** Rejects at the first operation that fails: a figure with failures in it measures something else. */
export function runLoad(
  { inflight, seconds, first }: LoadPlan,
  issue: (operation: number, done: (error: Error | null) => void) => void,
): Promise<LoadFigures> {
  return new Promise((resolve, reject) => {
    const latenciesUs: number[] = [];
    const startedMs = performance.now();
    const endMs = startedMs + seconds * 1000;
    let next = first;
    let left = 0;
    let isOver = false;
    const start = (): void => {
      const issuedMs = performance.now();
      left += 1;
      issue(next++, (error) => {
        const nowMs = performance.now();
        left -= 1;
        if (isOver) return;
        if (error !== null) {
          isOver = true;
          reject(error);
          return;
        }
        latenciesUs.push((nowMs - issuedMs) * 1000);
        if (nowMs < endMs) start();
        else if (left === 0) {
          isOver = true;
          const operations = latenciesUs.length;
          resolve({
            operations,
            p50Us: quantile(latenciesUs, 0.5),
            p99Us: quantile(latenciesUs, 0.99),
            perSecond: (operations * 1000) / (nowMs - startedMs),
          });
        }
      });
    };
    for (let at = 0; at < inflight; at += 1) start();
  });
}

/** Few enough keys that what is kept stays small, however long it runs. */
const KEYS = 64;
const NUMBER_BYTES = 8;

export function keyOf(operation: number): Buffer {
  return Buffer.from(`key-${operation % KEYS}`);
}

export function allKeys(): readonly Buffer[] {
  return Array.from({ length: KEYS }, (_, index) => keyOf(index));
}

/** Begins with the operation's number, and every other byte follows from it. */
export function madeValue(operation: number, bytes: number): Buffer {
  const value = Buffer.allocUnsafe(bytes).fill((operation % 251) + 1);
  value.writeBigUInt64BE(BigInt(operation));
  return value;
}

/** The operation that wrote it; null when it is not what one wrote. */
export function operationOf(value: Uint8Array, bytes: number): number | null {
  if (value.length !== bytes) return null;
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const operation = Number(view.readBigUInt64BE());
  const fill = (operation % 251) + 1;
  const isWhole =
    view[NUMBER_BYTES] === fill && view[bytes >> 1] === fill && view[bytes - 1] === fill;
  return isWhole ? operation : null;
}
