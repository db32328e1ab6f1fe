/** The source's session actor: performs what its machine decides, and reports. */
import type { dwcp } from '#wire';
import type { MigrationPhase, MigrationReceipt } from '../node.ts';
import type {
  Guest,
  IncomingEndpoint,
  OutgoingMigration,
  RoundReport,
  TransferProgress,
} from '../ports/hypervisor.ts';
import type { TransferProfile } from '../ports/transfer-profile.ts';
import type { LadderHelp, LadderOptions } from '../protocols/migration/ladder.ts';
import { ReturnReader } from '../protocols/migration/return-log.ts';
import {
  type SourceEffect,
  type SourceInput,
  SourceMachine,
  type SourcePhase,
  type SourceResult,
  type Verification,
} from '../protocols/migration/source.ts';
import type { MigrationTerms } from '../protocols/migration/types.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { transportOf } from './link-rdma.ts';
import {
  added,
  CodecGain,
  etaOf,
  faultOf,
  GoodputMeter,
  NO_TRANSFER,
  publicPhase,
} from './migration-progress.ts';
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
import { encodeMessage, sessionPath } from './migration-wire.ts';
import type { ActorContext, SpawnOptions } from './system.ts';

export interface SourceSessionOptions extends SessionParts {
  readonly terms: MigrationTerms;
  readonly from: string;
  readonly to: string;
  /** Null when the process behind a fence record is gone: then there is only a record to settle. */
  readonly guest: Guest | null;
  readonly reference: Guest['reference'];
  readonly link: SessionLink | null;
  readonly profile: TransferProfile;
  readonly isRestored: boolean;
  readonly isPostcopy?: boolean;
  readonly isResumed: boolean;
  readonly ladder?: Omit<LadderOptions, 'maxDowntimeMs'>;
  /** Bytes per second that the link lets through right now; 0 is unlimited. */
  readonly maxBandwidth: () => number;
  readonly publish: (status: SessionStatus) => void;
  /** Called once, also when the session could not do what it wanted. */
  readonly finished: Completion<SourceSessionResult>;
}

export interface SourceSessionResult {
  readonly result: SourceResult;
  readonly receipt: MigrationReceipt | null;
}

export type SourceMessage =
  | SessionCommand
  | { readonly type: 'input'; readonly input: SourceInput }
  | { readonly type: 'checked'; readonly outcome: Outcome<void> }
  | { readonly type: 'outgoing'; readonly outcome: Outcome<OutgoingMigration> }
  | { readonly type: 'measured'; readonly outcome: Outcome<RoundReport> }
  | { readonly type: 'sample' };

const SAMPLE_INTERVAL_US = 100_000;

export function sourceSession(
  name: string,
  options: SourceSessionOptions,
): SpawnOptions<SourceSession, SourceMessage> {
  return {
    name,
    mailboxLimit: SESSION_MAILBOX_LIMIT,
    initialState: (context) => new SourceSession(options, context),
    behavior: (session, message, context) => {
      session.receive(message, context);
      return session;
    },
  };
}

export class SourceSession {
  readonly #options: SourceSessionOptions;
  readonly #machine: SourceMachine;
  readonly #shell: MigrationShell<SourceMessage>;
  readonly #returns = new ReturnReader();
  readonly #goodput = new GoodputMeter();
  readonly #gain = new CodecGain();
  readonly #startedAtUs: number;
  #outgoing: OutgoingMigration | null = null;
  #transfer: TransferProgress = NO_TRANSFER;
  /** By outgoing migrations before this one, which an agent's death at the destination ended. */
  #spent: TransferProgress = NO_TRANSFER;
  #goodputBytesPerSec = 0;
  #stoppedMs = 0;
  #isFinished = false;

