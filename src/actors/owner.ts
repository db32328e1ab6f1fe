/**
 * The owner: this host's word in the replicated log of who may run which VM. Begins its life there
 * before it proposes anything else, so that a copy of its data directory is found out first.
 */
import type { Storage } from '../ports/storage.ts';
import { decodeAnswer, encodeCommand } from '../protocols/ownership/codec.ts';
import type { OwnershipAnswer, OwnershipCommand } from '../protocols/ownership/types.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { type OwnerLife, takeBackLife } from './owner-records.ts';
import type { ReplicaMessage } from './replica-messages.ts';
import type { ActorContext, ActorRef, SpawnOptions } from './system.ts';

export interface OwnerOptions {
  readonly host: string;
  readonly dataDir: string;
  readonly life: OwnerLife;
  readonly storage: Storage;
  readonly replica: ActorRef<ReplicaMessage>;
  /** This host must not go on: its data directory is a copy of one that lives elsewhere. */
  readonly onHalt: (error: DwcpError) => void;
}

/** On `full` or `dead` the sender answers `done` itself. */
export type OwnerMessage =
  | {
      readonly type: 'propose';
      readonly command: OwnershipCommand;
      readonly patienceMs: number | null;
      readonly done: Completion<OwnershipAnswer>;
    }
  | {
      readonly type: 'answered';
      readonly proposal: Proposal;
      readonly outcome: Outcome<Uint8Array>;
    }
  /** Patience is over for one that still waits for `begin`. */
  | { readonly type: 'expired'; readonly proposal: Proposal }
  /** The log has a later life of this host than this one. */
  | { readonly type: 'superseded' }
  | { readonly type: 'tookBack'; readonly error: DwcpError };

interface Proposal {
  readonly id: number;
  readonly command: OwnershipCommand;
  readonly deadlineUs: number | null;
  readonly done: Completion<OwnershipAnswer>;
}

type Context = ActorContext<OwnerMessage>;

const MAILBOX_LIMIT = 4096;
/** Proposals of this host that nobody answered yet. */
const PROPOSALS_MAX = 1024;

export function ownerActor(options: OwnerOptions): SpawnOptions<Owner, OwnerMessage> {
  return {
    name: 'owner',
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => new Owner(options, context),
    behavior: (owner, message, context) => {
      owner.receive(message, context);
      return owner;
    },
  };
}

class Owner {
  readonly #options: OwnerOptions;
  readonly #begin: Proposal;
  #phase: 'beginning' | 'begun' | 'over' = 'beginning';
  /** Why it is over. */
  #error: DwcpError | null = null;
  readonly #waiting = new Map<number, Proposal>();
  #sent = 0;
  #proposals = 0;

  constructor(options: OwnerOptions, context: Context) {
    this.#options = options;
    const { host, life } = options;
    const command: OwnershipCommand = { type: 'begin', host, ...life };
    this.#begin = { id: 0, command, deadlineUs: null, done: () => {} };
    this.#send(this.#begin, context);
  }

  receive(message: OwnerMessage, context: Context): void {
    switch (message.type) {
      case 'propose':
        return this.#propose(message, context);
      case 'answered':
        return this.#answered(message.proposal, message.outcome, context);
      case 'expired':
        return this.#expired(message.proposal, context);
      case 'superseded':
        return this.#end(cloned(this.#options), context);
      case 'tookBack':
        return this.#end(message.error, context);
    }
  }

