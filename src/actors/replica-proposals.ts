/**
 * One host's commands on their way through the log, exactly once each. They run in a session of this
 * life of the replica: however often one is sent, and through however many leaders, the session runs
 * it once, and the answer is taken from the log as this host applies it.
 *
 *   waiting -> in flight (has a sequence; sent, and sent again) -> answered | out of patience
 *
 * A session that the group forgot takes nothing with it: what had not run until then never will under
 * the old sequence, and gets one in the next session. Only where a snapshot went past a command can
 * nobody here say whether it ran.
 */
import {
  encodeSessionCommand,
  NONCE_BYTES,
  putRunCommand,
  SESSION_OVERHEAD_BYTES,
  sequenceIn,
} from '../protocols/raft/sessions/command.ts';
import type { ProposalOutcome } from '../protocols/raft/sessions/machine.ts';
import type { SessionLimits } from '../protocols/raft/sessions/table.ts';
import type { Command } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import type { ForwardRejection } from './raft-wire.ts';
import type { ProposalLimits } from './replica-options.ts';

/** Part of the replicated state: the same on every replica of every group. */
export const SESSION_LIMITS: SessionLimits = { sessions: 256, answersPerSession: 4096 };

/** The request that opens the session; commands have 1, 2, 3, ... */
const OPEN_REQUEST = 0;

interface Proposal {
  readonly command: Uint8Array;
  readonly deadlineUs: number | null;
  readonly done: Completion<Uint8Array>;
  /** What goes into the log, once it has a sequence. */
  data: Uint8Array;
  sentUs: number | null;
  /** A snapshot went past while it was under way: it may have run. */
  passed: boolean;
  isOver: boolean;
}

const NOTHING = new Uint8Array();
const TAKEN_KEPT = 1024;

export class ReplicaProposals {
  readonly #limits: ProposalLimits;
  readonly #commandBytesMax: number;
  readonly #nonce: () => Uint8Array;
  #session: number | null = null;
  #opening: { readonly data: Uint8Array; sentUs: number | null } | null = null;
  #sequence = 0;
  #waiting: Proposal[] = [];
  #waitingHead = 0;
  /** By sequence, ascending. */
  readonly #inflight = new Map<number, Proposal>();
  #inflightBytes = 0;
  /** None below it is in flight. */
  #oldest = 1;
  #hasUnsent = false;
  #count = 0;
  #bytes = 0;

