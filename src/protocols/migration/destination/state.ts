/**
 * The state that all parts of the destination's machine share, and how they put effects down.
 * Nobody outside the machine sees it.
 */
import type { GuestReference } from '../../../ports/hypervisor.ts';
import { assert } from '../../../util/assert.ts';
import type { DwcpError } from '../../../util/errors.ts';
import type { MigrationMessage } from '../types.ts';
import type {
  DestinationEffect,
  DestinationOptions,
  DestinationPhase,
  DigestBlock,
} from './types.ts';

const BEFORE_DECISION: ReadonlySet<DestinationPhase> = new Set([
  'preparing',
  'receiving',
  'loading',
  'loaded',
]);

export class DestinationState {
  readonly options: DestinationOptions;
  readonly pageCount: number;
  phase: DestinationPhase = 'idle';
  reason = 'not started';
  nowUs = 0;
  failure: DwcpError | null = null;
  reference: GuestReference | null = null;
  /** The preflight or the load is still running in the hypervisor: discarding waits for it. */
  busy: 'prepareIncoming' | 'load' | null = null;

  // the decision
  /** The source holds `fenced` and waits: an abort must be durable and told. */
  mustAnswer = false;
  hasAbortRecord = false;
  /** Committed, but the guest does not run, or nobody can say whether the record is durable. */
  resumeFailed = false;

  /** What a restarted agent finds the guest by: the decision's record, until the guest has its own. */
  guestRecord: 'none' | 'durable' | 'failed' = 'none';
  isSettled = false;

  // giving up
  wantDiscard = false;
  discard: 'none' | 'running' | 'done' = 'none';

  // comparing
  blocks: DigestBlock[] = [];
  isComparing = false;
  nextBlockPage = 0;
  comparedPages = 0;
  differentPages = 0;
  readonly firstDifferent: number[] = [];

  #effects: DestinationEffect[] = [];

  constructor(options: DestinationOptions) {
    this.options = options;
    const { terms } = options;
    this.pageCount = terms === null ? 0 : Math.ceil(terms.memoryBytes / terms.pageBytes);
  }

  /** Aborting is still ours to choose, without a word to anybody. */
  get isUndecided(): boolean {
    return BEFORE_DECISION.has(this.phase);
  }

  begin(nowUs: number): void {
    assert(this.#effects.length === 0, 'a step left effects behind');
    this.nowUs = nowUs;
  }

  takeEffects(): readonly DestinationEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  emit(effect: DestinationEffect): void {
    this.#effects.push(effect);
  }

  send(message: MigrationMessage): void {
    this.emit({ type: 'send', after: null, message });
  }

  note(what: string, reason: string): void {
    this.emit({ type: 'decided', what, reason });
  }

  enter(phase: DestinationPhase, reason: string): void {
    this.phase = phase;
    this.reason = reason;
  }
}
