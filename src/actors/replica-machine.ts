/**
 * What a core has for the state machine, strictly in order: entries, a snapshot to take over, a
 * snapshot to cut. Taking one over waits for the disk, and everything behind it waits too.
 */
import type { SnapshotDigest } from '../ports/raft-log.ts';
import { type Application, SessionMachine } from '../protocols/raft/sessions/machine.ts';
import type { Effect, Entry, Snapshot } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import { type ReplicaProposals, SESSION_LIMITS } from './replica-proposals.ts';

export type MachineWork = Extract<Effect, { readonly type: 'apply' | 'restore' | 'takeSnapshot' }>;

export interface MachineDriver {
  /** Answered by `restored`, or the life is over. */
  readonly load: (snapshot: Snapshot) => void;
  readonly save: (snapshot: Snapshot, data: Uint8Array) => void;
  readonly applied: (index: number) => void;
}

export class ReplicaMachine {
  readonly #sessions: SessionMachine;
  readonly #proposals: ReplicaProposals;
  readonly #digest: SnapshotDigest;
  readonly #driver: MachineDriver;
  readonly #queue: MachineWork[] = [];
  #restoring: Snapshot | null = null;

  constructor(
    application: Application,
    proposals: ReplicaProposals,
    digest: SnapshotDigest,
    driver: MachineDriver,
  ) {
    this.#sessions = new SessionMachine(application, SESSION_LIMITS);
    this.#proposals = proposals;
    this.#digest = digest;
    this.#driver = driver;
  }

  get appliedIndex(): number {
    return this.#sessions.appliedIndex;
  }

  work(work: MachineWork): void {
    this.#queue.push(work);
    this.#run();
  }

  /** False for bytes that are not what the snapshot is named by. */
  restored(snapshot: Snapshot, data: Uint8Array): boolean {
    if (this.#digest(data) !== snapshot.digest) return false;
    this.#restoring = null;
    this.#sessions.restore(data);
    assert(this.appliedIndex === snapshot.index, 'a snapshot holds the state at its index');
    this.#proposals.passed();
    this.#driver.applied(snapshot.index);
    this.#run();
    return true;
  }

  #run(): void {
    while (this.#restoring === null) {
      const work = this.#queue.shift();
      if (work === undefined) return;
      if (work.type === 'apply') this.#apply(work.entries);
      else if (work.type === 'takeSnapshot') this.#takeSnapshot(work);
      else {
        this.#restoring = work.snapshot;
        this.#driver.load(work.snapshot);
      }
    }
  }

  #apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.kind !== 'command') continue;
      const requestId = this.#proposals.requestOf(entry.data);
      if (requestId !== null) this.#sessions.proposed(requestId, entry.index, entry.term);
    }
    const settled = this.#sessions.apply(entries);
    for (const { requestId, outcome } of settled) this.#proposals.settled(requestId, outcome);
    this.#driver.applied(this.appliedIndex);
  }

  #takeSnapshot({
    index,
    term,
    configuration,
  }: Extract<MachineWork, { type: 'takeSnapshot' }>): void {
    assert(index === this.appliedIndex, `a snapshot is cut at ${index}, not ${this.appliedIndex}`);
    const data = this.#sessions.encode();
    const snapshot = {
      index,
      term,
      configuration,
      sizeBytes: data.length,
      digest: this.#digest(data),
    };
    this.#driver.save(snapshot, data);
  }
}
