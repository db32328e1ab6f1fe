/**
 * A state machine under Raft: applies what is committed, once per session and sequence, and tells
 * every proposal of this host what became of it. It belongs beside a core, not inside: the core
 * orders bytes, this gives them their meaning.
 */
import { assert } from '../../../util/assert.ts';
import type { Entry, LogIndex, Term } from '../types.ts';
import { decodeSessionCommand, getU64, putU64 } from './command.ts';
import { joined, type SessionLimits, type SessionResult, SessionTable } from './table.ts';

/** What the embedder replicates. Deterministic: no clock, no chance, nothing of this host. */
export interface Application {
  /** Never throws; what is wrong with a command is an answer. */
  execute(command: Uint8Array, index: LogIndex): Uint8Array;
  /** The same bytes for the same state on every replica. */
  encode(): Uint8Array;
  restore(bytes: Uint8Array): void;
}

export type ProposalOutcome =
  | SessionResult
  /** Another leader wrote something else there: not run, propose it again. */
  | { readonly kind: 'replaced' }
  /** A snapshot went past it: propose it again, the session knows whether it ran. */
  | { readonly kind: 'unknown' };

export interface Settled {
  readonly requestId: number;
  readonly outcome: ProposalOutcome;
}

interface Proposal {
  readonly requestId: number;
  readonly term: Term;
}

const U64_BYTES = 8;

export class SessionMachine {
  readonly #application: Application;
  readonly #sessions: SessionTable;
  readonly #proposals: Map<LogIndex, Proposal> = new Map();
  #appliedIndex: LogIndex = 0;

  constructor(application: Application, limits: SessionLimits) {
    this.#application = application;
    this.#sessions = new SessionTable(limits);
  }

  get appliedIndex(): LogIndex {
    return this.#appliedIndex;
  }

  /** From the core's `proposed`. An older proposal at the same index is known to be replaced. */
  proposed(requestId: number, index: LogIndex, term: Term): readonly Settled[] {
    const before = this.#proposals.get(index);
    this.#proposals.set(index, { requestId, term });
    if (before === undefined) return [];
    return [{ requestId: before.requestId, outcome: { kind: 'replaced' } }];
  }

  apply(entries: readonly Entry[]): readonly Settled[] {
    const settled: Settled[] = [];
    for (const entry of entries) {
      assert(entry.index === this.#appliedIndex + 1, 'entries are applied in order');
      const result = this.#applyOne(entry);
      this.#appliedIndex = entry.index;
      const proposal = this.#proposals.get(entry.index);
      if (proposal === undefined) continue;
      this.#proposals.delete(entry.index);
      const isOurs = proposal.term === entry.term && result !== null;
      const outcome: ProposalOutcome = isOurs ? result : { kind: 'replaced' };
      settled.push({ requestId: proposal.requestId, outcome });
    }
    return settled;
  }

  #applyOne(entry: Entry): SessionResult | null {
    if (entry.kind !== 'command') return null;
    const command = decodeSessionCommand(entry.data);
    if (command === null) return { kind: 'unknownSession' };
    return this.#sessions.apply(entry.index, command, (bytes) =>
      this.#application.execute(bytes, entry.index),
    );
  }

  /** Index, sessions, application: a session that a snapshot forgot would run a command twice. */
  encode(): Uint8Array {
    const sessions = this.#sessions.encode();
    const header = new Uint8Array(2 * U64_BYTES);
    putU64(header, 0, this.#appliedIndex);
    putU64(header, U64_BYTES, sessions.length);
    return joined([header, sessions, this.#application.encode()]);
  }

  restore(bytes: Uint8Array): readonly Settled[] {
    const index = getU64(bytes, 0);
    const length = getU64(bytes, U64_BYTES);
    assert(index !== null && length !== null, 'the digest of the snapshot was checked');
    const start = 2 * U64_BYTES;
    this.#sessions.restore(bytes.subarray(start, start + length));
    this.#application.restore(bytes.subarray(start + length));
    this.#appliedIndex = index;
    const passed = [...this.#proposals].filter(([at]) => at <= index);
    for (const [at] of passed) this.#proposals.delete(at);
    return passed.map(([, { requestId }]) => ({ requestId, outcome: { kind: 'unknown' } }));
  }
}
