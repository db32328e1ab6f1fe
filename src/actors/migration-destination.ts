/** The destination's session actor: performs what its machine decides, and reports. */
import type { dwcp } from '#wire';
import type { MigrationPhase } from '../node.ts';
import type {
  Guest,
  GuestDescription,
  GuestReference,
  Hypervisor,
  IncomingGuest,
  IncomingOptions,
} from '../ports/hypervisor.ts';
import {
  type DestinationBeginning,
  type DestinationEffect,
  type DestinationInput,
  DestinationMachine,
  type DestinationPhase,
  type DestinationResult,
  nameOf,
  termsOf,
} from '../protocols/migration/destination.ts';
import { ReturnLog, type ReturnPiece } from '../protocols/migration/return-log.ts';
import type { MigrationTerms } from '../protocols/migration/types.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { faultOf, NO_TRANSFER } from './migration-progress.ts';
import {
  type LinkNews,
  MigrationShell,
  SESSION_MAILBOX_LIMIT,
  type SessionCommand,
  type SessionLink,
  type SessionParts,
  type SessionStatus,
  tooLate,
} from './migration-shell.ts';
import { sessionPath } from './migration-wire.ts';
import type { ActorContext, SpawnOptions } from './system.ts';

export interface DestinationSessionOptions extends SessionParts {
  readonly migrationId: string;
  readonly from: string;
  readonly to: string;
  readonly begin: DestinationBeginning;
  /** What an earlier process left, of all of the guest or of a part, alive. */
  readonly arrived: Guest | null;
  readonly hypervisor: Hypervisor | null;
  readonly link: SessionLink | null;
  readonly publish: (status: SessionStatus) => void;
  /** The guest runs here from now on. */
  readonly received: (guest: Guest, epoch: number) => void;
  readonly finished: Completion<DestinationResult>;
}

export type DestinationMessage =
  | SessionCommand
  | { readonly type: 'input'; readonly input: DestinationInput }
  | { readonly type: 'incoming'; readonly outcome: Outcome<IncomingGuest> }
  | { readonly type: 'running'; readonly outcome: Outcome<Guest> };

export function destinationSession(
  name: string,
  options: DestinationSessionOptions,
): SpawnOptions<DestinationSession, DestinationMessage> {
  return {
    name,
    mailboxLimit: SESSION_MAILBOX_LIMIT,
    initialState: (context) => new DestinationSession(options, context),
    behavior: (session, message, context) => {
      session.receive(message, context);
      return session;
    },
  };
}

export class DestinationSession {
  readonly #options: DestinationSessionOptions;
  readonly #machine: DestinationMachine;
  readonly #shell: MigrationShell<DestinationMessage>;
  #incoming: IncomingGuest | null = null;
  /** Until something is received on in it. */
  #left: Guest | null;
  readonly #returns = new ReturnLog();
  #round = 0;
  #remainingBytes = 0;
  #isFinished = false;

