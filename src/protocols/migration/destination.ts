/**
 * The destination's half of one migration. It owns the guest from the instant its `commit` record
 * is durable, writes that record only when it holds `fenced` and could run the guest, and answers
 * with nothing else ever after. Without a commit record the answer is abort, made durable first.
 *
 *   destination/arrival -> destination/decision -> destination/settlement
 *     beside them: destination/comparison;   destination/discard from everywhere before the commit
 */
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import { load, loaded, prepare, prepared } from './destination/arrival.ts';
import { compare, takeBlock } from './destination/comparison.ts';
import {
  abortStored,
  commitStored,
  fenced,
  guestStored,
  query,
  repeatDecision,
  restore,
  resumed,
  startUnknown,
} from './destination/decision.ts';
import {
  afterDiscard,
  fail,
  incomingFailed,
  linkDown,
  sourceAborted,
} from './destination/discard.ts';
import { recordForgotten, settled, settleTimedOut } from './destination/settlement.ts';
import { DestinationState } from './destination/state.ts';
import type {
  DestinationEffect,
  DestinationInput,
  DestinationOptions,
  DestinationPhase,
} from './destination/types.ts';
import type { MigrationMessage, Timed } from './types.ts';

export type {
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
  get failure(): DwcpError | null {
    return this.#state.failure;
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
      return repeatDecision(state);
    case 'linkDown':
      return linkDown(state, input.error);
    case 'timer':
      if (input.id === 'settle') settleTimedOut(state);
      return;
    case 'stored':
      return stored(state, input.token, input.outcome);
    case 'prepared':
      return prepared(state, input.outcome);
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
    case 'cancel': {
      const what = 'the migration was cancelled at the destination';
      return fail(state, new DwcpError('ERR_DWCP_CANCELLED', what));
    }
  }
}

function start(state: DestinationState): void {
  assert(state.phase === 'idle', 'a migration starts once');
  const { restored, terms } = state.options;
  if (restored !== null) return restore(state, restored);
  if (terms === null) return startUnknown(state);
  prepare(state, terms);
}

function receive(state: DestinationState, message: MigrationMessage): void {
  switch (message.type) {
    case 'copied':
      return load(state);
    case 'fenced':
      return fenced(state, message.epoch);
    case 'decisionQuery':
      return query(state, 'the source asked and nothing was decided');
    case 'abort':
      return sourceAborted(state, message.errorCode, message.reason);
    case 'digestBlock':
      return takeBlock(state, message);
    case 'settled':
      return settled(state);
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
    case 'settled':
      return recordForgotten(state);
    case 'commit':
      return commitStored(state, outcome);
    case 'abort':
      return abortStored(state, outcome);
  }
}
