/**
 * The destination's half of one migration. It owns the guest from the instant its `commit` record
 * is durable, writes that record only when it holds `fenced` and could run the guest, and answers
 * with nothing else ever after. Without a commit record the answer is abort, made durable first.
 */
import type { GuestReference, IncomingEndpoint } from '../../ports/hypervisor.ts';
import { PAGE_DIGEST_BYTES } from '../../ports/memory.ts';
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import {
  type CommonEffect,
  type CommonInput,
  type DecisionRecord,
  DIGEST_BLOCK_PAGES,
  type MigrationMessage,
  type MigrationTerms,
  recordKey,
  type Timed,
} from './types.ts';

export type DestinationPhase =
  | 'idle'
  | 'preparing'
  | 'receiving'
  | 'loading'
  | 'loaded'
  | 'committing'
  | 'resuming'
  | 'committed'
  | 'decidingAbort'
  | 'discarding'
  | 'aborted'
  | 'finished';

export interface PreparedGuest {
  readonly endpoint: IncomingEndpoint;
  readonly reference: GuestReference;
}

export type DestinationInput =
  | CommonInput
  | { readonly type: 'start' }
  | { readonly type: 'prepared'; readonly outcome: Outcome<PreparedGuest> }
  | { readonly type: 'loaded'; readonly outcome: Outcome<void> }
  | { readonly type: 'resumed'; readonly outcome: Outcome<GuestReference> }
  | { readonly type: 'discarded'; readonly outcome: Outcome<void> }
  | { readonly type: 'digests'; readonly firstPage: number; readonly outcome: Outcome<Uint8Array> }
  | { readonly type: 'incomingFailed'; readonly error: DwcpError }
  | { readonly type: 'cancel' };

export type DestinationEffect =
  | CommonEffect
  | { readonly type: 'prepareIncoming'; readonly terms: MigrationTerms }
  | { readonly type: 'load' }
  /** Only behind a durable commit. `reference` when the guest is one that an earlier process left. */
  | { readonly type: 'resume'; readonly reference: GuestReference | null }
  | { readonly type: 'discard' }
  | { readonly type: 'digests'; readonly firstPage: number; readonly pageCount: number }
  | { readonly type: 'finished'; readonly result: DestinationResult };

export type DestinationResult =
  | { readonly type: 'received'; readonly differentPages: number; readonly comparedPages: number }
  | { readonly type: 'refused'; readonly error: DwcpError };

export interface DestinationOptions {
  readonly migrationId: string;
  readonly from: string;
  /** Null when the source asks about a migration of which this process knows nothing. */
  readonly terms: MigrationTerms | null;
  readonly restored: DecisionRecord | null;
  /** The record's guest was already taken over by this process. */
  readonly isRunning: boolean;
}

/** A source that never says what became of its fence does not occupy a session for ever. */
const SETTLE_TIMEOUT_US = 180_000_000;
const FIRST_DIFFERENT_MAX = 16;

export class DestinationMachine {
  readonly #options: DestinationOptions;
  readonly #pageCount: number;
  #phase: DestinationPhase = 'idle';
  #effects: DestinationEffect[] = [];
  #nowUs = 0;
  #reference: GuestReference | null = null;
  #reason = 'not started';
  #failure: DwcpError | null = null;
  /** The preflight or the load is still running in the hypervisor: discarding waits for it. */
  #busy: 'prepareIncoming' | 'load' | null = null;
  #wantDiscard = false;
  #discard: 'none' | 'running' | 'done' = 'none';
  #hasAbortRecord = false;
  /** The source holds `fenced` and waits: an abort must be durable and told. */
  #mustAnswer = false;
  #blocks: { readonly firstPage: number; readonly digests: Uint8Array; readonly last: boolean }[] =
    [];
  #isComparing = false;
  #nextBlockPage = 0;
  #comparedPages = 0;
  #differentPages = 0;
  #firstDifferent: number[] = [];
  #resumeFailed = false;

