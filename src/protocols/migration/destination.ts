/**
 * The destination's half of one migration. It alone proposes the commit, once it holds `fenced` and
 * could run the guest, and it runs the guest only once this host has applied that commit.
 *
 *   destination/arrival -> destination/commit -> destination/settlement
 *     beside them: destination/comparison;   destination/discard from everywhere before the commit;
 *     before `fenced` is here: destination/interruption and destination/regain
 */
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import { load, loaded, prepare, prepared } from './destination/arrival.ts';
import {
  answerQuery,
  arrivalStored,
  commandApplied,
  fenced,
  guestStored,
  proposeAgain,
  restore,
  resumed,
} from './destination/commit.ts';
import { compare, takeBlock } from './destination/comparison.ts';
import { afterDiscard, fail, incomingFailed, sourceAborted } from './destination/discard.ts';
import {
  applied,
  graceOver,
  linkDown,
  linkUp as linkIsBack,
  reattach,
} from './destination/interruption.ts';
import { hashHeld, heldHashed, regain, restoreHeld } from './destination/regain.ts';
import { arrivalForgotten, comparisonOver } from './destination/settlement.ts';
import { DestinationState } from './destination/state.ts';
import type {
  DestinationEffect,
  DestinationInput,
  DestinationOptions,
  DestinationPhase,
} from './destination/types.ts';
import type { MigrationMessage, Timed } from './types.ts';

export { nameOf, termsOf } from './destination/state.ts';
export type {
  DestinationBeginning,
  DestinationEffect,
  DestinationInput,
  DestinationOptions,
  DestinationPhase,
  DestinationResult,
  PreparedGuest,
} from './destination/types.ts';

export class DestinationMachine {
  readonly #state: DestinationState;

  constructor(options: DestinationOptions) {
    this.#state = new DestinationState(options);
  }

  get phase(): DestinationPhase {
    return this.#state.phase;
  }
  get reason(): string {
    return this.#state.reason;
  }
  get epoch(): number {
    return this.#state.epoch;
  }
  get failure(): DwcpError | null {
    return this.#state.failure;
  }
  /** Post-copy: it is ours, and the rest of its memory is on its way. */
  get awaitsMemory(): boolean {
    return this.#state.awaitsMemory;
  }
  /** It may still be given up without a word to the source. */
  get isUndecided(): boolean {
    return this.#state.isUndecided;
  }
  get isCommitted(): boolean {
    return this.phase === 'resuming' || this.phase === 'committed';
  }

  step(input: Timed<DestinationInput>): readonly DestinationEffect[] {
    this.#state.begin(input.nowUs);
    if (this.#state.phase !== 'finished') take(this.#state, input);
    return this.#state.takeEffects();
  }
}

function take(state: DestinationState, input: DestinationInput): void {
  switch (input.type) {
    case 'start':
      return start(state);
    case 'message':
      return receive(state, input.message);
    case 'linkUp':
      return linkUp(state, input.peerRestarted);
    case 'linkDown':
      // What was being compared is given up by the source, too.
      if (state.phase === 'committed') return comparisonOver(state);
      return linkDown(state, input.error);
    case 'timer':
      if (input.id === 'compare') comparisonOver(state);
      if (input.id === 'propose') proposeAgain(state);
      if (input.id === 'grace') graceOver(state);
      return;
    case 'stored':
      return stored(state, input.token, input.outcome);
    case 'prepared':
      return prepared(state, input.outcome);
    case 'held':
      return heldHashed(state, input.firstPage, input.outcome);
    case 'loaded':
      return loaded(state, input.outcome);
    case 'resumed':
      return resumed(state, input.outcome);
    case 'discarded':
      return afterDiscard(state, input.outcome);
    case 'digests':
      return compare(state, input.firstPage, input.outcome);
    case 'incomingFailed':
      return incomingFailed(state, input.error);
    case 'proposed':
      return commandApplied(state, input.outcome);
    case 'applied':
      return applied(state, input.vm);
    case 'cancel': {
      const what = 'the migration was cancelled at the destination';
      return fail(state, new DwcpError('ERR_DWCP_CANCELLED', what));
    }
  }
}

function start(state: DestinationState): void {
  assert(state.phase === 'idle', 'a migration starts once');
  const { begin } = state.options;
  if (begin.type === 'asked') return prepare(state, begin.terms);
  if (begin.type === 'held') return restoreHeld(state, begin.record);
  restore(state, begin.record, begin.isAlive);
}

function linkUp(state: DestinationState, peerRestarted: boolean): void {
  linkIsBack(state, peerRestarted);
  answerQuery(state);
  // A source that restarted behind its fence reads no frozen memory; before it, it begins anew.
  if (peerRestarted && !state.isUndecided) comparisonOver(state);
}

function receive(state: DestinationState, message: MigrationMessage): void {
  switch (message.type) {
    case 'copied':
      return load(state);
    case 'reattach':
      return reattach(state);
    case 'regain':
      return regain(state);
    case 'heldRequest':
      return hashHeld(state, message);
    case 'fenced':
      return fenced(state, message.epoch, message.postcopy);
    case 'resumedQuery':
      return answerQuery(state);
    case 'abort':
      return sourceAborted(state, message.errorCode, message.reason);
    case 'digestBlock':
      return takeBlock(state, message);
    case 'roundDone':
    case 'prepareRequest':
      return;
    default: {
      const what = `${state.options.from} sent ${message.type} to a destination`;
      return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
    }
  }
}

function stored(state: DestinationState, token: string, outcome: Outcome<void>): void {
  switch (token) {
    case 'guest':
      return guestStored(state, outcome);
    case 'arrival':
      return arrivalStored(state, outcome);
    case 'arrivalForgotten':
      return arrivalForgotten(state, outcome);
  }
}
