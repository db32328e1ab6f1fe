/**
 * The state that all parts of a replica share, and how they put effects down. What a message rests
 * on is resolved at the end of the step, when it is known which write carries it.
 */
import type { RandomStream } from '../../ports/random.ts';
import { assert } from '../../util/assert.ts';
import { ConfigurationHistory } from './configuration-history.ts';
import { lostEndOf } from './damage.ts';
import { DiskQueue } from './disk-queue.ts';
import { checkedLimits, checkedTiming } from './limits.ts';
import { type LogPosition, RaftLog } from './log.ts';
import type { Progress } from './progress.ts';
import { ReadQueue } from './read-queue.ts';
import type {
  Configuration,
  Effect,
  Entry,
  LogIndex,
  Message,
  RaftLimits,
  RaftOptions,
  RaftTiming,
  ReplicaId,
  Restored,
  Role,
  Snapshot,
  Term,
} from './types.ts';

/**
 * What must be durable before a message may leave: `term` for all that is said in a term, because a
 * replica never speaks in a term that it could forget; `all` for a promise about the log or a vote.
 */
export type Durability = 'none' | 'term' | 'all';

/** A kept tail that was damaged below the snapshot is worth nothing: the log begins after that. */
function restoredLog({ snapshot, compacted, entries }: Restored): RaftLog {
  const base = compacted ?? snapshot;
  const isShort = base.index + entries.length < snapshot.index;
  return isShort ? new RaftLog(snapshot, []) : new RaftLog(base, entries);
}

/** What is received of a snapshot. `issuedBytes` are handed to the disk, not yet all durable. */
export interface PartialSnapshot {
  readonly snapshot: Snapshot;
  readonly term: Term;
  issuedBytes: number;
  /** `verifying` once complete; `installing` once the write that installs it is issued. */
  phase: 'receiving' | 'verifying' | 'installing';
}

const NO_EFFECTS: readonly Effect[] = Object.freeze([]);

export interface Transfer {
  readonly to: ReplicaId;
  readonly deadlineUs: number;
}

export class ReplicaState {
  readonly id: ReplicaId;
  readonly timing: RaftTiming;
  readonly limits: RaftLimits;
  readonly random: RandomStream;
  nowUs = 0;
  isStarted = false;
  halted: string | null = null;

  // the term
  term: Term;
  vote: ReplicaId | null;
  role: Role = 'follower';
  leader: ReplicaId | null = null;
  readonly votes: Map<ReplicaId, boolean> = new Map();
  /** This campaign was asked for by the leader, so voters need not protect it. */
  isTransferCampaign = false;
  /** It goes on only with the votes of all voters. */
  isUnanimousCampaign = false;
  /** Who of {@link votes} granted by what a damaged log still has. */
  readonly damagedGrants: Set<ReplicaId> = new Set();
  readonly voteDamaged: boolean;
  /** Where the log ended at most, before its end was damaged. */
  lostEnd: LogPosition | null;

  // the log
  readonly log: RaftLog;
  readonly configurations: ConfigurationHistory;
  commit: LogIndex;
  readonly disk: DiskQueue = new DiskQueue();

  // the state machine
  applied: LogIndex;
  /** Handed to the state machine, with the bytes that wait there. */
  handed: LogIndex;
  readonly applying: { index: LogIndex; bytes: number }[] = [];
  applyingBytes = 0;

  // snapshots
  snapshot: Snapshot;
  /** Older ones that a transfer still reads. */
  readonly pinned: Snapshot[] = [];
  takingSnapshotAt: LogIndex | null = null;
  partial: PartialSnapshot | null;

  // following
  /** The last acknowledgement, so that the same one is not said twice in a round. */
  acknowledged: { term: Term; round: number; matchIndex: LogIndex } = {
    term: 0,
    round: 0,
    matchIndex: 0,
  };

  // time
  /** When the leader was last heard, or this life began: until a time-out later we protect it. */
  heardUs: number = Number.NEGATIVE_INFINITY;
  electionTimeoutUs = 0;
  electionDeadlineUs = 0;
  #electionTimerAtUs: number | null = null;

  // leading
  readonly peers: Map<ReplicaId, Progress> = new Map();
  uncommittedBytes = 0;
  transfer: Transfer | null = null;
  leaseRevoked = false;
  readonly reads: ReadQueue;

  #others: Effect[] = [];
  /** Messages of this step, and what each rests on. */
  #outbox: Message[] = [];
  readonly #durabilities: Durability[] = [];

