/**
 * The vocabulary of the Raft core: what goes in, what comes out, and what must be durable before
 * what. The core never waits: disk, state machine, timers and other replicas answer with inputs.
 *
 *   driver                      core
 *     step({ type: 'message' }) -> persist(token 7), send(after 7), apply, setTimer
 *     disk done to 7: let the sends after 7 go, then step({ type: 'persisted', token: 7 })
 */
import type { RandomStream } from '../../ports/random.ts';

/** A member of the group; host names are mapped outside. A positive safe integer. */
export type ReplicaId = number;

/** Position in the log; the first entry has 1, and 0 is "before the log". */
export type LogIndex = number;
export type Term = number;

/**
 * Who decides. While `votersOutgoing` is not empty the group is joint: every decision needs a
 * majority of both halves. `learnersNext` are outgoing voters that become learners on leaving.
 */
export interface Configuration {
  readonly voters: ReadonlySet<ReplicaId>;
  readonly votersOutgoing: ReadonlySet<ReplicaId>;
  readonly learners: ReadonlySet<ReplicaId>;
  readonly learnersNext: ReadonlySet<ReplicaId>;
  /** The leader proposes to leave the joint configuration as soon as it is committed. */
  readonly autoLeave: boolean;
}

/** An immutable record of the log. The pair (index, term) names its content for all replicas. */
export type Entry = NoopEntry | CommandEntry | ConfigurationEntry;

/** What a new leader appends first, because only an entry of its own term may be counted. */
export interface NoopEntry {
  readonly kind: 'noop';
  readonly index: LogIndex;
  readonly term: Term;
}

export interface CommandEntry {
  readonly kind: 'command';
  readonly index: LogIndex;
  readonly term: Term;
  readonly data: Uint8Array;
}

/** Carries the whole resulting configuration, which counts from the moment it is in a log. */
export interface ConfigurationEntry {
  readonly kind: 'configuration';
  readonly index: LogIndex;
  readonly term: Term;
  readonly configuration: Configuration;
}

/** What a replica must not forget. `commit` may lag: it is written along, never for its own sake. */
export interface HardState {
  readonly term: Term;
  readonly vote: ReplicaId | null;
  readonly commit: LogIndex;
}

/**
 * Names a snapshot. It is cut at an index that the log determines and encoded canonically, so
 * (index, digest) names the same bytes on every replica: a transfer goes on under another leader.
 */
export interface Snapshot {
  readonly index: LogIndex;
  readonly term: Term;
  readonly configuration: Configuration;
  readonly sizeBytes: number;
  readonly digest: string;
}

// Messages ---------------------------------------------------------------------------------------

export type Message =
  | PreVoteRequest
  | PreVoteReply
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | SnapshotOffer
  | SnapshotChunk
  | SnapshotReply
  | TimeoutNow
  | ReadIndexRequest
  | ReadIndexReply;

interface Addressed {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: Term;
}

/** "Would you elect me?" `term` is the one it would campaign for; nobody's term changes. */
export interface PreVoteRequest extends Addressed {
  readonly type: 'preVoteRequest';
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
}

/** A grant carries the request's term, a refusal the voter's own. */
export interface PreVoteReply extends Addressed {
  readonly type: 'preVoteReply';
  readonly granted: boolean;
  /** Granted by what a damaged log still has: it counts only if all voters grant. */
  readonly damaged: boolean;
}

export interface VoteRequest extends Addressed {
  readonly type: 'voteRequest';
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** The leader itself asked for this campaign: voters need not protect it. */
  readonly transfer: boolean;
  /** All voters granted the pre-vote, and all must vote: damaged ones may, as nobody holds more. */
  readonly unanimous: boolean;
}

export interface VoteReply extends Addressed {
  readonly type: 'voteReply';
  readonly granted: boolean;
}

/** Entries are contiguous from `previousIndex + 1`; without entries it probes or tells the commit. */
export interface AppendRequest extends Addressed {
  readonly type: 'appendRequest';
  readonly previousIndex: LogIndex;
  readonly previousTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: LogIndex;
  /** The leader's newest round when this was sent; its echo confirms the leader as a heartbeat's does. */
  readonly round: number;
}

export interface AppendReply extends Addressed {
  readonly type: 'appendReply';
  readonly round: number;
  /** Durable and equal to the leader's log up to `matchIndex`; otherwise null. */
  readonly matchIndex: LogIndex | null;
  /** Where it was refused: echo of `previousIndex`, and the last place where the logs may agree. */
  readonly refused: {
    readonly previousIndex: LogIndex;
    readonly hintIndex: LogIndex;
    readonly hintTerm: Term;
    /** It lost synced entries to damage: what it acknowledged before does not hold any more. */
    readonly damaged: boolean;
  } | null;
}

