/**
 * The source's half of one migration. The guest is its own until its fence record is durable and
 * `fenced` was sent; from then on it runs here again only once this host has applied that the
 * migration is gone and the guest still its own: never on a time-out, a lost link or an error.
 *
 *   source/precopy -> [source/verification, strict] -> source/fence -> source/outcome
 *     -> [source/verification] -> source/settlement;   source/abort from everywhere before the fence
 *     beside them, before `fenced` was sent: source/interruption, when the link breaks
 */
import { assert } from '../../util/assert.ts';
import { DwcpError, type Outcome } from '../../util/errors.ts';
import type { EtaInterval } from './convergence.ts';
import { cancel, fail } from './source/abort.ts';
import { askPeer, unconfirmed } from './source/confirmation.ts';
import { fenceStored, guestFenced } from './source/fence.ts';
import {
  graceOver,
  interrupted,
  interruptionOf,
  isOfLink,
  reattached,
} from './source/interruption.ts';
import {
  abortApplied,
  applied,
  ask,
  claimed,
  doubt,
  outcomeTimedOut,
  restore,
  resumed,
} from './source/outcome.ts';
import { broken, goOn, postcopyDone } from './source/postcopy.ts';
import {
  copied,
  helped,
  loaded,
  opened,
  prepareApplied,
  prepared,
  propose,
  proposePrepare,
  roundDone,
} from './source/precopy.ts';
import { heldCompared, heldPages, resume } from './source/regain.ts';
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
  /** Null while the link stands. */
  interruption(nowUs: number): string | null {
    return interruptionOf(this.#state, nowUs);
  }
  /** How often an agent died, and the migration went on. */
  get restarts(): number {
    return this.#state.restarts;
  }
  get heldEqualPages(): number {
    return this.#state.heldEqualPages;
  }
  /** How often the link broke and the migration went on. */
  get cuts(): number {
    return this.#state.cuts;
  }
  get etaMs(): EtaInterval | null {
    return this.#state.etaMs;
  }
  get remainingBytes(): number {
    return this.#state.remainingBytes;
  }
  /** What was tried so that it converges. */
  get ladderSteps(): readonly string[] {
    return this.#state.ladder.steps;
  }
  get stoppedAtUs(): number | null {
    return this.#state.stoppedAtUs;
  }
  /** It was switched before all of its memory was at the destination. */
  get isPostcopy(): boolean {
    return this.#state.isPostcopy;
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
    case 'held':
      return heldCompared(state, input.outcome);
    case 'helped':
      return helped(state, input.outcome);
    case 'copied':
      return copied(state, input.outcome);
    case 'done':
      return done(state, input.operation, input.outcome);
    case 'digests':
      return digested(state, input.firstPage, input.outcome);
    case 'outgoingFailed':
      return isOfLink(state, input.error) ? undefined : fail(state, input.error);
    case 'cancel':
      return cancel(state);
    case 'proposed':
      if (input.token === 'prepare') return prepareApplied(state, input.outcome);
      return abortApplied(state, input.outcome);
    case 'applied':
      return applied(state, input.vm);
    case 'claimed':
      return claimed(state, input.operator);
  }
}

function start(state: SourceState): void {
  assert(state.phase === 'idle', 'a migration starts once');
  if (state.options.isRestored) return restore(state);
  if (state.options.isResumed === true) return resume(state);
  propose(state);
}

function receive(state: SourceState, message: MigrationMessage): void {
  const { to } = state.options;
  switch (message.type) {
    case 'prepareReply':
      return prepared(state, message.outcome);
    case 'heldPages':
      return heldPages(state, message);
    case 'loaded':
      return loaded(state);
    case 'resumed':
      return resumed(state);
    case 'verifyResult':
      return compared(state, message);
    case 'migrationFailed':
      return peerFailed(state, message.error);
    case 'abort':
      return fail(state, new DwcpError('ERR_DWCP_CANCELLED', `${to} aborted: ${message.reason}`));
    default: {
      // Not for a source: a confused peer harms only its own migration.
      const what = `${to} sent ${message.type} to a source`;
      return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
    }
  }
}

function peerFailed(state: SourceState, error: DwcpError): void {
  switch (state.phase) {
    case 'fenced':
      return doubt(state, error);
    case 'committed':
    case 'unconfirmed':
      return unconfirmed(state, error.message);
    case 'switching':
    case 'postcopy':
      return broken(state, error);
    case 'verifying':
      return verificationFailed(state, error);
    default:
      return fail(state, error);
  }
}

function done(state: SourceState, operation: PlainOperation, outcome: Outcome<void>): void {
  if (operation !== state.busy) return;
  state.busy = null;
  if (operation === 'fence') return guestFenced(state, outcome);
  if (operation === 'postcopy') return postcopyDone(state, outcome);
  guestSettled(state, operation, outcome);
}

function stored(state: SourceState, token: string, outcome: Outcome<void>): void {
  if (token === 'fence') return fenceStored(state, outcome);
  if (token === 'forgetFence') return fenceForgotten(state, outcome);
}

function linkUp(state: SourceState, peerRestarted: boolean): void {
  state.linkIsUp = true;
  reattached(state, peerRestarted);
  if (state.phase === 'committed' || state.phase === 'unconfirmed') return askPeer(state);
  if (state.phase === 'switching' || state.phase === 'postcopy') return goOn(state);
  // What landed is compared against the peer's volatile notes; a new process has none.
  if (state.phase === 'verifying' && peerRestarted) {
    verificationFailed(state, unreachablePeer(state.options.to));
  }
}

function linkDown(state: SourceState, error: DwcpError): void {
  state.linkIsUp = false;
  if (state.phase === 'fenced') return doubt(state, error);
  if (state.phase === 'committed') return unconfirmed(state, error.message);
  if (state.phase === 'verifying') return verificationFailed(state, error);
  interrupted(state, error);
}

function timer(state: SourceState, id: string): void {
  const { to } = state.options;
  const isAsking = state.phase === 'preparing' || state.phase === 'regaining';
  // Of a link that is down its own time decides.
  if (id === 'prepare' && isAsking && state.cut === null) {
    return fail(state, timedOut(`${to} did not answer the preflight`));
  }
  if (id === 'loaded' && state.phase === 'awaitLoaded') {
    return fail(state, timedOut(`${to} did not load the guest`));
  }
  if (id === 'grace') return graceOver(state);
  if (id === 'propose') return proposePrepare(state);
  if (id === 'outcome') return outcomeTimedOut(state);
  if (id === 'ask') return ask(state);
  if (id === 'verify' && isComparing(state)) {
    verificationFailed(state, timedOut(`${to} did not compare in time`));
  }
}