  constructor(options: RaftOptions) {
    const { restored } = options;
    const { snapshot, hardState } = restored;
    assert(
      Number.isSafeInteger(options.id) && options.id > 0,
      'a replica id is a positive integer',
    );
    this.id = options.id;
    this.timing = checkedTiming(options.timing);
    this.limits = checkedLimits(options.limits);
    this.random = options.random;
    this.voteDamaged = restored.voteDamaged;
    this.log = restoredLog(restored);
    // An entry is written with its term or after it: a term below the log's is a lost vote.
    assert(restored.voteDamaged || hardState.term >= this.log.lastTerm, 'the term covers the log');
    this.term = Math.max(hardState.term, this.log.lastTerm);
    this.vote = this.term === hardState.term ? hardState.vote : null;
    this.configurations = new ConfigurationHistory(snapshot.index, snapshot.configuration);
    this.configurations.take(restored.entries);
    const known = Math.max(hardState.commit, snapshot.index, restored.appliedIndex);
    // Entries may be fewer than the commit index says, where the end of the log was damaged.
    this.commit = Math.min(known, this.log.lastIndex);
    assert(restored.appliedIndex >= snapshot.index, 'the state machine holds its snapshot');
    assert(restored.appliedIndex <= this.commit, 'only what is in the log was applied');
    this.applied = restored.appliedIndex;
    this.handed = restored.appliedIndex;
    this.snapshot = snapshot;
    const { lastIndex: index, lastTerm } = this.log;
    this.lostEnd = lostEndOf(restored, this.term, { index, term: lastTerm });
    const { partialSnapshot } = restored;
    this.partial =
      partialSnapshot === null
        ? null
        : {
            snapshot: partialSnapshot.snapshot,
            term: this.term,
            issuedBytes: partialSnapshot.receivedBytes,
            phase: 'receiving',
          };
    this.reads = new ReadQueue(this.random.below(2 ** 48));
  }

  get configuration(): Configuration {
    return this.configurations.current;
  }
  get hasCommittedInTerm(): boolean {
    return this.log.termAt(this.commit) === this.term;
  }
  /** The oldest write has been under way for longer than a leader may wait. */
  get isDiskStalled(): boolean {
    const since = this.disk.oldestSinceUs;
    return since !== null && this.nowUs - since > this.timing.diskStallUs;
  }

  emit(effect: Effect): void {
    this.#others.push(effect);
  }

  send(message: Message, durability: Durability): void {
    this.#outbox.push(message);
    this.#durabilities.push(durability);
  }

  /** Appends to the log and makes a configuration among the entries count at once. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    this.log.append(entries);
    this.disk.appended(first.index);
    if (this.configurations.take(entries)) this.announceConfiguration();
  }

  truncate(index: LogIndex): void {
    assert(index > this.commit, 'what is committed stays');
    this.log.truncate(index);
    this.disk.truncated(index);
    if (this.configurations.truncate(index)) this.announceConfiguration();
  }

  announceConfiguration(): void {
    const { current: configuration, currentIndex: index } = this.configurations;
    this.emit({ type: 'configurationChanged', index, configuration });
  }

  setTerm(term: Term, vote: ReplicaId | null): void {
    assert(term > this.term || (term === this.term && this.vote === null), 'a vote is given once');
    this.term = term;
    this.vote = vote;
    this.disk.termChanged();
  }

  changeRole(role: Role, leader: ReplicaId | null, reason: string): void {
    this.role = role;
    this.leader = leader;
    this.emit({ type: 'roleChanged', role, term: this.term, leader, reason });
  }

  /** A new random time-out, so that two replicas seldom stand for election at once twice. */
  drawElectionTimeout(): void {
    const { electionUs } = this.timing;
    this.electionTimeoutUs = electionUs + this.random.below(electionUs);
    this.postponeElection();
  }

  /** The timer is not set anew on every heartbeat: when it fires it looks at the deadline. */
  postponeElection(): void {
    this.electionDeadlineUs = this.nowUs + this.electionTimeoutUs;
    const at = this.#electionTimerAtUs;
    if (at === null || at > this.electionDeadlineUs) this.armElection();
  }

  armElection(): void {
    this.#electionTimerAtUs = this.electionDeadlineUs;
    this.emit({ type: 'setTimer', id: 'election', atUs: this.electionDeadlineUs });
  }

  electionTimerFired(): void {
    this.#electionTimerAtUs = null;
  }

  begin(nowUs: number): void {
    assert(Number.isSafeInteger(nowUs) && nowUs >= this.nowUs, 'time goes on, in integers');
    assert(this.#others.length === 0 && this.#outbox.length === 0, 'a step left effects behind');
    this.nowUs = nowUs;
  }

  /** Writes first, then what waits for them, then the rest. */
  finish(): readonly Effect[] {
    const others = this.#others;
    const owesNothing = !this.disk.owes && this.#outbox.length === 0;
    if (owesNothing && others.length === 0) return NO_EFFECTS;
    this.#others = [];
    if (owesNothing) return others;
    const effects: Effect[] = [];
    this.disk.flush(this, effects);
    for (let at = 0; at < this.#outbox.length; at += 1) {
      const after = this.disk.tokenFor(this.#durabilities[at] as Durability);
      effects.push({ type: 'send', after, message: this.#outbox[at] as Message });
    }
    for (const effect of others) effects.push(effect);
    this.#outbox.length = 0;
    this.#durabilities.length = 0;
    return effects;
  }

  halt(reason: string): readonly Effect[] {
    this.halted = reason;
    this.role = 'follower';
    this.leader = null;
    this.#others = [];
    this.#outbox = [];
    this.#durabilities.length = 0;
    return [{ type: 'halted', reason }];
  }
}