export interface Heartbeat extends Addressed {
  readonly type: 'heartbeat';
  /** Never above what this follower is known to hold. */
  readonly commit: LogIndex;
  readonly round: number;
}

export interface HeartbeatReply extends Addressed {
  readonly type: 'heartbeatReply';
  readonly round: number;
}

/** Asks how much of this snapshot the follower holds already; the answer is where to go on. */
export interface SnapshotOffer extends Addressed {
  readonly type: 'snapshotOffer';
  readonly snapshot: Snapshot;
  readonly round: number;
}

export interface SnapshotChunk extends Addressed {
  readonly type: 'snapshotChunk';
  readonly snapshot: Snapshot;
  readonly offset: number;
  readonly data: Uint8Array;
  readonly round: number;
}

export interface SnapshotReply extends Addressed {
  readonly type: 'snapshotReply';
  readonly round: number;
  readonly index: LogIndex;
  readonly digest: string;
  /** Durable bytes from the start, without a gap. */
  readonly receivedBytes: number;
  /** Everything up to `index` is held, by this snapshot or otherwise. */
  readonly installed: boolean;
}

/** The leader hands over: campaign at once, without a pre-vote. */
export interface TimeoutNow extends Addressed {
  readonly type: 'timeoutNow';
}

/** A follower's linearizable read. `incarnation` keeps answers to a former life away. */
export interface ReadIndexRequest extends Addressed {
  readonly type: 'readIndexRequest';
  readonly incarnation: number;
  readonly requestId: number;
}

export interface ReadIndexReply extends Addressed {
  readonly type: 'readIndexReply';
  readonly incarnation: number;
  readonly requestId: number;
  /** Null when refused: not the leader any more, or too many reads wait. */
  readonly index: LogIndex | null;
}

// Reads ------------------------------------------------------------------------------------------

/** Sees every write acknowledged before the read began; costs a round to a majority. */
export interface Linearizable {
  readonly kind: 'linearizable';
}

/**
 * Linearizable without a round, on the leader only, as long as no clock of the group drifts more
 * than `maxDriftPpm` against true time. Where the lease does not hold it becomes a linearizable read.
 */
export interface Lease {
  readonly kind: 'lease';
  readonly maxDriftPpm: number;
}

/** Whatever this replica has applied, however old. */
export interface Stale {
  readonly kind: 'stale';
}

export type ReadGuarantee = Linearizable | Lease | Stale;

// Inputs -----------------------------------------------------------------------------------------

export type ConfigurationMode = 'simple' | 'enterJoint' | 'leaveJoint';

/** `update` names a member whose address changed: an entry in the log, the same sets. */
export interface ConfigurationChange {
  readonly op: 'addVoter' | 'addLearner' | 'remove' | 'update';
  readonly id: ReplicaId;
}

/** Two timers are all a replica needs; setting one replaces it. */
export type TimerId = 'election' | 'heartbeat';

/** `nowUs` is this host's monotonic clock (CLOCK_BOOTTIME), in integer microseconds. */
export type Timed<T> = T & { readonly nowUs: number };

export type Input =
  /** Exactly once, first. */
  | { readonly type: 'start' }
  | { readonly type: 'message'; readonly message: Message }
  | { readonly type: 'timer'; readonly id: TimerId }
  /** Answered per command by `proposed` or `proposalRejected`, in this step. */
  | { readonly type: 'propose'; readonly commands: readonly Command[] }
  | {
      readonly type: 'changeConfiguration';
      readonly requestId: number;
      readonly mode: ConfigurationMode;
      readonly changes: readonly ConfigurationChange[];
      readonly autoLeave: boolean;
    }
  /** Answered by `transferEnded`. */
  | { readonly type: 'transferLeadership'; readonly to: ReplicaId }
  /** Answered by `readReady` or `readRejected`. `requestId` is unique among the waiting reads. */
  | { readonly type: 'read'; readonly requestId: number; readonly guarantee: ReadGuarantee }
  /** Everything up to and including `token` is durable. */
  | { readonly type: 'persisted'; readonly token: number }
  /** A write or its fdatasync failed: what is on the disk is unknown, so this life is over. */
  | { readonly type: 'persistFailed'; readonly reason: string }
  /** The state machine has taken all entries (or the restored snapshot) up to `index`. */
  | { readonly type: 'applied'; readonly index: LogIndex }
  /** Answers `takeSnapshot`; the snapshot is durable. */
  | {
      readonly type: 'snapshotTaken';
      readonly index: LogIndex;
      readonly sizeBytes: number;
      readonly digest: string;
    }
  | { readonly type: 'snapshotFailed'; readonly index: LogIndex }
  /** Answers `readSnapshot`. Null data: it could not be read, the transfer starts again later. */
  | {
      readonly type: 'snapshotRead';
      readonly to: ReplicaId;
      readonly index: LogIndex;
      readonly digest: string;
      readonly offset: number;
      readonly data: Uint8Array | null;
    }
  /** Answers `verifySnapshot`: whether the received bytes have the digest they were named by. */
  | { readonly type: 'snapshotVerified'; readonly digest: string; readonly ok: boolean }
  /** The link to a replica broke: what was in flight is lost. */
  | { readonly type: 'unreachable'; readonly id: ReplicaId }
  /** Stand for election at once (first start of a group, operator). Still asks for pre-votes. */
  | { readonly type: 'campaign' };