  #propose(message: OwnerMessage & { type: 'propose' }, context: Context): void {
    const { command, patienceMs, done } = message;
    const error = this.#error ?? this.#full();
    if (error !== null) return context.effect(() => done(failed(error)));
    this.#proposals += 1;
    const deadlineUs = patienceMs === null ? null : context.nowUs() + patienceMs * 1000;
    const proposal = { id: this.#proposals, command, deadlineUs, done };
    if (this.#phase === 'begun') return this.#send(proposal, context);
    this.#waiting.set(proposal.id, proposal);
    if (deadlineUs === null) return;
    context.setTimer(`patience-${proposal.id}`, deadlineUs, { type: 'expired', proposal });
  }

  #full(): DwcpError | null {
    if (this.#waiting.size + this.#sent < PROPOSALS_MAX) return null;
    return new DwcpError('ERR_DWCP_LIMIT', `${PROPOSALS_MAX} proposals wait for the group`, {
      hint: 'Try again when the group has a leader.',
    });
  }

  #send(proposal: Proposal, context: Context): void {
    const { command, deadlineUs } = proposal;
    const leftUs = deadlineUs === null ? null : Math.max(0, deadlineUs - context.nowUs());
    const patienceMs = leftUs === null ? null : Math.ceil(leftUs / 1000);
    this.#sent += 1;
    const done = context.completion<Uint8Array>((outcome) => {
      return { type: 'answered', proposal, outcome };
    });
    context.effect(() => {
      const { replica } = this.#options;
      const bytes = encodeCommand(command);
      const told = replica.tell({ type: 'propose', command: bytes, patienceMs, done });
      if (told === 'accepted') return;
      const code = told === 'full' ? 'ERR_DWCP_LIMIT' : 'ERR_DWCP_CLOSED';
      done(failed(new DwcpError(code, `the replica of this host is ${told}`)));
    });
  }

  #answered(proposal: Proposal, outcome: Outcome<Uint8Array>, context: Context): void {
    this.#sent -= 1;
    // Whether it ran nobody knows any more, but it may run twice: every command is idempotent.
    if (!outcome.ok && outcome.error.code === 'ERR_DWCP_OUTCOME_UNKNOWN') {
      return this.#send(proposal, context);
    }
    const answer = outcome.ok ? answerOf(outcome.value) : outcome;
    if (proposal === this.#begin) return this.#begun(answer, context);
    context.effect(() => proposal.done(answer));
  }

  #begun(answer: Outcome<OwnershipAnswer>, context: Context): void {
    if (!answer.ok) return this.#fail(answer.error, context);
    if (!answer.value.ok) return this.#refused(answer.value.code, context);
    this.#phase = 'begun';
    for (const proposal of this.#takeWaiting(context)) this.#send(proposal, context);
  }

  #refused(code: string, context: Context): void {
    const { storage, life } = this.#options;
    const error = code === 'clonedDirectory' ? cloned(this.#options) : noPlace(this.#options);
    const tookBack = context.completion<void>(() => ({ type: 'tookBack', error }));
    context.effect(() => takeBackLife(storage, life, tookBack));
  }

  #end(error: DwcpError, context: Context): void {
    if (this.#phase === 'over') return;
    this.#fail(error, context);
    context.effect(() => this.#options.onHalt(error));
  }

  #fail(error: DwcpError, context: Context): void {
    this.#phase = 'over';
    this.#error = error;
    for (const { done } of this.#takeWaiting(context)) context.effect(() => done(failed(error)));
  }

  #takeWaiting(context: Context): readonly Proposal[] {
    const waiting = [...this.#waiting.values()];
    for (const { id } of waiting) context.cancelTimer(`patience-${id}`);
    this.#waiting.clear();
    return waiting;
  }

  #expired({ id, done }: Proposal, context: Context): void {
    if (!this.#waiting.delete(id)) return;
    const error = new DwcpError('ERR_DWCP_NO_QUORUM', 'the group did not hear of this host yet', {
      hint: 'Most of the hosts in group.voters must run and be connected.',
    });
    context.effect(() => done(failed(error)));
  }
}

function answerOf(bytes: Uint8Array): Outcome<OwnershipAnswer> {
  const answer = decodeAnswer(bytes);
  assert(answer !== null, 'the machine answers what can be read');
  return succeeded(answer);
}

function cloned({ host, dataDir, life }: OwnerOptions): DwcpError {
  return new DwcpError(
    'ERR_DWCP_STORAGE',
    `the data directory ${dataDir} is a copy: another one of "${host}" began life ${life.life} or a later one`,
    {
      hint: 'Run the agent on the data directory that ran last; a restored copy cannot be trusted with VMs.',
    },
  );
}

function noPlace({ host }: OwnerOptions): DwcpError {
  return new DwcpError('ERR_DWCP_LIMIT', `the group knows too many hosts to let "${host}" in`, {
    hint: 'Begin a new group with empty data directories.',
  });
}
