/**
 * The source's half of one migration. It owns the guest until its own fence record is durable and
 * `fenced` was sent; from then on only the destination's abort, or an operator, makes the guest run
 * here again: never a time-out, a lost link or an error.
 */
import type { IncomingEndpoint, OutgoingMigration, RoundReport } from '../../ports/hypervisor.ts';
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import { type ConvergenceDecision, decideConvergence, type EtaInterval } from './convergence.ts';
import {
  type CommonEffect,
  type CommonInput,
  DIGEST_BLOCK_PAGES,
  DIGEST_BLOCKS_IN_FLIGHT_MAX,
  type FenceRecord,
  type MigrationMessage,
  type MigrationTerms,
  recordKey,
  type Timed,
} from './types.ts';

export type SourcePhase =
  | 'idle'
  | 'preparing'
  | 'opening'
  | 'precopy'
  | 'stopAndCopy'
  | 'awaitLoaded'
  | 'strictVerify'
  | 'fencing'
  | 'fencePersisting'
  /** `fenced` is with the peer, or was when the link broke: the point of no return is behind us. */
  | 'fenced'
  | 'outcomeUnknown'
  | 'claiming'
  | 'unfencing'
  | 'verifying'
  | 'releasing'
  | 'settling'
  | 'aborting'
  | 'finished';

export type SourceOperation =
  | 'openOutgoing'
  | 'round'
  | 'stopAndCopy'
  | 'fence'
  | 'digests'
  | 'abortGuest'
  | 'unfence'
  | 'release';

export type SourceInput =
  | CommonInput
  | { readonly type: 'start' }
  | { readonly type: 'opened'; readonly outcome: Outcome<OutgoingMigration | null> }
  | {
      readonly type: 'roundDone';
      readonly outcome: Outcome<RoundReport>;
      readonly dirtyBytesPerSec: number;
    }
  | { readonly type: 'copied'; readonly outcome: Outcome<RoundReport> }
  | {
      readonly type: 'done';
      readonly operation: 'fence' | 'abortGuest' | 'unfence' | 'release';
      readonly outcome: Outcome<void>;
    }
  | { readonly type: 'digests'; readonly firstPage: number; readonly outcome: Outcome<Uint8Array> }
  /** The outgoing migration failed outside an operation. */
  | { readonly type: 'outgoingFailed'; readonly error: DwcpError }
  | { readonly type: 'cancel' }
  | { readonly type: 'claim'; readonly operator: string };

export type SourceEffect =
  | CommonEffect
  | { readonly type: 'openOutgoing'; readonly endpoint: IncomingEndpoint }
  | { readonly type: 'round' }
  | { readonly type: 'stopAndCopy' }
  | { readonly type: 'fence' }
  | { readonly type: 'digests'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'abortGuest' }
  | { readonly type: 'unfence' }
  | { readonly type: 'release' }
  | { readonly type: 'finished'; readonly result: SourceResult };

export type SourceResult =
  | { readonly type: 'moved'; readonly verification: Verification | null }
  | { readonly type: 'stayed'; readonly error: DwcpError };

export interface Verification {
  readonly comparedPages: number;
  readonly differentPages: number;
  readonly complete: boolean;
}

export interface SourceOptions {
  readonly terms: MigrationTerms;
  readonly to: string;
  readonly fence: Omit<FenceRecord, 'migrationId' | 'to' | 'epoch' | 'guestName'>;
  readonly linkIsUp: boolean;
  /** A fence record was found at start: everything before it happened in an earlier process. */
  readonly restored: { readonly claimedBy: string | null } | null;
}

const PREPARE_TIMEOUT_US = 60_000_000;
const LOADED_TIMEOUT_US = 60_000_000;
/** A decision that takes this long is asked for again. The time-out asks; it never resumes. */
const DECISION_TIMEOUT_US = 10_000_000;
/** Giving up on comparing after the commit costs only the comparison: the guest runs elsewhere. */
const VERIFY_TIMEOUT_US = 120_000_000;