  constructor(options: SourceSessionOptions, context: ActorContext<SourceMessage>) {
    const { terms, from, to, reference, link, isRestored, isResumed, isPostcopy = false } = options;
    this.#options = options;
    this.#startedAtUs = context.nowUs();
    this.#shell = new MigrationShell(terms.migrationId, link, options);
    const fence = { reference };
    const linkIsUp = link !== null;
    this.#machine = new SourceMachine({
      ...{ terms, self: from, to, fence, linkIsUp, isRestored, isResumed, isPostcopy },
      ...(options.ladder === undefined ? {} : { ladder: options.ladder }),
    });
    if (isRestored || isResumed || options.guest === null) this.#step({ type: 'start' }, context);
    else this.#preflight(options.guest, context);
    context.setTimer('sample', context.nowUs() + SAMPLE_INTERVAL_US, { type: 'sample' });
  }

  receive(message: SourceMessage, context: ActorContext<SourceMessage>): void {
    if (this.#isFinished) return;
    switch (message.type) {
      case 'sample':
        this.#publish(null, context);
        return context.setTimer('sample', context.nowUs() + SAMPLE_INTERVAL_US, message);
      case 'news':
        return this.#news(message.news, context);
      case 'checked':
        return this.#checked(message.outcome, context);
      case 'outgoing':
        return this.#opened(message.outcome, context);
      case 'measured': {
        this.#sampleTransfer(context);
        const { dirtyBytesPerSec } = this.#transfer;
        const { outcome } = message;
        // The limit is of the wire; what it lets through of the guest's memory is more by what codecs gain.
        const maxBytesPerSec = this.#options.maxBandwidth() * this.#gain.sample(this.#transfer);
        const input = { type: 'roundDone', outcome, dirtyBytesPerSec, maxBytesPerSec } as const;
        return this.#step(input, context);
      }
      case 'cancel':
        return this.#cancel(message.done, context);
      case 'applied':
        return this.#step(message, context);
      case 'claimed':
        return this.#step(message, context);
      case 'input':
        return this.#step(message.input, context);
    }
  }

  #preflight(guest: Guest, context: ActorContext<SourceMessage>): void {
    const { verify } = this.#options.terms;
    const done = context.completion<void>((outcome) => ({ type: 'checked', outcome }));
    context.effect(() => guest.preflight({ verify }, done));
  }

  #checked(outcome: Outcome<void>, context: ActorContext<SourceMessage>): void {
    // Cancelled meanwhile: its end is under way.
    if (this.#machine.phase !== 'idle') return;
    if (outcome.ok) return this.#step({ type: 'start' }, context);
    this.#finish({ type: 'stayed', error: outcome.error }, context);
  }

  #cancel(done: Completion<void>, context: ActorContext<SourceMessage>): void {
    if (this.#machine.isPastNoReturn) {
      return context.effect(() => done(failed(tooLate(this.#options.terms.migrationId))));
    }
    this.#step({ type: 'cancel' }, context);
    context.effect(() => done(succeeded(undefined)));
  }

  #news(news: LinkNews, context: ActorContext<SourceMessage>): void {
    const returned = news.type === 'envelope' ? news.envelope.returnBytes : null;
    if (returned) return this.#returned(returned, context);
    const input = this.#shell.translate(news);
    if (input?.type === 'linkUp' && this.#returns.takenBytes > 0) this.#tellTaken(context);
    if (input !== null) this.#step(input, context);
  }

  #returned(piece: dwcp.IReturnBytes, context: ActorContext<SourceMessage>): void {
    const outgoing = this.#outgoing;
    const data = this.#returns.take({ offset: piece.offset ?? 0, data: piece.data ?? NOTHING });
    if (data === null) {
      const error = new DwcpError('ERR_DWCP_PROTOCOL', 'the return path has a hole');
      return this.#step({ type: 'outgoingFailed', error }, context);
    }
    if (data.length === 0) return;
    context.effect(() => outgoing?.writeReturn(data));
    if (this.#returns.tellNow()) this.#tellTaken(context);
  }

  #tellTaken(context: ActorContext<SourceMessage>): void {
    const { migrationId } = this.#options.terms;
    const path = sessionPath(migrationId);
    const returnTaken = { migrationId, bytes: this.#returns.takenBytes };
    context.effect(() => this.#shell.sendEnvelope({ from: path, to: path, returnTaken }));
  }

  #opened(outcome: Outcome<OutgoingMigration>, context: ActorContext<SourceMessage>): void {
    if (outcome.ok) {
      this.#spent = this.#transfer;
      this.#outgoing = outcome.value;
    }
    this.#step({ type: 'opened', outcome }, context);
  }

  #step(input: SourceInput, context: ActorContext<SourceMessage>): void {
    if (input.type === 'stored') this.#shell.noteStored(input);
    const before = this.#machine.phase;
    const effects = this.#machine.step({ ...input, nowUs: context.nowUs() });
    const after = this.#machine.phase;
    const { stoppedAtUs } = this.#machine;
    if (stoppedAtUs !== null && this.#stoppedMs === 0 && RUNS_AGAIN.has(after)) {
      this.#stoppedMs = (context.nowUs() - stoppedAtUs) / 1000;
    }
    for (const effect of effects) this.#perform(effect, context);
    if (before !== after && !this.#isFinished) this.#publish(null, context);
  }

  #perform(effect: SourceEffect, context: ActorContext<SourceMessage>): void {
    const outgoing = this.#outgoing;
    const done = (operation: SimpleOperation): Completion<void> =>
      context.completion((outcome) => toInput({ type: 'done', operation, outcome }));
    switch (effect.type) {
      case 'openOutgoing':
        return this.#open(effect.endpoint, context);
      case 'round': {
        const reported = context.completion<RoundReport>((outcome) => ({
          type: 'measured',
          outcome,
        }));
        return context.effect(() => opened(outgoing).round(reported));
      }
      case 'askHeld': {
        const { firstPage, pageCount } = effect;
        const { migrationId } = this.#options.terms;
        const key = outgoing?.holdKey ?? NOTHING;
        const message = { type: 'heldRequest', firstPage, pageCount, key } as const;
        return context.effect(() => this.#shell.sendEnvelope(encodeMessage(migrationId, message)));
      }
      case 'held': {
        const compared = context.completion<number>((outcome) =>
          toInput({ type: 'held', outcome }),
        );
        return context.effect(() => compareHeld(opened(outgoing), effect, compared));
      }
      case 'help':
        return this.#help(effect.help, context);
      case 'stopAndCopy': {
        const copied = context.completion<RoundReport>((outcome) =>
          toInput({ type: 'copied', outcome }),
        );
        return context.effect(() => opened(outgoing).stopAndCopy(copied));
      }
      case 'fence': {
        const fenced = done('fence');
        return context.effect(() => opened(outgoing).fence(fenced));
      }
      case 'stopForPostcopy': {
        const fenced = done('fence');
        return context.effect(() => stopForPostcopy(opened(outgoing), fenced));
      }
      case 'postcopy': {
        const whole = done('postcopy');
        return context.effect(() => this.#postcopy(whole));
      }
      case 'digests': {
        const { firstPage, pageCount } = effect;
        const answered = context.completion<Uint8Array>((outcome) =>
          toInput({ type: 'digests', firstPage, outcome }),
        );
        return context.effect(() => opened(outgoing).digests(firstPage, pageCount, answered));
      }
      case 'abortGuest': {
        const aborted = done('abortGuest');
        return context.effect(() => opened(outgoing).abort(aborted));
      }
      case 'unfence': {
        const unfenced = done('unfence');
        return context.effect(() => this.#unfence(unfenced));
      }
      case 'release': {
        const released = done('release');
        return context.effect(() => this.#release(released));
      }
      case 'finished':
        return this.#finish(effect.result, context);
      default:
        return this.#shell.perform(effect, context, toInput);
    }
  }

  #open(endpoint: IncomingEndpoint, context: ActorContext<SourceMessage>): void {
    const { guest, terms, profile } = this.#options;
    const link = this.#shell.link;
    const opening = context.completion<OutgoingMigration>((outcome) => ({
      type: 'outgoing',
      outcome,
    }));
    const onFailure = context.listener<DwcpError>((error) =>
      toInput({ type: 'outgoingFailed', error }),
    );
    if (guest === null || link === null) {
      return context.effect(() => opening(failed(new DwcpError('ERR_DWCP_CLOSED', 'link lost'))));
    }
    const { transferId, epoch, migrationId, maxDowntimeMs } = terms;
    const mayThrottle = (this.#options.ladder?.throttlePercentMax ?? 0) > 0;
    const limits = { maxDowntimeMs, mayThrottle, mayPostcopy: terms.allowPostcopy };
    const options = {
      ...{ transferId, epoch, migrationId, ...limits, profile, endpoint, link: link.bulk },
    };
    context.effect(() =>
      guest.openOutgoing({ ...options, onFailure: (error) => void onFailure(error) }, opening),
    );
  }

  #help(help: LadderHelp, context: ActorContext<SourceMessage>): void {
    const { migrationId } = this.#options.terms;
    const done = context.completion<void>((outcome) => toInput({ type: 'helped', outcome }));
    const outgoing = this.#outgoing;
    const link = this.#shell.link?.link;
    if (help.type === 'throttle') {
      return context.effect(() => opened(outgoing).throttle(help.percent, done));
    }
    const { type: what } = help;
    if (this.#options.profile === 'v1') {
      const what = 'profile v1 has one stream and one way to encode';
      return context.effect(() => done(failed(new DwcpError('ERR_DWCP_UNSUPPORTED', what))));
    }
    const told = link?.tell({ type: 'press', migrationId, what, done });
    if (told === 'accepted') return;
    context.effect(() => done(failed(new DwcpError('ERR_DWCP_CLOSED', 'the link is down'))));
  }

  #unfence(done: Completion<void>): void {
    const { guest } = this.#options;
    if (guest !== null) return guest.unfence(done);
    done(failed(this.#gone()));
  }

  #gone(): DwcpError {
    const what = `the process of "${this.#options.terms.guestName}" is gone`;
    return new DwcpError('ERR_DWCP_GUEST_FAILED', what, {
      hint: 'Its memory is lost on this host; start it anew, or look for it at the destination.',
    });
  }

  /** Of what an earlier process began only QEMU itself knows how far it got. */
  #postcopy(done: Completion<void>): void {
    const { guest } = this.#options;
    if (this.#outgoing?.postcopy !== undefined) return this.#outgoing.postcopy(done);
    if (guest?.hasLeft === undefined) return done(failed(this.#gone()));
    guest.hasLeft((left) => {
      if (!left.ok) return done(left);
      const what = 'its agent restarted in the middle of post-copy';
      done(left.value ? succeeded(undefined) : failed(new DwcpError('ERR_DWCP_CLOSED', what)));
    });
  }

  /** Without an outgoing migration (a restarted agent) the frozen guest itself is killed. */
  #release(done: Completion<void>): void {
    if (this.#outgoing !== null) return this.#outgoing.release(done);
    if (this.#options.guest !== null) return this.#options.guest.kill(done);
    done(succeeded(undefined));
  }

  // ---- reporting --------------------------------------------------------------------------------

  #finish(result: SourceResult, context: ActorContext<SourceMessage>): void {
    this.#isFinished = true;
    this.#sampleTransfer(context);
    const { migrationId } = this.#options.terms;
    if (this.#machine.ladderSteps.length > 0) {
      this.#shell.link?.link.tell({ type: 'release', migrationId });
    }
    const receipt = result.type === 'moved' ? this.#receipt(result.verification, context) : null;
    this.#publish({ result, receipt }, context);
    context.effect(() => this.#options.finished(succeeded({ result, receipt })));
    context.stop(context.self);
  }

  #receipt(
    verification: Verification | null,
    context: ActorContext<SourceMessage>,
  ): MigrationReceipt {
    const { terms, from, to } = this.#options;
    return {
      migrationId: terms.migrationId,
      guest: terms.guestName,
      from,
      to,
      rounds: this.#machine.round,
      steps: this.#machine.ladderSteps,
      postcopy: this.#machine.isPostcopy,
      totalMs: (context.nowUs() - this.#startedAtUs) / 1000,
      stoppedMs: this.#stoppedMs,
      wireBytes: this.#transfer.wireBytes,
      rawBytes: this.#transfer.rawBytes,
      zeroPages: this.#transfer.zeroPages,
      duplicatePages: this.#transfer.duplicatePages,
      deltaPages: this.#transfer.deltaPages,
      compressedPages: this.#transfer.compressedPages,
      rawPages: this.#transfer.rawPages,
      comparedPages: verification?.comparedPages ?? 0,
      differentPages: verification?.differentPages ?? 0,
      cuts: this.#machine.cuts,
      restarts: this.#machine.restarts,
      heldPages: this.#machine.heldEqualPages,
      ...transportOf(this.#shell.link?.bulk.counters()),
      verified:
        verification === null ? null : verification.complete && verification.differentPages === 0,
    };
  }

  #sampleTransfer(context: ActorContext<SourceMessage>): void {
    const { phase } = this.#machine;
    if (this.#outgoing === null || (RUNS_AGAIN.has(phase) && phase !== 'postcopy')) return;
    this.#transfer = added(this.#outgoing.progress(), this.#spent);
    this.#goodputBytesPerSec = this.#goodput.sample(this.#transfer.ackedBytes, context.nowUs());
  }

  #publish(finish: SourceSessionResult | null, context: ActorContext<SourceMessage>): void {
    if (finish === null) this.#sampleTransfer(context);
    const { terms, from, to } = this.#options;
    const transfer = this.#transfer;
    const result = finish?.result ?? null;
    const isFailure = result !== null && result.type !== 'moved';
    const error = isFailure ? result.error : this.#machine.failure;
    const rate = this.#goodputBytesPerSec;
    const status: SessionStatus = {
      ...transfer,
      migrationId: terms.migrationId,
      guest: terms.guestName,
      from,
      to,
      side: 'source',
      phase: finish === null ? publicPhase(this.#machine.phase) : finalPhase(finish.result),
      round: this.#machine.round,
      totalBytes: terms.memoryBytes,
      goodputBytesPerSec: rate,
      etaMs: etaOf(transfer.remainingBytes, rate, transfer.dirtyBytesPerSec),
      reason: this.#machine.interruption(context.nowUs()) ?? this.#reason(),
      error: faultOf(error),
      receipt: finish?.receipt ?? null,
    };
    context.effect(() => this.#options.publish(status));
  }

  /** With what the group lacks, when that is what the guest stands still for. */
  #reason(): string {
    const { reason, phase } = this.#machine;
    const problem = phase === 'outcomeUnknown' ? this.#options.ownership.group().problem : null;
    return problem === null ? reason : `${reason} (${problem})`;
  }
}

const NOTHING = new Uint8Array(0);

type SimpleOperation = 'fence' | 'abortGuest' | 'unfence' | 'postcopy' | 'release';

/** From here on the guest runs somewhere again, and its source's counters stand still. */
const RUNS_AGAIN: ReadonlySet<SourcePhase> = new Set([
  'postcopy',
  'unfencing',
  'verifying',
  'releasing',
  'settling',
  'finished',
]);

function toInput(input: SourceInput): SourceMessage {
  return { type: 'input', input };
}

function compareHeld(
  outgoing: OutgoingMigration,
  { firstPage, hashes }: SourceEffect & { type: 'held' },
  done: Completion<number>,
): void {
  if (outgoing.held !== undefined) return outgoing.held(firstPage, hashes, done);
  done(failed(new DwcpError('ERR_DWCP_UNSUPPORTED', 'nothing of this guest can be regained')));
}

function stopForPostcopy(outgoing: OutgoingMigration, done: Completion<void>): void {
  if (outgoing.stopForPostcopy !== undefined) return outgoing.stopForPostcopy(done);
  done(failed(new DwcpError('ERR_DWCP_UNSUPPORTED', 'this guest cannot be moved by post-copy')));
}

function opened(outgoing: OutgoingMigration | null): OutgoingMigration {
  assert(outgoing !== null, 'the outgoing migration was opened');
  return outgoing;
}

function finalPhase(result: SourceResult): MigrationPhase {
  if (result.type === 'moved') return 'completed';
  return result.error.code === 'ERR_DWCP_CANCELLED' ? 'cancelled' : 'failed';
}
