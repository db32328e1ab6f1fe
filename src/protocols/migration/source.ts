/**
 * The source's half of one migration. It owns the guest until its own fence record is durable and
 * `fenced` was sent; from then on only the destination's abort, or an operator, makes the guest run
 * here again: never a time-out, a lost link or an error.
 *
 *   source/precopy -> [source/verification, strict] -> source/fence -> source/decision
 *     -> [source/verification] -> source/settlement;   source/abort from everywhere before the fence
 */
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import type { EtaInterval } from './convergence.ts';
import { cancel, fail } from './source/abort.ts';
import {
  askForDecision,
  claim,
  claimStored,
  decided,
  decisionTimedOut,
  outcomeUnknown,
  restore,
} from './source/decision.ts';
import { fenceStored, guestFenced } from './source/fence.ts';
import { copied, loaded, opened, prepare, prepared, roundDone } from './source/precopy.ts';
import { fenceForgotten, guestSettled } from './source/settlement.ts';
import { SourceState, timedOut, unreachablePeer } from './source/state.ts';
import type {
  PlainOperation,
  SourceEffect,
  SourceInput,
  SourceOptions,
  SourcePhase,
} from './source/types.ts';
import { compared, digested, isComparing, verificationFailed } from './source/verification.ts';
import type { MigrationMessage, Timed } from './types.ts';

export type {
  SourceEffect,
  SourceInput,
  SourceOperation,
  SourceOptions,
  SourcePhase,
  SourceResult,
  Verification,
} from './source/types.ts';

export class SourceMachine {
  readonly #state: SourceState;

  constructor(options: SourceOptions) {
    this.#state = new SourceState(options);
  }

  get phase(): SourcePhase {
    return this.#state.phase;
  }
  get round(): number {
    return this.#state.round;
  }
  get reason(): string {
    return this.#state.reason;
  }
  get etaMs(): EtaInterval | null {
    return this.#state.etaMs;
  }
  get remainingBytes(): number {
    return this.#state.remainingBytes;
  }
  get stoppedAtUs(): number | null {
    return this.#state.stoppedAtUs;
  }
  get differentPages(): number {
    return this.#state.differentPages;
  }
  get comparedPages(): number {
    return this.#state.comparedPages;
  }
  get failure(): DwcpError | null {
    return this.#state.failure;
  }
  get isPastNoReturn(): boolean {
    return this.#state.isPastNoReturn;
  }

  step(input: Timed<SourceInput>): readonly SourceEffect[] {
    this.#state.begin(input.nowUs);
    if (this.#state.phase !== 'finished') take(this.#state, input);
    return this.#state.takeEffects();
  }
}

function take(state: SourceState, input: SourceInput): void {
  switch (input.type) {
    case 'start':
      return start(state);
    case 'message':
      return receive(state, input.message);
    case 'linkUp':
      return linkUp(state, input.peerRestarted);
    case 'linkDown':
      return linkDown(state, input.error);
    case 'timer':
      return timer(state, input.id);
    case 'stored':
      return stored(state, input.token, input.outcome);
    case 'opened':
      return opened(state, input.outcome);
    case 'roundDone':
      return roundDone(state, input);
    case 'copied':
      return copied(state, input.outcome);
    case 'done':
      return done(state, input.operation, input.outcome);
    case 'digests':
      return digested(state, input.firstPage, input.outcome);
    case 'outgoingFailed':
      return fail(state, input.error);
    case 'cancel':
      return cancel(state);
    case 'claim':
      return claim(state, input.operator);
  }
}

function start(state: SourceState): void {
  assert(state.phase === 'idle', 'a migration starts once');
  const { restored } = state.options;
  if (restored !== null) return restore(state, restored.claimedBy);
  prepare(state);
}

function receive(state: SourceState, message: MigrationMessage): void {
  const { to } = state.options;
  switch (message.type) {
    case 'prepareReply':
      return prepared(state, message.outcome);
    case 'loaded':
      return loaded(state);
    case 'decision':
      return decided(state, message.verdict, message.reason);
    case 'verifyResult':
      return compared(state, message);
    case 'migrationFailed':
      if (state.phase === 'verifying') return verificationFailed(state, message.error);
      return fail(state, message.error);
    case 'abort':
      return fail(state, new DwcpError('ERR_DWCP_CANCELLED', `${to} aborted: ${message.reason}`));
    default: {
      // Not for a source: a confused peer harms only its own migration.
      const what = `${to} sent ${message.type} to a source`;
      return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
    }
  }
}

function done(state: SourceState, operation: PlainOperation, outcome: Outcome<void>): void {
  if (operation !== state.busy) return;
  state.busy = null;
  if (operation === 'fence') return guestFenced(state, outcome);
  guestSettled(state, operation, outcome);
}

function stored(state: SourceState, token: string, outcome: Outcome<void>): void {
  if (token === 'fence') return fenceStored(state, outcome);
  if (token === 'claim') return claimStored(state, outcome);
  if (token === 'forgetFence') return fenceForgotten(state, outcome);
}

function linkUp(state: SourceState, peerRestarted: boolean): void {
  state.linkIsUp = true;
  if (state.phase === 'outcomeUnknown') return askForDecision(state);
  // What landed is compared against the peer's volatile notes; a new process has none.
  if (state.phase === 'verifying' && peerRestarted) {
    verificationFailed(state, unreachablePeer(state.options.to));
  }
}

function linkDown(state: SourceState, error: DwcpError): void {
  state.linkIsUp = false;
  if (state.phase === 'fenced') return outcomeUnknown(state, error.message);
  if (state.phase === 'verifying') return verificationFailed(state, error);
  fail(state, error);
}

function timer(state: SourceState, id: string): void {
  const { to } = state.options;
  if (id === 'prepare' && state.phase === 'preparing') {
    return fail(state, timedOut(`${to} did not answer the preflight`));
  }
  if (id === 'loaded' && state.phase === 'awaitLoaded') {
    return fail(state, timedOut(`${to} did not load the guest`));
  }
  if (id === 'decision') return decisionTimedOut(state);
  if (id === 'verify' && isComparing(state)) {
    verificationFailed(state, timedOut(`${to} did not compare in time`));
  }
}
