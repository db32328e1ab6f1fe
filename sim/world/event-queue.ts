import { assert } from '../../src/util/assert.ts';

/** Something that happens at one instant. Cancelled events keep their place and are skipped. */
export interface SimEvent {
  readonly atUs: number;
  /** Order of scheduling: the tie-breaker that makes the order total. */
  readonly sequence: number;
  /** `deliver`, `timer`, `disk`, `turn`, `fault`, ... */
  readonly kind: string;
  readonly actor: string;
  readonly data: unknown;
  readonly run: (event: SimEvent) => void;
  /** For `run`, beside the data: one function then serves many events, without a closure for each. */
  readonly context: unknown;
  /** The host whose crash takes this event with it. */
  readonly owner: EventOwner | null;
  readonly incarnation: number;
  cancelled: boolean;
}

/** An event of a machine rather than of what runs on it: a packet outlives the process it was sent to. */
export const ANY_INCARNATION = 0;

/** What an event needs to know of its host. */
export interface EventOwner {
  readonly incarnation: number;
  readonly paused: boolean;
  /** Keeps an event of a paused host until it resumes. */
  hold(event: SimEvent): void;
}

/** The only queue of a world, ordered by (time, sequence): a heap with four children per node. */
export class EventQueue {
  readonly #heap: SimEvent[] = [];

  get size(): number {
    return this.#heap.length;
  }

  peek(): SimEvent | null {
    return this.#heap[0] ?? null;
  }

  push(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 2;
      const parent = heap[parentAt] as SimEvent;
      if (!before(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  pop(): SimEvent {
    const heap = this.#heap;
    const first = heap[0];
    assert(first !== undefined, 'an event to take');
    const last = heap.pop() as SimEvent;
    const length = heap.length;
    if (length === 0) return first;
    let at = 0;
    for (;;) {
      const childAt = at * 4 + 1;
      if (childAt >= length) break;
      let bestAt = childAt;
      let best = heap[childAt] as SimEvent;
      const end = Math.min(childAt + 4, length);
      for (let other = childAt + 1; other < end; other += 1) {
        const candidate = heap[other] as SimEvent;
        if (before(candidate, best)) {
          best = candidate;
          bestAt = other;
        }
      }
      if (!before(best, last)) break;
      heap[at] = best;
      at = bestAt;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.sequence < b.sequence);
}
