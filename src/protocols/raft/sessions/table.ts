/**
 * Exactly once: a command that comes again, because its client heard no answer or its leader died,
 * gets the answer of the first time and is not run again (Raft thesis, section 6.3). The table is
 * part of the replicated state: it changes only by entries, and travels in every snapshot.
 */
import { assert } from '../../../util/assert.ts';
import { getU64, putU64, type SessionCommand } from './command.ts';

export type SessionResult =
  | { readonly kind: 'opened'; readonly session: number }
  /** `repeated`: this is the answer of the first time. */
  | { readonly kind: 'ran'; readonly answer: Uint8Array; readonly repeated: boolean }
  | { readonly kind: 'closed' }
  /** Nobody knows this session (any more): whether its open commands ran, only their effects tell. */
  | { readonly kind: 'unknownSession' }
  /** The client said that it has this answer. */
  | { readonly kind: 'alreadyAnswered' }
  /** Too many answers that the client has not acknowledged: not run. */
  | { readonly kind: 'windowFull' };

export interface SessionLimits {
  /** The one used longest ago gives way. */
  readonly sessions: number;
  readonly answersPerSession: number;
}

interface Session {
  readonly id: number;
  /** Index of the last entry that used it. */
  usedAt: number;
  answeredThrough: number;
  readonly answers: Map<number, Uint8Array>;
}

const U64_BYTES = 8;

export class SessionTable {
  readonly #limits: SessionLimits;
  #sessions: Map<number, Session> = new Map();

  constructor(limits: SessionLimits) {
    assert(limits.sessions > 0 && limits.answersPerSession > 0, 'session limits are above 0');
    this.#limits = limits;
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** `run` is called at most once per (session, sequence), whatever comes in. */
  apply(
    index: number,
    command: SessionCommand,
    run: (command: Uint8Array) => Uint8Array,
  ): SessionResult {
    if (command.kind === 'open') return this.#open(index);
    const session = this.#sessions.get(command.session);
    if (session === undefined) return { kind: 'unknownSession' };
    session.usedAt = index;
    if (command.kind === 'close') {
      this.#sessions.delete(session.id);
      return { kind: 'closed' };
    }
    this.#forgetAnswered(session, command.answeredThrough);
    const { sequence } = command;
    const known = session.answers.get(sequence);
    if (known !== undefined) return { kind: 'ran', answer: known, repeated: true };
    if (sequence <= session.answeredThrough) return { kind: 'alreadyAnswered' };
    if (session.answers.size >= this.#limits.answersPerSession) return { kind: 'windowFull' };
    const answer = run(command.command);
    session.answers.set(sequence, answer);
    return { kind: 'ran', answer, repeated: false };
  }

  #open(index: number): SessionResult {
    assert(!this.#sessions.has(index), `one session begins at ${index}`);
    if (this.#sessions.size >= this.#limits.sessions) this.#evict();
    this.#sessions.set(index, {
      id: index,
      usedAt: index,
      answeredThrough: 0,
      answers: new Map(),
    });
    return { kind: 'opened', session: index };
  }

  #evict(): void {
    let oldest: Session | null = null;
    for (const session of this.#sessions.values()) {
      if (oldest === null || session.usedAt < oldest.usedAt) oldest = session;
    }
    if (oldest !== null) this.#sessions.delete(oldest.id);
  }

  #forgetAnswered(session: Session, through: number): void {
    // Commands proposed together all say the same, and the first has done it.
    if (through <= session.answeredThrough) return;
    session.answeredThrough = through;
    for (const sequence of session.answers.keys()) {
      if (sequence <= session.answeredThrough) session.answers.delete(sequence);
    }
  }

  /** Sorted throughout: two replicas with the same history write the same bytes. */
  encode(): Uint8Array {
    const parts: Uint8Array[] = [numbers(this.#sessions.size)];
    for (const session of [...this.#sessions.values()].sort((a, b) => a.id - b.id)) {
      const { id, usedAt, answeredThrough, answers } = session;
      parts.push(numbers(id, usedAt, answeredThrough, answers.size));
      for (const [sequence, answer] of [...answers].sort(([a], [b]) => a - b)) {
        parts.push(numbers(sequence, answer.length), answer);
      }
    }
    return joined(parts);
  }

  /** Takes the place of everything; `bytes` are exactly what `encode` wrote. */
  restore(bytes: Uint8Array): void {
    const reader = new Reader(bytes);
    const sessions: Map<number, Session> = new Map();
    for (let left = reader.number(); left > 0; left -= 1) {
      const [id, usedAt, answeredThrough] = [reader.number(), reader.number(), reader.number()];
      const answers: Map<number, Uint8Array> = new Map();
      for (let more = reader.number(); more > 0; more -= 1) {
        const sequence = reader.number();
        answers.set(sequence, reader.bytes(reader.number()));
      }
      sessions.set(id, { id, usedAt, answeredThrough, answers });
    }
    assert(reader.isAtEnd, 'a session table ends where its bytes end');
    this.#sessions = sessions;
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  number(): number {
    const value = getU64(this.#bytes, this.#at);
    assert(value !== null, 'the digest of the snapshot was checked');
    this.#at += U64_BYTES;
    return value;
  }

  bytes(count: number): Uint8Array {
    assert(this.#at + count <= this.#bytes.length, 'the digest of the snapshot was checked');
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }
}

function numbers(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * U64_BYTES);
  for (const [at, value] of values.entries()) putU64(bytes, at * U64_BYTES, value);
  return bytes;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