export interface Command {
  readonly requestId: number;
  readonly data: Uint8Array;
}

// Effects ----------------------------------------------------------------------------------------

/**
 * In the order they must be begun. `persist`, `persistSnapshotChunk`, `compact` and
 * `discardSnapshot` go to one queue, strictly in order; one `persisted` may answer several tokens.
 * `apply`, `restore` and `takeSnapshot` go to the state machine, strictly in order.
 */
export type Effect =
  | Persist
  | PersistSnapshotChunk
  | Send
  | Apply
  | { readonly type: 'restore'; readonly snapshot: Snapshot }
  /**
   * Cut a snapshot of the state as of exactly `index`: all applies before this are in it. Term and
   * configuration are kept with it, or a restart would not know who the group is.
   */
  | {
      readonly type: 'takeSnapshot';
      readonly index: LogIndex;
      readonly term: Term;
      readonly configuration: Configuration;
    }
  /** The log up to `throughIndex` may go; the durable snapshot at `snapshotIndex` covers it. */
  | {
      readonly type: 'compact';
      readonly throughIndex: LogIndex;
      readonly throughTerm: Term;
      readonly snapshotIndex: LogIndex;
    }
  /** Nobody needs this snapshot any more; `received` means only the part got from a leader. */
  | { readonly type: 'discardSnapshot'; readonly snapshot: Snapshot; readonly received: boolean }
  | {
      readonly type: 'readSnapshot';
      readonly to: ReplicaId;
      readonly snapshot: Snapshot;
      readonly offset: number;
      readonly lengthBytes: number;
    }
  | { readonly type: 'verifySnapshot'; readonly snapshot: Snapshot }
  | { readonly type: 'setTimer'; readonly id: TimerId; readonly atUs: number }
  | { readonly type: 'cancelTimer'; readonly id: TimerId }
  | {
      readonly type: 'proposed';
      readonly requestId: number;
      readonly index: LogIndex;
      readonly term: Term;
    }
  | {
      readonly type: 'proposalRejected';
      readonly requestId: number;
      readonly code: RejectionCode;
      readonly leader: ReplicaId | null;
    }
  /** The state machine may be read now: it is at `index` or later. */
  | {
      readonly type: 'readReady';
      readonly requestId: number;
      readonly index: LogIndex;
      /** What the read really rests on: a lease read may have fallen back to `linearizable`. */
      readonly guarantee: ReadGuarantee['kind'];
    }
  | {
      readonly type: 'readRejected';
      readonly requestId: number;
      readonly code: RejectionCode;
      readonly leader: ReplicaId | null;
    }
  | {
      readonly type: 'roleChanged';
      readonly role: Role;
      readonly term: Term;
      readonly leader: ReplicaId | null;
      readonly reason: string;
    }
  /** In this replica's log, not yet committed unless a later `apply` brings its entry. */
  | {
      readonly type: 'configurationChanged';
      readonly index: LogIndex;
      readonly configuration: Configuration;
    }
  | {
      readonly type: 'transferEnded';
      readonly to: ReplicaId;
      readonly ok: boolean;
      readonly reason: string;
    }
  /** This life is over: nothing more will be said. Restart from what the disk really holds. */
  | { readonly type: 'halted'; readonly reason: string };

/** One atomic write: all of it survives a crash, or none; and never a later one without it. */
export interface Persist {
  readonly type: 'persist';
  readonly token: number;
  readonly hardState: HardState;
  /** Replace everything from the first one's index on. */
  readonly entries: readonly Entry[];
  /** Install the received snapshot: it replaces state and log; `entries` come after it. */
  readonly snapshot: Snapshot | null;
}

export interface PersistSnapshotChunk {
  readonly type: 'persistSnapshotChunk';
  readonly token: number;
  readonly snapshot: Snapshot;
  /** 0 starts the file anew. */
  readonly offset: number;
  readonly data: Uint8Array;
}

