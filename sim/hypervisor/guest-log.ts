/**
 * What the guests of a world did, as an observer outside of every agent sees it: which copy executed
 * when, from which point of the workload, with which memory. Checkers judge this and nothing else.
 */
import type { RunInterval } from '../checkers/ownership.ts';
import type { SimMemory } from './memory.ts';

/** One copy of a VM: a process on a host. */
export interface GuestInstance {
  readonly instance: number;
  readonly vm: string;
  readonly host: string;
  readonly epoch: number;
  readonly memory: SimMemory;
  readonly isExecuting: boolean;
}

export interface GuestStart {
  readonly vm: string;
  readonly instance: number;
  readonly host: string;
  readonly atUs: number;
  /** Operations in its memory, and those that the VM had done when it last stood still. */
  readonly counter: number;
  readonly doneBefore: number;
  /** The first page that differs from the copy that ran last; null when none does. */
  readonly differentPage: number | null;
  /** Another copy that executes right now. */
  readonly beside: number | null;
}

export interface VmHistory {
  readonly vm: string;
  runner: GuestInstance | null;
  last: GuestInstance | null;
  done: number;
  /** A fault killed the only copy that had its state: nothing can bring it back. */
  lostBecause: string | null;
}

export class GuestLog {
  readonly vms: Map<string, VmHistory> = new Map();
  readonly starts: GuestStart[] = [];
  readonly intervals: RunInterval[] = [];
  readonly #open = new Map<number, number>();

  vm(name: string): VmHistory {
    let history = this.vms.get(name);
    if (history === undefined) {
      history = { vm: name, runner: null, last: null, done: 0, lostBecause: null };
      this.vms.set(name, history);
    }
    return history;
  }

  /** It is switched on anew: what it had in its memory was lost with its last copy. */
  beginsAnew(name: string): void {
    const history = this.vm(name);
    history.last = null;
    history.done = 0;
  }

  started(guest: GuestInstance, counter: number, atUs: number): void {
    const history = this.vm(guest.vm);
    const { last, runner } = history;
    this.starts.push({
      ...{ vm: guest.vm, instance: guest.instance, host: guest.host, atUs, counter },
      doneBefore: last === null ? counter : history.done,
      differentPage: last === null || last === guest ? null : firstDifferent(guest, last),
      beside: runner !== null && runner !== guest ? runner.instance : null,
    });
    history.runner = guest;
    history.last = guest;
    this.#open.set(guest.instance, this.intervals.length);
    const { vm, instance, host, epoch } = guest;
    this.intervals.push({ vm, instance, host, epoch, fromUs: atUs, toUs: null });
  }

  stopped(guest: GuestInstance, counter: number, atUs: number): void {
    const history = this.vm(guest.vm);
    if (history.runner === guest) history.runner = null;
    history.done = Math.max(history.done, counter);
    const index = this.#open.get(guest.instance);
    this.#open.delete(guest.instance);
    if (index === undefined) return;
    const interval = this.intervals[index] as RunInterval;
    this.intervals[index] = { ...interval, toUs: atUs };
  }
}

function firstDifferent({ memory }: GuestInstance, last: GuestInstance): number | null {
  const other = last.memory;
  if (memory.pageCount !== other.pageCount) return 0;
  for (let page = 0; page < memory.pageCount; page += 1) {
    if (Buffer.compare(memory.page(page), other.page(page)) !== 0) return page;
  }
  return null;
}
