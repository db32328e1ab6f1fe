/**
 * The state that all parts of the destination's machine share, and how they put effects down.
 * Nobody outside the machine sees it.
 */
import type { GuestReference } from '../../../ports/hypervisor.ts';
import { assert } from '../../../util/assert.ts';
import type { DwcpError } from '../../../util/errors.ts';
import type { OwnershipCommand } from '../../ownership/types.ts';
import type { MigrationMessage, MigrationTerms } from '../types.ts';
import type {
  DestinationBeginning,
  DestinationEffect,
  DestinationOptions,
  DestinationPhase,
  DigestBlock,
} from './types.ts';

const BEFORE_FENCED: ReadonlySet<DestinationPhase> = new Set([
  'preparing',
  'receiving',
  'loading',
  'loaded',
]);

/** Null for a guest that arrived whole: it only waits for its commit. */
export function termsOf(begin: DestinationBeginning): MigrationTerms | null {
  if (begin.type === 'arrived') return null;
  return begin.type === 'asked' ? begin.terms : begin.record.terms;
}

export function nameOf(begin: DestinationBeginning): {
  readonly guestName: string;
  readonly epoch: number;
} {
  if (begin.type === 'arrived') return begin.record;
  return begin.type === 'asked' ? begin.terms : begin.record.terms;
}

export class DestinationState {
  readonly options: DestinationOptions;
  readonly pageCount: number;
  readonly guestName: string;
  /** Under which this host will own the guest, or does. */
  epoch: number;
  phase: DestinationPhase = 'idle';
  reason = 'not started';
  nowUs = 0;
  failure: DwcpError | null = null;
  reference: GuestReference | null = null;
  /** The preflight or the load is still running in the hypervisor: discarding waits for it. */
  busy: 'prepareIncoming' | 'load' | null = null;

  // a broken link
  readonly resumeGraceMs: number;
  isCut = false;
  /** This host applied the migration's `prepare`. */
  isPrepared = false;

  // an agent that died
  readonly terms: MigrationTerms | null;
  hasIncomingRecord = false;
  /** What came is here, and nobody receives more until the source asks what that is. */
  needsRegain = false;
  isRegaining = false;
  heldInFlight = 0;

  // the commit
  /** What the log was asked last, for when it could not take it. */
  command: OwnershipCommand | null = null;
  /** It may be on the disk, so it is taken away at the end. */
  hasArrivalRecord = false;
  /** The process that an earlier agent noted is gone. */
  isGone = false;
  /** Committed, but the guest does not run. */
  resumeFailed = false;
  isRecordSettled = false;

  // post-copy
  isPostcopy = false;
  /** The guest is ours, and not all of its memory is here. */
  awaitsMemory = false;

  // giving up
  wantDiscard = false;
  isDiscarding = false;

  // comparing
  blocks: DigestBlock[] = [];
  isComparing = false;
  /** Nothing is left to compare, or nobody to compare with. */
  isCompared: boolean;
  nextBlockPage = 0;
  comparedPages = 0;
  differentPages = 0;
  readonly firstDifferent: number[] = [];

  #effects: DestinationEffect[] = [];

  constructor(options: DestinationOptions) {
    this.options = options;
    const { begin } = options;
    const terms = termsOf(begin);
    const { guestName, epoch } = nameOf(begin);
    this.terms = terms;
    this.guestName = guestName;
    this.epoch = epoch;
    this.pageCount = terms === null ? 0 : Math.ceil(terms.memoryBytes / terms.pageBytes);
    this.resumeGraceMs = terms?.resumeGraceMs ?? 0;
    this.isCompared = terms?.verify !== 'after';
  }

  /** `fenced` is not here: giving up is still ours to choose, without a word to anybody. */
  get isUndecided(): boolean {
    return BEFORE_FENCED.has(this.phase);
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
