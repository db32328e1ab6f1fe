/**
 * The guest became this host's before all of its memory was here: it runs once its devices came, and its
 * QEMU asks its source for what it touches. The session carries those questions until the last page came.
 */
import type { Outcome } from '../../../util/errors.ts';
import { finishWhenCompared } from './settlement.ts';
import type { DestinationState } from './state.ts';

/** Of `fenced`, whether it fits: a source may take post-copy only where both sides got ready for it. */
export function mayFollow({ phase, terms }: DestinationState): boolean {
  return phase === 'receiving' && (terms?.allowPostcopy ?? false);
}

/** Behind the applied commit. */
export function runEarly(state: DestinationState): void {
  state.awaitsMemory = true;
  state.emit({ type: 'resume' });
  state.busy = 'load';
  state.emit({ type: 'load' });
}

export function memoryCame(state: DestinationState, outcome: Outcome<void>): void {
  if (!state.awaitsMemory) return;
  state.awaitsMemory = false;
  if (outcome.ok) {
    state.note('postcopy', 'all of its memory is here');
    return finishWhenCompared(state);
  }
  state.failure = outcome.error;
  state.note('postcopy broke', outcome.error.message);
  state.send({ type: 'migrationFailed', error: outcome.error });
  finishWhenCompared(state);
}
