/** One host of the test network: a core, its disk, its state machine, and what it wrote down. */
import { createRaft } from '../../../src/protocols/raft/raft.ts';
import type {
  Effect,
  Entry,
  Raft,
  RaftLimits,
  RaftTiming,
  Restored,
  Send,
  Snapshot,
} from '../../../src/protocols/raft/types.ts';
import type { Observed } from './checkers.ts';
import { seededStream } from './choices.ts';
import { TestDisk } from './test-disk.ts';

/** Wraps a core, so that a test can plant a bug between it and its host. */
export type Mutation = (raft: Raft, id: number) => Raft;

export interface HostOptions {
  readonly id: number;
  readonly initial: Restored;
  readonly limits: Partial<RaftLimits>;
  readonly timing: Partial<RaftTiming>;
  readonly mutate: Mutation;
}

/** The state of the test's state machine: how many commands, and a number that all of them shape. */
interface Machine {
  index: number;
  count: number;
  sum: number;
}

export class TestHost implements Observed {
  readonly id: number;
  readonly disk: TestDisk;
  readonly #options: HostOptions;
  readonly #random: { below(bound: number): number };
  raft: Raft | null = null;
  life = 0;
  /** Sends that wait for a token. */
  held: Send[] = [];
  /** apply, restore, takeSnapshot: strictly in order. */
  machineQueue: Effect[] = [];
  machine: Machine = { index: 0, count: 0, sum: 0 };
  timers: Map<string, number> = new Map();
  #written: Map<number, number> = new Map();
  firstIndex = 1;

  constructor(options: HostOptions) {
    this.id = options.id;
    this.#options = options;
    this.disk = new TestDisk(options.initial);
    this.#random = seededStream(options.id * 7919);
  }

  termAt(index: number): number | null {
    return this.#written.get(index) ?? null;
  }

  boot(): Raft {
    const { id, limits, timing, mutate } = this.#options;
    const restored = this.disk.restored();
    const base = restored.compacted ?? restored.snapshot;
    this.#written = new Map(restored.entries.map(({ index, term }) => [index, term]));
    this.#written.set(base.index, base.term);
    this.firstIndex = base.index + 1;
    this.machine = this.#load(restored.snapshot);
    this.life += 1;
    const raft = createRaft({ id, restored, random: this.#random, limits, timing });
    this.raft = mutate(raft, id);
    return this.raft;
  }

  crash(survivors: number): void {
    this.disk.crash(survivors);
    this.raft = null;
    this.held = [];
    this.machineQueue = [];
    this.timers = new Map();
  }

  /** Takes down what the core wrote, whether durable yet or not; calls back per new entry. */
  write(
    entries: readonly Entry[],
    snapshot: Snapshot | null,
    wrote: (entry: Entry, previousTerm: number) => void,
  ): void {
    if (snapshot !== null) {
      this.#written = new Map([[snapshot.index, snapshot.term]]);
      this.firstIndex = snapshot.index + 1;
    }
    for (const entry of entries) {
      wrote(entry, this.#written.get(entry.index - 1) ?? 0);
      this.#written.set(entry.index, entry.term);
    }
    const last = entries.at(-1)?.index;
    if (last === undefined) return;
    for (const index of [...this.#written.keys()]) if (index > last) this.#written.delete(index);
  }

  compacted(throughIndex: number): void {
    this.firstIndex = throughIndex + 1;
  }

  apply(entry: Entry): void {
    if (entry.index !== this.machine.index + 1) throw new Error('applied out of order');
    const bytes = entry.kind === 'command' ? entry.data : [];
    let { sum } = this.machine;
    for (const byte of bytes) sum = (sum * 31 + byte) % 1_000_003;
    const count = this.machine.count + (entry.kind === 'command' ? 1 : 0);
    this.machine = { index: entry.index, count, sum };
  }

  encode(): Uint8Array {
    return new TextEncoder().encode(JSON.stringify(this.machine).padEnd(40));
  }

  restore(snapshot: Snapshot): void {
    this.machine = this.#load(snapshot);
  }

  #load(snapshot: Snapshot): Machine {
    if (snapshot.index === 0) return { index: 0, count: 0, sum: 0 };
    const data = this.disk.read(snapshot);
    if (data === null) throw new Error(`no file for snapshot ${snapshot.index}`);
    return JSON.parse(new TextDecoder().decode(data)) as Machine;
  }
}

export function digestOf(data: Uint8Array): string {
  let hash = 2166136261;
  for (const byte of data) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
  return hash.toString(16);
}