  constructor(options: DestinationOptions) {
    this.#options = options;
    const { terms } = options;
    this.#pageCount = terms === null ? 0 : Math.ceil(terms.memoryBytes / terms.pageBytes);
  }

  get phase(): DestinationPhase {
    return this.#phase;
  }
  get reason(): string {
    return this.#reason;
  }
  get failure(): DwcpError | null {
    return this.#failure;
  }
  get isCommitted(): boolean {
    return this.#phase === 'resuming' || this.#phase === 'committed';
  }

  step(input: Timed<DestinationInput>): readonly DestinationEffect[] {
    assert(this.#effects.length === 0, 'a step left effects behind');
    this.#nowUs = input.nowUs;
    if (this.#phase !== 'finished') this.#take(input);
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #take(input: DestinationInput): void {
    switch (input.type) {
      case 'start':
        return this.#start();
      case 'message':
        return this.#receive(input.message);
      case 'linkUp':
        return;
      case 'linkDown':
        return this.#linkDown(input.error);
      case 'timer':
        return this.#timer(input.id);
      case 'stored':
        return this.#stored(input.token, input.outcome);
      case 'prepared':
        return this.#prepared(input.outcome);
      case 'loaded':
        return this.#loaded(input.outcome);
      case 'resumed':
        return this.#resumed(input.outcome);
      case 'discarded':
        return this.#afterDiscard(input.outcome);
      case 'digests':
        return this.#compare(input.firstPage, input.outcome);
      case 'incomingFailed':
        return this.#incomingFailed(input.error);
      case 'cancel':
        return this.#fail(
          new DwcpError('ERR_DWCP_CANCELLED', 'the migration was cancelled at the destination'),
        );
    }
  }

  #start(): void {
    assert(this.#phase === 'idle', 'a migration starts once');
    const { restored, terms, isRunning } = this.#options;
    if (restored?.verdict === 'commit') {
      this.#reference = restored.reference;
      this.#armSettleTimer();
      if (isRunning) return this.#enter('committed', 'the guest runs here');
      return this.#resume(restored.reference);
    }
    if (restored !== null || terms === null) {
      this.#discard = 'done';
      this.#armSettleTimer();
      if (restored !== null) return this.#enter('aborted', 'aborted earlier');
      this.#failure = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', 'no such migration here');
      return this.#enter('discarding', 'nothing is known of this migration');
    }
    this.#enter('preparing', 'making room for the guest');
    this.#busy = 'prepareIncoming';
    this.#effects.push({ type: 'prepareIncoming', terms });
  }

  #prepared(outcome: Outcome<PreparedGuest>): void {
    this.#busy = null;
    if (!outcome.ok) {
      this.#discard = 'done';
      if (this.#wantDiscard) return this.#afterDiscard({ ok: true, value: undefined });
      this.#send({ type: 'prepareReply', outcome: { ok: false, error: outcome.error } });
      return this.#finish({ type: 'refused', error: outcome.error });
    }
    this.#reference = outcome.value.reference;
    if (this.#wantDiscard) return this.#discardNow();
    this.#enter('receiving', 'receiving memory');
    this.#send({ type: 'prepareReply', outcome: { ok: true, value: outcome.value.endpoint } });
  }

  #load(): void {
    if (this.#phase !== 'receiving') return;
    this.#enter('loading', 'everything arrived, loading');
    this.#busy = 'load';
    this.#effects.push({ type: 'load' });
  }

  #loaded(outcome: Outcome<void>): void {
    this.#busy = null;
    if (this.#wantDiscard) return this.#discardNow();
    if (this.#phase !== 'loading') return;
    if (!outcome.ok) return this.#fail(outcome.error);
    this.#enter('loaded', 'ready to run, waiting for the fence of the source');
    this.#send({ type: 'loaded' });
  }

  // ---- the decision -----------------------------------------------------------------------------

  #fenced(epoch: number): void {
    if (this.#phase !== 'loaded' || epoch !== this.#options.terms?.epoch) {
      return this.#query(`fenced for epoch ${epoch} does not fit phase ${this.#phase}`);
    }
    this.#enter('committing', 'the source is fenced, deciding');
    this.#persistDecision('commit');
  }

  /** A source that is cut off asks. Whoever has not decided to commit by now decides to abort. */
  #query(reason: string): void {
    switch (this.#phase) {
      case 'committing':
      case 'resuming':
      case 'decidingAbort':
        return;
      case 'committed':
        return this.#sendDecision(this.#resumeFailed ? 'unknown' : 'commit');
      case 'aborted':
        return this.#sendDecision('abort');
      default:
        this.#failure ??= new DwcpError('ERR_DWCP_PEER_UNREACHABLE', reason);
        this.#mustAnswer = true;
        if (this.#phase === 'discarding' || this.#busy !== null) return this.#beginDiscard(reason);
        return this.#decideAbort(reason);
    }
  }

  #decideAbort(reason: string): void {
    this.#enter('decidingAbort', reason);
    this.#persistDecision('abort');
  }

  #persistDecision(verdict: 'commit' | 'abort'): void {
    const { migrationId, from, terms } = this.#options;
    this.#effects.push({
      type: 'persist',
      token: verdict,
      key: recordKey('decision', migrationId),
      record: {
        kind: 'decision',
        value: {
          migrationId,
          verdict,
          from,
          guestName: terms?.guestName ?? '',
          epoch: terms?.epoch ?? 0,
          reference: verdict === 'commit' ? this.#reference : null,
        },
      },
    });
  }

  #stored(token: string, outcome: Outcome<void>): void {
    if (token === 'guest' && !outcome.ok) {
      // The decision record still finds the guest; only a later settle would lose that.
      this.#effects.push({ type: 'decided', what: 'guest record', reason: outcome.error.message });
    }
    if (token === 'settled') return this.#finish(this.#result());
    if (token === 'commit') return this.#commitStored(outcome);
    if (token !== 'abort' || this.#phase !== 'decidingAbort') return;
    if (!outcome.ok) {
      // Not durable, so not answered; the source stays fenced and asks again.
      this.#failure = outcome.error;
      this.#sendDecision('unknown');
      return this.#enter('discarding', outcome.error.message);
    }
    this.#hasAbortRecord = true;
    this.#beginDiscard(this.#reason);
  }

  #commitStored(outcome: Outcome<void>): void {
    assert(this.#phase === 'committing', 'a commit is persisted once');
    if (outcome.ok) return this.#resume(null);
    // The record may or may not have reached the disk. Neither answer is safe now: after a restart
    // the disk says which one it was.
    this.#failure = outcome.error;
    this.#resumeFailed = true;
    this.#enter('committed', `the decision could not be stored: ${outcome.error.message}`);
    this.#sendDecision('unknown');
  }

  #resume(reference: GuestReference | null): void {
    this.#enter('resuming', 'decided: the guest runs here');
    this.#effects.push({ type: 'resume', reference });
  }

  #resumed(outcome: Outcome<GuestReference>): void {
    if (this.#phase !== 'resuming') return;
    this.#enter('committed', 'the guest runs here');
    this.#armSettleTimer();
    if (!outcome.ok) {
      // Saying commit would kill the source's copy, saying abort could run two: an operator decides.
      this.#failure = outcome.error;
      this.#resumeFailed = true;
      return this.#sendDecision('unknown');
    }
    const record = this.#options.restored;
    const guestName = this.#options.terms?.guestName ?? record?.guestName;
    const epoch = this.#options.terms?.epoch ?? record?.epoch;
    assert(guestName !== undefined && epoch !== undefined, 'a commit knows its guest');
    this.#effects.push({
      type: 'persist',
      token: 'guest',
      key: recordKey('guest', guestName),
      record: { kind: 'guest', value: { reference: outcome.value, epoch } },
    });
    this.#sendDecision('commit');
  }

  #sendDecision(verdict: 'commit' | 'abort' | 'unknown'): void {
    const isRestored = this.#options.restored !== null;
    const reason = this.#failure?.message ?? this.#reason;
    this.#effects.push({ type: 'decided', what: verdict, reason });
    this.#effects.push({
      type: 'send',
      after: verdict === 'unknown' || isRestored ? null : verdict,
      message: { type: 'decision', verdict, reason },
    });
  }

  // ---- giving up, before any commit -------------------------------------------------------------

  #fail(error: DwcpError): void {
    if (!BEFORE_DECISION.has(this.#phase)) return;
    this.#failure = error;
    this.#send({ type: 'migrationFailed', error });
    this.#beginDiscard(error.message);
  }

  #incomingFailed(error: DwcpError): void {
    if (this.#phase === 'committed') {
      this.#effects.push({ type: 'decided', what: 'comparison lost', reason: error.message });
      return;
    }
    this.#fail(error);
  }

  #beginDiscard(reason: string): void {
    this.#wantDiscard = true;
    this.#enter('discarding', reason);
    if (this.#discard === 'done') return this.#afterDiscard({ ok: true, value: undefined });
    if (this.#discard === 'none' && this.#busy === null) this.#discardNow();
  }

  #discardNow(): void {
    this.#discard = 'running';
    this.#enter('discarding', this.#reason);
    this.#effects.push({ type: 'discard' });
  }

  #afterDiscard(outcome: Outcome<void>): void {
    this.#discard = 'done';
    if (!outcome.ok) {
      this.#effects.push({
        type: 'decided',
        what: 'discard failed',
        reason: outcome.error.message,
      });
    }
    const error = this.#failure ?? new DwcpError('ERR_DWCP_CANCELLED', this.#reason);
    this.#failure = error;
    if (!this.#mustAnswer) return this.#finish({ type: 'refused', error });
    if (!this.#hasAbortRecord) {
      return this.#decideAbort(this.#reason);
    }
    this.#enter('aborted', this.#reason);
    this.#sendDecision('abort');
    this.#armSettleTimer();
  }

  // ---- comparing --------------------------------------------------------------------------------

  #block(block: { firstPage: number; digests: Uint8Array; last: boolean }): void {
    if (this.#phase !== 'loaded' && this.#phase !== 'committed') return;
    const pages = block.digests.length / PAGE_DIGEST_BYTES;
    const fits =
      Number.isInteger(pages) &&
      pages > 0 &&
      pages <= DIGEST_BLOCK_PAGES &&
      block.firstPage === this.#nextBlockPage &&
      block.firstPage + pages <= this.#pageCount;
    if (!fits) {
      return this.#digestFault(
        new DwcpError(
          'ERR_DWCP_PROTOCOL',
          `${this.#options.from} sent a digest block out of order`,
        ),
      );
    }
    this.#nextBlockPage += pages;
    this.#blocks.push(block);
    this.#nextComparison();
  }

  #nextComparison(): void {
    const block = this.#blocks[0];
    if (this.#isComparing || block === undefined) return;
    this.#isComparing = true;
    const pageCount = block.digests.length / PAGE_DIGEST_BYTES;
    this.#effects.push({ type: 'digests', firstPage: block.firstPage, pageCount });
  }

  #compare(firstPage: number, outcome: Outcome<Uint8Array>): void {
    this.#isComparing = false;
    const block = this.#blocks.shift();
    if (block === undefined || block.firstPage !== firstPage) return;
    if (!outcome.ok) return this.#digestFault(outcome.error);
    const pages = block.digests.length / PAGE_DIGEST_BYTES;
    assert(outcome.value.length === block.digests.length, 'a digest for every page');
    for (let page = 0; page < pages; page += 1) {
      if (sameDigest(block.digests, outcome.value, page * PAGE_DIGEST_BYTES)) continue;
      this.#differentPages += 1;
      if (this.#firstDifferent.length < FIRST_DIFFERENT_MAX) {
        this.#firstDifferent.push(firstPage + page);
      }
    }
    this.#comparedPages += pages;
    this.#send({
      type: 'verifyResult',
      comparedPages: this.#comparedPages,
      differentPages: this.#differentPages,
      firstDifferent: [...this.#firstDifferent],
    });
    this.#nextComparison();
  }

  #digestFault(error: DwcpError): void {
    this.#blocks = [];
    if (this.#phase === 'loaded') return this.#fail(error);
    this.#send({ type: 'migrationFailed', error });
  }

  // ---- the world --------------------------------------------------------------------------------

  #receive(message: MigrationMessage): void {
    switch (message.type) {
      case 'copied':
        return this.#load();
      case 'fenced':
        return this.#fenced(message.epoch);
      case 'decisionQuery':
        return this.#query('the source asked and nothing was decided');
      case 'abort':
        return this.#sourceAborted(message.errorCode, message.reason);
      case 'digestBlock':
        return this.#block(message);
      case 'settled':
        return this.#settled();
      case 'roundDone':
      case 'prepareRequest':
        return;
      default:
        this.#fail(
          new DwcpError(
            'ERR_DWCP_PROTOCOL',
            `${this.#options.from} sent ${message.type} to a destination`,
          ),
        );
    }
  }

  #sourceAborted(code: string, reason: string): void {
    if (!BEFORE_DECISION.has(this.#phase)) return;
    this.#failure = new DwcpError('ERR_DWCP_CANCELLED', `the source aborted (${code}): ${reason}`);
    this.#beginDiscard(reason);
  }

  #settled(): void {
    if (this.#phase !== 'committed' && this.#phase !== 'aborted') return;
    this.#effects.push({
      type: 'forget',
      token: 'settled',
      key: recordKey('decision', this.#options.migrationId),
    });
  }

  /** Undecided and cut off: aborting is ours to choose, and frees the memory. */
  #linkDown(error: DwcpError): void {
    if (!BEFORE_DECISION.has(this.#phase)) return;
    this.#failure = error;
    this.#beginDiscard(error.message);
  }

  #timer(id: string): void {
    if (id !== 'settle') return;
    if (this.#phase === 'committed' || this.#phase === 'aborted') this.#finish(this.#result());
  }

  #armSettleTimer(): void {
    this.#effects.push({ type: 'setTimer', id: 'settle', atUs: this.#nowUs + SETTLE_TIMEOUT_US });
  }

  #result(): DestinationResult {
    if (this.#phase === 'aborted' || this.#resumeFailed) {
      const error = this.#failure ?? new DwcpError('ERR_DWCP_CANCELLED', this.#reason);
      return { type: 'refused', error };
    }
    return {
      type: 'received',
      comparedPages: this.#comparedPages,
      differentPages: this.#differentPages,
    };
  }

  #send(message: MigrationMessage): void {
    this.#effects.push({ type: 'send', after: null, message });
  }

  #enter(phase: DestinationPhase, reason: string): void {
    this.#phase = phase;
    this.#reason = reason;
  }

  #finish(result: DestinationResult): void {
    this.#effects.push({ type: 'cancelTimer', id: 'settle' });
    this.#phase = 'finished';
    this.#effects.push({ type: 'finished', result });
  }
}

const BEFORE_DECISION: ReadonlySet<DestinationPhase> = new Set([
  'preparing',
  'receiving',
  'loading',
  'loaded',
]);

function sameDigest(left: Uint8Array, right: Uint8Array, offset: number): boolean {
  for (let index = offset; index < offset + PAGE_DIGEST_BYTES; index += 1) {
    if (left[index] !== right[index]) return false;
  }
  return true;
}