export class SourceMachine {
  readonly #options: SourceOptions;
  readonly #pageCount: number;
  #phase: SourcePhase = 'idle';
  #linkIsUp: boolean;
  #effects: SourceEffect[] = [];
  #nowUs = 0;
  #round = 0;
  #stalledRounds = 0;
  #remainingBytes = 0;
  #etaMs: EtaInterval | null = null;
  #reason = 'not started';
  /** Operation in flight; an abort waits for those that could still act on the guest. */
  #busy: SourceOperation | 'persistFence' | null = null;
  #isOpen = false;
  #wantAbort: DwcpError | null = null;
  #isCommitted = false;
  #peerKnows = false;
  #failure: DwcpError | null = null;
  #nextDigestPage = 0;
  #comparedPages = 0;
  #differentPages = 0;
  #stoppedAtUs: number | null = null;
  #claimOperator: string | null = null;

  constructor(options: SourceOptions) {
    this.#options = options;
    this.#linkIsUp = options.linkIsUp;
    this.#pageCount = Math.ceil(options.terms.memoryBytes / options.terms.pageBytes);
  }

  get phase(): SourcePhase {
    return this.#phase;
  }
  get round(): number {
    return this.#round;
  }
  get reason(): string {
    return this.#reason;
  }
  get etaMs(): EtaInterval | null {
    return this.#etaMs;
  }
  get remainingBytes(): number {
    return this.#remainingBytes;
  }
  get stoppedAtUs(): number | null {
    return this.#stoppedAtUs;
  }
  get differentPages(): number {
    return this.#differentPages;
  }
  get comparedPages(): number {
    return this.#comparedPages;
  }
  /** Null while all is well; what an operator reads when the guest stands stopped. */
  get failure(): DwcpError | null {
    return this.#failure;
  }
  /** From here on neither cancel nor failure may make the guest run again. */
  get isPastNoReturn(): boolean {
    return PAST_NO_RETURN.has(this.#phase);
  }

  step(input: Timed<SourceInput>): readonly SourceEffect[] {
    assert(this.#effects.length === 0, 'a step left effects behind');
    this.#nowUs = input.nowUs;
    if (this.#phase !== 'finished') this.#take(input);
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #take(input: SourceInput): void {
    switch (input.type) {
      case 'start':
        return this.#start();
      case 'message':
        return this.#receive(input.message);
      case 'linkUp':
        return this.#linkUp(input.peerRestarted);
      case 'linkDown':
        return this.#linkDown(input.error);
      case 'timer':
        return this.#timer(input.id);
      case 'stored':
        return this.#stored(input.token, input.outcome);
      case 'opened':
        return this.#opened(input.outcome);
      case 'roundDone':
        return this.#roundDone(input.outcome, input.dirtyBytesPerSec);
      case 'copied':
        return this.#copied(input.outcome);
      case 'done':
        return this.#done(input.operation, input.outcome);
      case 'digests':
        return this.#digests(input.firstPage, input.outcome);
      case 'outgoingFailed':
        return this.#failed(input.error);
      case 'cancel':
        return this.#cancel();
      case 'claim':
        return this.#claim(input.operator);
    }
  }

  // ---- before the fence -------------------------------------------------------------------------

  #start(): void {
    assert(this.#phase === 'idle', 'a migration starts once');
    const { restored, terms } = this.#options;
    if (restored !== null) return this.#restore(restored.claimedBy);
    if (!this.#linkIsUp) {
      return this.#finish({ type: 'stayed', error: unreachablePeer(this.#options.to) });
    }
    this.#enter('preparing', 'asking the destination');
    this.#send({ type: 'prepareRequest', terms });
    this.#effects.push({ type: 'setTimer', id: 'prepare', atUs: this.#nowUs + PREPARE_TIMEOUT_US });
  }

  #prepared(outcome: Outcome<IncomingEndpoint>): void {
    if (this.#phase !== 'preparing') return;
    this.#effects.push({ type: 'cancelTimer', id: 'prepare' });
    if (!outcome.ok) return this.#abort(outcome.error, false);
    this.#enter('opening', 'the destination is ready');
    this.#busy = 'openOutgoing';
    this.#effects.push({ type: 'openOutgoing', endpoint: outcome.value });
  }

  #opened(outcome: Outcome<OutgoingMigration | null>): void {
    this.#busy = null;
    if (outcome.ok) this.#isOpen = true;
    if (this.#wantAbort !== null) return this.#abortNow();
    if (!outcome.ok) return this.#abort(outcome.error, true);
    this.#enter('precopy', 'sending all memory');
    this.#nextRound();
  }

  #nextRound(): void {
    this.#busy = 'round';
    this.#effects.push({ type: 'round' });
  }

  #roundDone(outcome: Outcome<RoundReport>, dirtyBytesPerSec: number): void {
    if (this.#phase !== 'precopy') return;
    this.#busy = null;
    if (!outcome.ok) return this.#abort(outcome.error, true);
    const report = outcome.value;
    this.#round += 1;
    const decision = decideConvergence({
      round: this.#round,
      sentBytes: report.sentPages * this.#options.terms.pageBytes,
      elapsedUs: report.elapsedUs,
      remainingBytes: report.remainingBytes,
      previousRemainingBytes: this.#remainingBytes,
      dirtyBytesPerSec,
      maxDowntimeMs: this.#options.terms.maxDowntimeMs,
      stalledRounds: this.#stalledRounds,
      stopped: report.stopped,
    });
    this.#remainingBytes = report.remainingBytes;
    this.#send({
      type: 'roundDone',
      round: this.#round,
      sentPages: report.sentPages,
      remainingBytes: report.remainingBytes,
    });
    this.#apply(decision);
  }