/** May leave only when `after` is durable (null: at once). May be lost, doubled, overtaken. */
export interface Send {
  readonly type: 'send';
  readonly after: number | null;
  readonly message: Message;
}

/** Committed and locally durable entries, contiguous. The host answers `applied`. */
export interface Apply {
  readonly type: 'apply';
  readonly entries: readonly Entry[];
}

export type RejectionCode =
  | 'notLeader'
  | 'transferring' // leadership is being handed over
  | 'uncommittedLimit' // too many bytes wait for a majority: come back later
  | 'tooLarge' // one command above the limit of a message
  | 'tooManyReads'
  | 'changePending' // a configuration change is in the log and not yet committed
  | 'noCommitInTerm' // a new leader has not committed an entry of its own term yet
  | 'leaderChanged' // the read's leader is gone; ask again
  | 'halted'
  | ConfigurationRejectionCode;

/** Why `changeConfiguration` says no. */
export type ConfigurationRejectionCode =
  | 'alreadyJoint'
  | 'notJoint'
  | 'noVoters'
  | 'notSimple' // more than one voter would differ: use a joint change
  | 'changesOnLeave'
  | 'badId';

// Construction and view --------------------------------------------------------------------------

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** What the disk held at start. */
export interface Restored {
  readonly hardState: HardState;
  /** The log begins after it. A group's founder has index 0 and the founding configuration. */
  readonly snapshot: Snapshot;
  /** Contiguous; the first index is at most one above the snapshot's (a kept tail may overlap it). */
  readonly entries: readonly Entry[];
  /** (index, term) just before `entries`, where a tail is kept below the snapshot. */
  readonly compacted: { readonly index: LogIndex; readonly term: Term } | null;
  /** What the state machine holds; at least the snapshot's index. */
  readonly appliedIndex: LogIndex;
  /** A transfer that broke off: it goes on from here. */
  readonly partialSnapshot: { readonly snapshot: Snapshot; readonly receivedBytes: number } | null;
  /**
   * The log may have held synced entries up to here that are damaged: until a leader brings them
   * again this replica votes for a shorter log only where all voters do, and stands only so.
   */
  readonly damagedIndex: LogIndex | null;
  /** The highest term that the entry at `damagedIndex` may have had. Absent: that of the hard state. */
  readonly damagedTerm?: Term;
  /** Term or vote are damaged: this replica never votes again. */
  readonly voteDamaged: boolean;
}

export interface RaftLimits {
  /** Entries' bytes in one append. */
  readonly messageBytes: number;
  /** Appends, and their bytes, on the way to one follower. */
  readonly inflightMessages: number;
  readonly inflightBytes: number;
  /** Bytes of commands proposed and not committed. */
  readonly uncommittedBytes: number;
  /** Bytes handed to the state machine and not yet applied. */
  readonly applyingBytes: number;
  readonly waitingReads: number;
  readonly snapshotChunkBytes: number;
  /** A snapshot is cut at every index that is a multiple of this; 0 never. */
  readonly snapshotEveryEntries: number;
  /** Entries kept below a snapshot, for followers that lag a little. */
  readonly keptTailEntries: number;
  /** Above this the log is cut even below a snapshot that is still being sent. */
  readonly logBytes: number;
}

export interface RaftTiming {
  readonly heartbeatUs: number;
  /** An election starts between this and its double, drawn anew each time. */
  readonly electionUs: number;
  /** A write that takes longer makes a leader step down. */
  readonly diskStallUs: number;
}

export interface RaftOptions {
  readonly id: ReplicaId;
  readonly restored: Restored;
  readonly random: RandomStream;
  readonly timing?: Partial<RaftTiming>;
  readonly limits?: Partial<RaftLimits>;
}

export interface PeerStatus {
  readonly id: ReplicaId;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly matchIndex: LogIndex;
  readonly nextIndex: LogIndex;
  readonly inflightMessages: number;
  readonly inflightBytes: number;
  readonly lastContactUs: number | null;
  readonly snapshotBytesAcknowledged: number;
}

export interface RaftStatus {
  readonly id: ReplicaId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: ReplicaId | null;
  readonly leader: ReplicaId | null;
  readonly configuration: Configuration;
  readonly configurationIndex: LogIndex;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly stableIndex: LogIndex;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly snapshot: Snapshot;
  readonly uncommittedBytes: number;
  /** Leader only. */
  readonly peers: readonly PeerStatus[];
  readonly transferTo: ReplicaId | null;
  readonly halted: string | null;
}

export interface Raft {
  readonly step: (input: Timed<Input>) => readonly Effect[];
  readonly status: () => RaftStatus;
}