  constructor(options: DestinationSessionOptions, context: ActorContext<DestinationMessage>) {
    const { migrationId, from, to, begin, link } = options;
    this.#options = options;
    this.#left = options.arrived;
    this.#shell = new MigrationShell(migrationId, link, options);
    this.#machine = new DestinationMachine({ migrationId, self: to, from, begin });
    this.#step({ type: 'start' }, context);
    // Applied before this session was there to hear of it.
    const vm = options.ownership.get(this.#guestName);
    this.#step({ type: 'applied', vm }, context);
  }

  receive(message: DestinationMessage, context: ActorContext<DestinationMessage>): void {
    if (this.#isFinished) return;
    switch (message.type) {
      case 'news':
        return this.#news(message.news, context);
      case 'incoming':
        return this.#prepared(message.outcome, context);
      case 'running':
        return this.#running(message.outcome, context);
      case 'cancel':
        return this.#cancel(message.done, context);
      case 'applied':
        return this.#step(message, context);
      case 'claimed':
        // A claim gives a frozen guest back; what is on its way here is settled by its own commit.
        return;
      case 'input':
        return this.#step(message.input, context);
    }
  }

  #cancel(done: Completion<void>, context: ActorContext<DestinationMessage>): void {
    if (!this.#machine.isUndecided) {
      return context.effect(() => done(failed(tooLate(this.#options.migrationId))));
    }
    this.#step({ type: 'cancel' }, context);
    context.effect(() => done(succeeded(undefined)));
  }

  get #guestName(): string {
    return nameOf(this.#options.begin).guestName;
  }

  #news(news: LinkNews, context: ActorContext<DestinationMessage>): void {
    if (news.type === 'envelope') this.#onReturnPath(news.envelope, context);
    const input = this.#shell.translate(news);
    if (input === null) return;
    if (input.type === 'message' && input.message.type === 'roundDone') {
      this.#round = input.message.round;
      this.#remainingBytes = input.message.remainingBytes;
      this.#publish(null, context);
    }
    this.#step(input, context);
  }

  /** The source says what it took before it says that it is back: then the rest is said again. */
  #onReturnPath(
    { returnTaken, reattach }: dwcp.IEnvelope,
    context: ActorContext<DestinationMessage>,
  ): void {
    if (returnTaken && !this.#returns.taken(returnTaken.bytes ?? 0)) {
      const error = new DwcpError('ERR_DWCP_PROTOCOL', 'it took more than was said to it');
      return this.#step({ type: 'incomingFailed', error }, context);
    }
    if (!reattach) return;
    for (const piece of this.#returns.untaken()) context.effect(() => this.#sendReturn(piece));
  }

  #sayBack(data: Uint8Array): boolean {
    const piece = this.#returns.say(data);
    if (piece !== null) this.#sendReturn(piece);
    return piece !== null;
  }

  #sendReturn(piece: ReturnPiece): void {
    const { migrationId } = this.#options;
    const path = sessionPath(migrationId);
    const returnBytes = { migrationId, ...piece };
    this.#shell.sendEnvelope({ from: path, to: path, returnBytes });
  }

  #prepared(outcome: Outcome<IncomingGuest>, context: ActorContext<DestinationMessage>): void {
    if (outcome.ok) {
      this.#incoming = outcome.value;
      this.#left = null;
    }
    this.#step({ type: 'prepared', outcome }, context);
  }

  #running(outcome: Outcome<Guest>, context: ActorContext<DestinationMessage>): void {
    const { epoch } = this.#machine;
    if (outcome.ok) context.effect(() => this.#options.received(outcome.value, epoch));
    const reference: Outcome<GuestReference> = outcome.ok
      ? succeeded(outcome.value.reference)
      : failed(outcome.error);
    this.#step({ type: 'resumed', outcome: reference }, context);
  }

  #step(input: DestinationInput, context: ActorContext<DestinationMessage>): void {
    if (input.type === 'stored') this.#shell.noteStored(input);
    const before = this.#machine.phase;
    const effects = this.#machine.step({ ...input, nowUs: context.nowUs() });
    for (const effect of effects) this.#perform(effect, context);
    if (before !== this.#machine.phase && !this.#isFinished) this.#publish(null, context);
  }

  #perform(effect: DestinationEffect, context: ActorContext<DestinationMessage>): void {
    const incoming = this.#incoming;
    switch (effect.type) {
      case 'prepareIncoming':
        return this.#prepare(effect.terms, context);
      case 'resumeIncoming':
        return this.#resumeIncoming(effect.terms, context);
      case 'held': {
        const { firstPage, pageCount, key } = effect;
        const done = context.completion<Uint8Array>((outcome) =>
          toInput({ type: 'held', firstPage, outcome }),
        );
        const { held } = prepared(incoming);
        if (held === undefined) return context.effect(() => done(failed(notRegainable())));
        return context.effect(() => prepared(incoming).held?.(firstPage, pageCount, key, done));
      }
      case 'load': {
        const done = context.completion<void>((outcome) => toInput({ type: 'loaded', outcome }));
        return context.effect(() => prepared(incoming).loaded(done));
      }
      case 'resume':
        return this.#resume(context);
      case 'discard': {
        const done = context.completion<void>((outcome) => toInput({ type: 'discarded', outcome }));
        const left = this.#left;
        if (left !== null) return context.effect(() => left.kill(done));
        return context.effect(() => prepared(incoming).discard(done));
      }
      case 'digests': {
        const { firstPage, pageCount } = effect;
        const done = context.completion<Uint8Array>((outcome) =>
          toInput({ type: 'digests', firstPage, outcome }),
        );
        return context.effect(() => this.#digests(firstPage, pageCount, done));
      }
      case 'finished':
        return this.#finish(effect.result, context);
      default:
        return this.#shell.perform(effect, context, toInput);
    }
  }

  #prepare(terms: MigrationTerms, context: ActorContext<DestinationMessage>): void {
    const { hypervisor } = this.#options;
    const done = context.completion<IncomingGuest>((outcome) => ({ type: 'incoming', outcome }));
    const options = this.#incomingOptions(terms, context);
    if (hypervisor === null || options === null) {
      const error = new DwcpError('ERR_DWCP_UNSUPPORTED', `no ${terms.guestKind} guests here`);
      return context.effect(() => done(failed(error)));
    }
    context.effect(() => hypervisor.prepareIncoming(options, done));
  }