  constructor(limits: ProposalLimits, messageBytes: number, nonce: () => Uint8Array) {
    this.#limits = limits;
    // The core counts some bytes for each entry; one command is one entry.
    this.#commandBytesMax = messageBytes - SESSION_OVERHEAD_BYTES - 64;
    this.#nonce = nonce;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Something could be sent now, if there is a leader. */
  get isReady(): boolean {
    if (this.#count === 0) return false;
    if (this.#session === null) return this.#opening === null || this.#opening.sentUs === null;
    if (this.#hasUnsent) return true;
    return this.#waitingHead < this.#waiting.length && this.#hasRoom();
  }

  add(command: Uint8Array, deadlineUs: number | null, done: Completion<Uint8Array>): void {
    const { waiting, waitingBytes } = this.#limits;
    if (command.length > this.#commandBytesMax) {
      return done(failed(tooLarge(command.length, this.#commandBytesMax)));
    }
    if (this.#count >= waiting || this.#bytes + command.length > waitingBytes) {
      const message = `${this.#count} proposals of ${this.#bytes} bytes wait for the group already`;
      return done(failed(new DwcpError('ERR_DWCP_LIMIT', message, { hint: HINT_LIMIT })));
    }
    this.#count += 1;
    this.#bytes += command.length;
    this.#waiting.push({
      command,
      deadlineUs,
      done,
      data: NOTHING,
      sentUs: null,
      passed: false,
      isOver: false,
    });
  }

  /** What is to be proposed now, the oldest first. The caller sends it to whom it believes to lead. */
  take(nowUs: number): readonly Command[] {
    const commands: Command[] = [];
    if (this.#count === 0) return commands;
    if (this.#session === null) {
      this.#opening ??= {
        data: encodeSessionCommand({ kind: 'open', nonce: this.#nonce() }),
        sentUs: null,
      };
      if (this.#opening.sentUs !== null) return commands;
      this.#opening.sentUs = nowUs;
      return [{ requestId: OPEN_REQUEST, data: this.#opening.data }];
    }
    if (this.#hasUnsent) this.#takeUnsent(commands, nowUs);
    this.#takeWaiting(this.#session, commands, nowUs);
    return commands;
  }

  #takeUnsent(commands: Command[], nowUs: number): void {
    this.#hasUnsent = false;
    for (const [requestId, proposal] of this.#inflight) {
      if (proposal.sentUs !== null) continue;
      proposal.sentUs = nowUs;
      commands.push({ requestId, data: proposal.data });
    }
  }

  #takeWaiting(session: number, commands: Command[], nowUs: number): void {
    const taken: Proposal[] = [];
    let bytes = 0;
    while (this.#waitingHead < this.#waiting.length && this.#hasRoom()) {
      const proposal = this.#waiting[this.#waitingHead];
      this.#waitingHead += 1;
      if (proposal === undefined || proposal.isOver) continue;
      this.#sequence += 1;
      this.#inflight.set(this.#sequence, proposal);
      const dataBytes = SESSION_OVERHEAD_BYTES + proposal.command.length;
      this.#inflightBytes += dataBytes;
      bytes += dataBytes;
      taken.push(proposal);
    }
    this.#encode(session, taken, bytes, nowUs, commands);
    // Under steady load it is never empty: what was taken must not pile up before its head.
    const isTaken = this.#waitingHead === this.#waiting.length;
    if (!isTaken && this.#waitingHead < TAKEN_KEPT) return;
    this.#waiting = this.#waiting.slice(this.#waitingHead);
    this.#waitingHead = 0;
  }

  /** In one buffer: they go into the log together, and out of it about as much so. */
  #encode(
    session: number,
    taken: readonly Proposal[],
    bytes: number,
    nowUs: number,
    commands: Command[],
  ): void {
    if (taken.length === 0) return;
    const buffer = new Uint8Array(bytes);
    const answeredThrough = this.#oldestSequence() - 1;
    let sequence = this.#sequence - taken.length;
    let at = 0;
    for (const proposal of taken) {
      sequence += 1;
      const { command } = proposal;
      putRunCommand(buffer, at, { kind: 'run', session, sequence, answeredThrough, command });
      const end = at + SESSION_OVERHEAD_BYTES + command.length;
      proposal.data = buffer.subarray(at, end);
      proposal.sentUs = nowUs;
      commands.push({ requestId: sequence, data: proposal.data });
      at = end;
    }
  }

  /** The session keeps so many answers: a sequence further ahead would find it full. */
  #hasRoom(): boolean {
    const ahead = this.#sequence + 1 - this.#oldestSequence();
    if (ahead >= SESSION_LIMITS.answersPerSession) return false;
    return this.#inflightBytes === 0 || this.#inflightBytes < this.#limits.inflightBytes;
  }

  /** Asked of the map's keys it would walk, each time, over all that were deleted at its head. */
  #oldestSequence(): number {
    while (this.#oldest <= this.#sequence && !this.#inflight.has(this.#oldest)) this.#oldest += 1;
    return this.#oldest;
  }

  // ---- what becomes of them -----------------------------------------------------------------------

  /** The request whose bytes these are, or null: another host's, or one that nobody waits for. */
  requestOf(data: Uint8Array): number | null {
    if (this.#session === null) {
      return this.#opening !== null && isEqual(data, this.#opening.data) ? OPEN_REQUEST : null;
    }
    const sequence = sequenceIn(this.#session, data);
    return sequence !== null && this.#inflight.has(sequence) ? sequence : null;
  }

  settled(requestId: number, outcome: ProposalOutcome): void {
    if (requestId === OPEN_REQUEST) {
      if (outcome.kind !== 'opened' || this.#session !== null) return;
      this.#session = outcome.session;
      this.#opening = null;
      return;
    }
    const proposal = this.#inflight.get(requestId);
    // It is in the log more than once, and its answer was given.
    if (proposal === undefined) return;
    if (outcome.kind === 'ran') {
      this.#end(requestId, proposal);
      return proposal.done(succeeded(outcome.answer));
    }
    assert(outcome.kind === 'unknownSession', `command ${requestId} is run, not ${outcome.kind}`);
    this.#sessionLost();
  }

  #sessionLost(): void {
    this.#session = null;
    this.#opening = null;
    const again: Proposal[] = [];
    for (const [sequence, proposal] of this.#inflight) {
      if (!proposal.passed) {
        again.push(proposal);
        continue;
      }
      this.#end(sequence, proposal);
      const message = 'the group forgot the session of this host while a snapshot went past';
      const hint = 'Look at what the command was to change before proposing it again.';
      proposal.done(failed(new DwcpError('ERR_DWCP_OUTCOME_UNKNOWN', message, { hint })));
    }
    this.#inflight.clear();
    this.#inflightBytes = 0;
    this.#hasUnsent = false;
    this.#sequence = 0;
    this.#oldest = 1;
    this.#waiting = [...again, ...this.#waiting.slice(this.#waitingHead)];
    this.#waitingHead = 0;
  }

  /** It was not appended; it is sent again when something has changed. */
  rejected(requestId: number, code: ForwardRejection): void {
    if (requestId === OPEN_REQUEST) {
      if (this.#opening !== null) this.#opening.sentUs = null;
      return;
    }
    const proposal = this.#inflight.get(requestId);
    if (proposal === undefined) return;
    if (code === 'tooLarge') {
      this.#end(requestId, proposal);
      return proposal.done(failed(tooLarge(proposal.command.length, this.#commandBytesMax)));
    }
    proposal.sentUs = null;
    this.#hasUnsent = true;
  }

  /** Another leader, or a link that broke: what was sent may be lost. */
  sendAgain(): void {
    this.silentSince(Number.POSITIVE_INFINITY);
  }

  /** What was sent before and not heard of is to be sent again. */
  silentSince(sentUs: number): void {
    const opening = this.#opening;
    if (opening?.sentUs != null && opening.sentUs <= sentUs) opening.sentUs = null;
    for (const proposal of this.#inflight.values()) {
      if (proposal.sentUs === null || proposal.sentUs > sentUs) continue;
      proposal.sentUs = null;
      this.#hasUnsent = true;
    }
  }

  /** A snapshot took the place of entries that this host never saw. */
  passed(): void {
    for (const proposal of this.#inflight.values()) proposal.passed = true;
    this.sendAgain();
  }

  expire(nowUs: number, error: () => DwcpError): void {
    for (let at = this.#waitingHead; at < this.#waiting.length; at += 1) {
      const proposal = this.#waiting[at];
      if (proposal !== undefined && isDue(proposal, nowUs)) {
        this.#forget(proposal);
        proposal.done(failed(error()));
      }
    }
    for (const [sequence, proposal] of this.#inflight) {
      if (!isDue(proposal, nowUs)) continue;
      this.#end(sequence, proposal);
      proposal.done(failed(error()));
    }
  }

  /** Nothing more will come of any of them here. */
  close(error: DwcpError): void {
    const all = [...this.#inflight.values(), ...this.#waiting.slice(this.#waitingHead)];
    this.#inflight.clear();
    this.#inflightBytes = 0;
    this.#waiting = [];
    this.#waitingHead = 0;
    for (const proposal of all) {
      if (proposal.isOver) continue;
      this.#forget(proposal);
      proposal.done(failed(error));
    }
  }

  #end(sequence: number, proposal: Proposal): void {
    this.#inflight.delete(sequence);
    this.#inflightBytes -= proposal.data.length;
    this.#forget(proposal);
  }

  #forget(proposal: Proposal): void {
    proposal.isOver = true;
    this.#count -= 1;
    this.#bytes -= proposal.command.length;
  }
}

const HINT_LIMIT = 'Wait for answers before proposing more.';

function isDue({ isOver, deadlineUs }: Proposal, nowUs: number): boolean {
  return !isOver && deadlineUs !== null && deadlineUs <= nowUs;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

function tooLarge(bytes: number, most: number): DwcpError {
  return new DwcpError('ERR_DWCP_LIMIT', `a command of ${bytes} bytes; at most ${most} fit`);
}

export function makeNonce(bytes: (count: number) => Uint8Array): Uint8Array {
  return bytes(NONCE_BYTES);
}