  #apply(decision: ConvergenceDecision): void {
    this.#stalledRounds = decision.stalledRounds;
    this.#etaMs = decision.etaMs;
    this.#reason = decision.reason;
    this.#effects.push({ type: 'decided', what: decision.action, reason: decision.reason });
    if (decision.action === 'round') return this.#nextRound();
    if (decision.action === 'abort') {
      const error = new DwcpError('ERR_DWCP_NOT_CONVERGING', decision.reason, {
        hint: 'Allow more downtime, raise the bandwidth limit, or lower the write rate in the guest.',
      });
      return this.#abort(error, true);
    }
    this.#enter('stopAndCopy', decision.reason);
    this.#stoppedAtUs = this.#nowUs;
    this.#busy = 'stopAndCopy';
    this.#effects.push({ type: 'stopAndCopy' });
  }

  #copied(outcome: Outcome<RoundReport>): void {
    if (this.#phase !== 'stopAndCopy') return;
    this.#busy = null;
    if (!outcome.ok) return this.#abort(outcome.error, true);
    this.#remainingBytes = 0;
    this.#enter('awaitLoaded', 'everything is sent, the destination loads');
    this.#send({ type: 'copied' });
    this.#effects.push({ type: 'setTimer', id: 'loaded', atUs: this.#nowUs + LOADED_TIMEOUT_US });
  }

  #loaded(): void {
    if (this.#phase !== 'awaitLoaded') return;
    this.#effects.push({ type: 'cancelTimer', id: 'loaded' });
    if (this.#options.terms.verify !== 'strict') return this.#fence();
    this.#enter('strictVerify', 'comparing memory before the guest resumes');
    this.#effects.push({ type: 'setTimer', id: 'verify', atUs: this.#nowUs + VERIFY_TIMEOUT_US });
    this.#nextDigests();
  }

  #fence(): void {
    this.#effects.push({ type: 'cancelTimer', id: 'verify' });
    this.#enter('fencing', 'stopping the source for good');
    this.#busy = 'fence';
    this.#effects.push({ type: 'fence' });
  }

  #persistFence(): void {
    const { terms, to, fence } = this.#options;
    this.#enter('fencePersisting', 'noting durably that the source gave the guest up');
    this.#busy = 'persistFence';
    this.#effects.push({
      type: 'persist',
      token: 'fence',
      key: recordKey('fence', terms.migrationId),
      record: {
        kind: 'fence',
        value: {
          ...fence,
          migrationId: terms.migrationId,
          guestName: terms.guestName,
          to,
          epoch: terms.epoch,
        },
      },
    });
  }

  #fenceStored(outcome: Outcome<void>): void {
    assert(
      this.#phase === 'fencePersisting' || this.#phase === 'aborting',
      'the fence is persisted once',
    );
    this.#busy = null;
    // A cancel or a failure arrived while the record was written: `fenced` was not sent, so we may.
    if (this.#wantAbort !== null) return this.#abortNow();
    if (!outcome.ok) return this.#abort(outcome.error, true);
    this.#enter('fenced', 'waiting for the decision of the destination');
    this.#effects.push({
      type: 'send',
      after: 'fence',
      message: { type: 'fenced', epoch: this.#options.terms.epoch },
    });
    this.#effects.push({
      type: 'setTimer',
      id: 'decision',
      atUs: this.#nowUs + DECISION_TIMEOUT_US,
    });
  }

  #cancel(): void {
    if (this.isPastNoReturn) return;
    this.#abort(new DwcpError('ERR_DWCP_CANCELLED', 'the migration was cancelled'), true);
  }

  #failed(error: DwcpError): void {
    if (this.isPastNoReturn) return;
    this.#abort(error, true);
  }

  /** Legal only before `fenced` was sent. Waits for an operation that could still stop the guest. */
  #abort(error: DwcpError, tellPeer: boolean): void {
    assert(!this.isPastNoReturn, 'nothing is aborted after fenced was sent');
    if (this.#wantAbort !== null) return;
    this.#wantAbort = error;
    this.#failure = error;
    this.#effects.push(
      { type: 'cancelTimer', id: 'prepare' },
      { type: 'cancelTimer', id: 'loaded' },
      { type: 'cancelTimer', id: 'verify' },
    );
    if (tellPeer && this.#phase !== 'idle') {
      this.#send({ type: 'abort', errorCode: error.code, reason: error.message });
    }
    const mustWait =
      this.#busy === 'openOutgoing' ||
      this.#busy === 'fence' ||
      this.#busy === 'digests' ||
      this.#busy === 'persistFence';
    this.#enter('aborting', error.message);
    if (!mustWait) this.#abortNow();
  }

  #abortNow(): void {
    this.#enter('aborting', this.#reason);
    if (!this.#isOpen) return this.#forgetFenceAndStay();
    this.#busy = 'abortGuest';
    this.#effects.push({ type: 'abortGuest' });
  }

  #forgetFenceAndStay(): void {
    this.#effects.push({
      type: 'forget',
      token: 'forgetFence',
      key: recordKey('fence', this.#options.terms.migrationId),
    });
  }

  // ---- after the fence --------------------------------------------------------------------------

  #decided(verdict: 'commit' | 'abort' | 'unknown', reason: string): void {
    if (this.#phase !== 'fenced' && this.#phase !== 'outcomeUnknown') return;
    this.#effects.push({ type: 'decided', what: verdict, reason });
    if (verdict === 'unknown') return this.#outcomeUnknown(reason);
    this.#effects.push({ type: 'cancelTimer', id: 'decision' });
    this.#peerKnows = true;
    if (verdict === 'abort') {
      this.#failure = new DwcpError(
        'ERR_DWCP_PEER_UNREACHABLE',
        `the destination decided to abort: ${reason}`,
        {
          hint: 'The guest runs at the source again; start the migration anew.',
        },
      );
      return this.#unfence();
    }
    this.#isCommitted = true;
    this.#failure = null;
    // A restarted agent has no outgoing migration, hence nothing that reads the frozen memory.
    if (this.#options.terms.verify === 'after' && this.#isOpen) {
      this.#enter('verifying', 'the guest runs at the destination, comparing memory');
      this.#effects.push({ type: 'setTimer', id: 'verify', atUs: this.#nowUs + VERIFY_TIMEOUT_US });
      return this.#nextDigests();
    }
    this.#release();
  }

  #outcomeUnknown(reason: string): void {
    const { guestName } = this.#options.terms;
    this.#failure = new DwcpError(
      'ERR_DWCP_OUTCOME_UNKNOWN',
      `"${guestName}" was fenced for ${this.#options.to} and no decision came back: ${reason}`,
      {
        hint: `It stays stopped here until ${this.#options.to} answers. If that host is dead or powered off for certain, run: dwcp vm claim ${guestName} --host-is-fenced`,
      },
    );
    this.#enter('outcomeUnknown', reason);
  }

  #restore(claimedBy: string | null): void {
    this.#outcomeUnknown('this agent restarted');
    if (claimedBy !== null) return this.#unfenceByClaim(claimedBy);
    if (this.#linkIsUp) this.#send({ type: 'decisionQuery' });
  }

  #claim(operator: string): void {
    if (this.#phase !== 'fenced' && this.#phase !== 'outcomeUnknown') return;
    const { migrationId, guestName } = this.#options.terms;
    this.#enter('claiming', `${operator} says that ${this.#options.to} is fenced`);
    this.#claimOperator = operator;
    this.#effects.push({
      type: 'persist',
      token: 'claim',
      key: recordKey('claim', migrationId),
      record: { kind: 'claim', value: { migrationId, guestName, operator } },
    });
  }

  #unfenceByClaim(operator: string): void {
    this.#failure = new DwcpError('ERR_DWCP_CANCELLED', `claimed by ${operator}`, {
      hint: 'The guest runs at the source again.',
    });
    this.#effects.push({ type: 'decided', what: 'claim', reason: `operator ${operator}` });
    this.#unfence();
  }

  #unfence(): void {
    this.#enter('unfencing', this.#failure?.message ?? 'the migration was aborted');
    // With the outgoing migration open, its abort also restores what stopAndCopy changed.
    this.#busy = this.#isOpen ? 'abortGuest' : 'unfence';
    this.#effects.push(this.#isOpen ? { type: 'abortGuest' } : { type: 'unfence' });
  }

  // ---- comparing --------------------------------------------------------------------------------

  #nextDigests(): void {
    const inFlightPages = this.#nextDigestPage - this.#comparedPages;
    const hasRoom = inFlightPages < DIGEST_BLOCKS_IN_FLIGHT_MAX * DIGEST_BLOCK_PAGES;
    if (this.#busy !== null || !hasRoom || this.#nextDigestPage >= this.#pageCount) return;
    this.#busy = 'digests';
    this.#effects.push({
      type: 'digests',
      firstPage: this.#nextDigestPage,
      pageCount: Math.min(DIGEST_BLOCK_PAGES, this.#pageCount - this.#nextDigestPage),
    });
  }

  #digests(firstPage: number, outcome: Outcome<Uint8Array>): void {
    this.#busy = null;
    if (this.#wantAbort !== null) return this.#abortNow();
    if (this.#phase !== 'verifying' && this.#phase !== 'strictVerify') return this.#resumeRelease();
    if (!outcome.ok) return this.#verificationFailed(outcome.error);
    const pages = Math.min(DIGEST_BLOCK_PAGES, this.#pageCount - firstPage);
    this.#nextDigestPage = firstPage + pages;
    this.#send({
      type: 'digestBlock',
      firstPage,
      digests: outcome.value,
      last: this.#nextDigestPage >= this.#pageCount,
    });
    this.#nextDigests();
  }

  #verified(message: MigrationMessage & { type: 'verifyResult' }): void {
    if (this.#phase !== 'verifying' && this.#phase !== 'strictVerify') return;
    // Hostile or confused counts: more than we sent, or fewer than before, is no answer to us.
    const isSane =
      message.comparedPages >= this.#comparedPages &&
      message.comparedPages <= this.#nextDigestPage &&
      message.differentPages <= message.comparedPages;
    if (!isSane) {
      return this.#verificationFailed(
        new DwcpError('ERR_DWCP_PROTOCOL', `${this.#options.to} compared pages that were not sent`),
      );
    }
    this.#comparedPages = message.comparedPages;
    this.#differentPages = message.differentPages;
    if (this.#comparedPages < this.#pageCount) return this.#nextDigests();
    if (this.#phase === 'verifying') return this.#release();
    if (this.#differentPages === 0) return this.#fence();
    this.#abort(
      new DwcpError(
        'ERR_DWCP_VERIFY_FAILED',
        `${this.#differentPages} of ${this.#comparedPages} pages differ, first ${message.firstDifferent.slice(0, 4).join(', ')}`,
        {
          hint: 'The guest runs at the source again. Please report this: it is a bug or bad memory.',
        },
      ),
      true,
    );
  }

  #verificationFailed(error: DwcpError): void {
    if (this.#phase === 'strictVerify') return this.#abort(error, true);
    this.#effects.push({ type: 'decided', what: 'unverified', reason: error.message });
    this.#release();
  }

  // ---- settling ---------------------------------------------------------------------------------

  #release(): void {
    assert(this.#isCommitted, 'a guest is released only after the commit');
    this.#effects.push({ type: 'cancelTimer', id: 'verify' });
    this.#enter('releasing', 'the destination has the guest, releasing the source');
    this.#resumeRelease();
  }

  #resumeRelease(): void {
    if (this.#phase !== 'releasing' || this.#busy !== null) return;
    this.#busy = 'release';
    this.#effects.push({ type: 'release' });
  }

  #released(): void {
    this.#enter('settling', this.#reason);
    const { guestName, migrationId } = this.#options.terms;
    // The process is dead. The guest's record goes first: with a fence record left, a crash in
    // between still settles; the other way round a dead guest would look like ours.
    this.#effects.push(
      { type: 'forget', token: 'forgetGuest', key: recordKey('guest', guestName) },
      { type: 'forget', token: 'forgetFence', key: recordKey('fence', migrationId) },
    );
  }

  #done(operation: 'fence' | 'abortGuest' | 'unfence' | 'release', outcome: Outcome<void>): void {
    if (operation !== this.#busy) return;
    this.#busy = null;
    if (operation === 'fence') {
      if (this.#wantAbort !== null) return this.#abortNow();
      if (!outcome.ok) return this.#abort(outcome.error, true);
      return this.#persistFence();
    }
    if (!outcome.ok) {
      // The guest stands where it is; its record stays, so a restarted agent tries again.
      this.#effects.push({
        type: 'decided',
        what: `${operation} failed`,
        reason: outcome.error.message,
      });
      this.#failure = outcome.error;
      if (this.#isCommitted) {
        return this.#finish({ type: 'moved', verification: this.#verification() });
      }
      return this.#finish({ type: 'stayed', error: outcome.error });
    }
    if (operation === 'release') return this.#released();
    this.#forgetFenceAndStay();
  }

  #stored(token: string, outcome: Outcome<void>): void {
    if (token === 'fence') return this.#fenceStored(outcome);
    if (token === 'claim') {
      assert(this.#claimOperator !== null, 'a claim has an operator');
      // The operator's word must outlive us before we act on it.
      if (!outcome.ok) return this.#outcomeUnknown(outcome.error.message);
      return this.#unfenceByClaim(this.#claimOperator);
    }
    if (token !== 'forgetFence') return;
    if (!outcome.ok)
      this.#effects.push({ type: 'decided', what: 'record kept', reason: outcome.error.message });
    if (this.#isCommitted || this.#peerKnows) this.#send({ type: 'settled' });
    if (this.#isCommitted)
      return this.#finish({ type: 'moved', verification: this.#verification() });
    const error = this.#failure;
    assert(error !== null, 'a migration that stayed has a reason');
    this.#finish({ type: 'stayed', error });
  }

  #verification(): Verification | null {
    if (this.#options.terms.verify === 'off') return null;
    return {
      comparedPages: this.#comparedPages,
      differentPages: this.#differentPages,
      complete: this.#comparedPages === this.#pageCount,
    };
  }

  #finish(result: SourceResult): void {
    this.#phase = 'finished';
    this.#effects.push({ type: 'finished', result });
  }

  // ---- the world --------------------------------------------------------------------------------

  #receive(message: MigrationMessage): void {
    switch (message.type) {
      case 'prepareReply':
        return this.#prepared(message.outcome);
      case 'loaded':
        return this.#loaded();
      case 'decision':
        return this.#decided(message.verdict, message.reason);
      case 'verifyResult':
        return this.#verified(message);
      case 'migrationFailed':
        if (this.#phase === 'verifying') return this.#verificationFailed(message.error);
        return this.#failed(message.error);
      case 'abort':
        return this.#failed(
          new DwcpError('ERR_DWCP_CANCELLED', `${this.#options.to} aborted: ${message.reason}`),
        );
      default:
        // Not for a source: a confused peer harms only its own migration.
        this.#failed(
          new DwcpError(
            'ERR_DWCP_PROTOCOL',
            `${this.#options.to} sent ${message.type} to a source`,
          ),
        );
    }
  }

  #linkUp(peerRestarted: boolean): void {
    this.#linkIsUp = true;
    if (this.#phase === 'outcomeUnknown') return this.#send({ type: 'decisionQuery' });
    // What landed is compared against the peer's volatile notes; a new process has none.
    if (this.#phase === 'verifying' && peerRestarted) {
      this.#verificationFailed(unreachablePeer(this.#options.to));
    }
  }

  #linkDown(error: DwcpError): void {
    this.#linkIsUp = false;
    if (this.#phase === 'fenced') return this.#outcomeUnknown(error.message);
    if (this.#phase === 'verifying') return this.#verificationFailed(error);
    this.#failed(error);
  }

  #timer(id: string): void {
    if (id === 'prepare' && this.#phase === 'preparing') {
      return this.#failed(timedOut(`${this.#options.to} did not answer the preflight`));
    }
    if (id === 'loaded' && this.#phase === 'awaitLoaded') {
      return this.#failed(timedOut(`${this.#options.to} did not load the guest`));
    }
    if (id === 'decision' && (this.#phase === 'fenced' || this.#phase === 'outcomeUnknown')) {
      if (this.#phase === 'fenced') this.#outcomeUnknown('no decision came in time');
      return this.#send({ type: 'decisionQuery' });
    }
    if (id === 'verify') {
      if (this.#phase !== 'verifying' && this.#phase !== 'strictVerify') return;
      this.#verificationFailed(timedOut(`${this.#options.to} did not compare in time`));
    }
  }

  #send(message: MigrationMessage): void {
    if (this.#linkIsUp) this.#effects.push({ type: 'send', after: null, message });
  }

  #enter(phase: SourcePhase, reason: string): void {
    this.#phase = phase;
    this.#reason = reason;
  }
}

const PAST_NO_RETURN: ReadonlySet<SourcePhase> = new Set([
  'fenced',
  'outcomeUnknown',
  'claiming',
  'unfencing',
  'verifying',
  'releasing',
  'settling',
  'finished',
]);

function unreachablePeer(peer: string): DwcpError {
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${peer} is not connected`, {
    hint: `Check that the agent on ${peer} runs and that its address in the configuration is right.`,
  });
}

function timedOut(message: string): DwcpError {
  return new DwcpError('ERR_DWCP_TIMEOUT', message, {
    hint: 'The guest goes on at the source; look at the log of the destination.',
  });
}