  /** The receiver of before is closed first: what is on its way to it must not land any more. */
  #resumeIncoming(terms: MigrationTerms, context: ActorContext<DestinationMessage>): void {
    const done = context.completion<IncomingGuest>((outcome) => ({ type: 'incoming', outcome }));
    const options = this.#incomingOptions(terms, context);
    const resume = (guest: Guest): void => {
      if (guest.resumeIncoming === undefined || options === null)
        return done(failed(notRegainable()));
      guest.resumeIncoming(options, done);
    };
    const left = this.#left;
    if (left !== null) return context.effect(() => resume(left));
    const { suspend } = prepared(this.#incoming);
    if (suspend === undefined) return context.effect(() => done(failed(notRegainable())));
    context.effect(() =>
      this.#incoming?.suspend?.((guest) => (guest.ok ? resume(guest.value) : done(guest))),
    );
  }

  #incomingOptions(
    terms: MigrationTerms,
    context: ActorContext<DestinationMessage>,
  ): IncomingOptions | null {
    const onFailure = context.listener<DwcpError>((error) =>
      toInput({ type: 'incomingFailed', error }),
    );
    const link = this.#shell.link;
    if (link === null) return null;
    const { migrationId, transferId, epoch, verify } = terms;
    return {
      ...{ migrationId, transferId, epoch, verify, link: link.bulk, description: describe(terms) },
      mayPostcopy: terms.allowPostcopy,
      onFailure: (error) => void onFailure(error),
      onReturn: (data) => {
        if (!this.#sayBack(data)) void onFailure(deafSource());
      },
    };
  }

  /** Behind an applied commit only. A guest that an earlier process left may run already. */
  #resume(context: ActorContext<DestinationMessage>): void {
    const done = context.completion<Guest>((outcome) => ({ type: 'running', outcome }));
    const left = this.#left;
    if (left === null) {
      const incoming = prepared(this.#incoming);
      return context.effect(() => incoming.resume(done));
    }
    context.effect(() =>
      left.state((state) => {
        if (state.ok && state.value === 'running') return done(succeeded(left));
        left.unfence((outcome) => done(outcome.ok ? succeeded(left) : failed(outcome.error)));
      }),
    );
  }

  #digests(firstPage: number, pageCount: number, done: Completion<Uint8Array>): void {
    if (this.#incoming !== null) return this.#incoming.digests(firstPage, pageCount, done);
    done(
      failed(
        new DwcpError('ERR_DWCP_VERIFY_FAILED', 'what landed was noted by an earlier process'),
      ),
    );
  }

  #finish(result: DestinationResult, context: ActorContext<DestinationMessage>): void {
    this.#isFinished = true;
    this.#publish(result, context);
    context.effect(() => this.#options.finished(succeeded(result)));
    context.stop(context.self);
  }

  #publish(result: DestinationResult | null, context: ActorContext<DestinationMessage>): void {
    const { migrationId, from, to, begin } = this.#options;
    const error = result?.type === 'refused' ? result.error : this.#machine.failure;
    const status: SessionStatus = {
      ...NO_TRANSFER,
      remainingBytes: this.#remainingBytes,
      migrationId,
      guest: this.#guestName,
      from,
      to,
      side: 'destination',
      phase: result === null ? PHASES[this.#machine.phase] : finalPhase(result),
      round: this.#round,
      totalBytes: termsOf(begin)?.memoryBytes ?? 0,
      goodputBytesPerSec: 0,
      etaMs: null,
      reason: this.#machine.reason,
      error: faultOf(error),
      receipt: null,
    };
    context.effect(() => this.#options.publish(status));
  }
}

const PHASES: Readonly<Record<DestinationPhase, MigrationPhase>> = {
  idle: 'preflight',
  preparing: 'preflight',
  receiving: 'precopy',
  loading: 'stopAndCopy',
  loaded: 'stopAndCopy',
  arriving: 'committing',
  committing: 'committing',
  resuming: 'committing',
  committed: 'verifying',
  discarding: 'failed',
  finished: 'completed',
};

function finalPhase(result: DestinationResult): MigrationPhase {
  if (result.type === 'received') return 'completed';
  return result.error.code === 'ERR_DWCP_CANCELLED' ? 'cancelled' : 'failed';
}

function notRegainable(): DwcpError {
  return new DwcpError('ERR_DWCP_UNSUPPORTED', 'nothing of this guest can be regained', {
    hint: 'Start the migration anew.',
  });
}

function deafSource(): DwcpError {
  return new DwcpError('ERR_DWCP_LIMIT', 'the source takes nothing of the return path any more');
}

function toInput(input: DestinationInput): DestinationMessage {
  return { type: 'input', input };
}

function prepared(incoming: IncomingGuest | null): IncomingGuest {
  assert(incoming !== null, 'the incoming guest was prepared');
  return incoming;
}

function describe(terms: MigrationTerms): GuestDescription {
  return {
    kind: terms.guestKind,
    name: terms.guestName,
    memoryBytes: terms.memoryBytes,
    pageBytes: terms.pageBytes,
    machine: terms.machine,
    // Checked when the request was decoded.
    launch: JSON.parse(terms.launchJson) as GuestDescription['launch'],
  };
}
