/** From the source's question until the guest could run here: room is made, memory comes, it loads. */
import type { Outcome } from '../../../util/errors.ts';
import type { MigrationTerms } from '../types.ts';
import { discardNow, fail } from './discard.ts';
import { memoryCame } from './postcopy.ts';
import { noteIncoming } from './regain.ts';
import { finish } from './settlement.ts';
import type { DestinationState } from './state.ts';
import type { PreparedGuest } from './types.ts';

export function prepare(state: DestinationState, terms: MigrationTerms): void {
  state.enter('preparing', 'making room for the guest');
  state.busy = 'prepareIncoming';
  state.emit({ type: 'prepareIncoming', terms });
}

export function prepared(state: DestinationState, outcome: Outcome<PreparedGuest>): void {
  state.busy = null;
  // It is here, and half full.
  if (!outcome.ok && state.isRegaining) {
    return state.wantDiscard ? discardNow(state) : fail(state, outcome.error);
  }
  if (!outcome.ok) {
    if (!state.wantDiscard) {
      state.send({ type: 'prepareReply', outcome: { ok: false, error: outcome.error } });
    }
    return finish(state, { type: 'refused', error: state.failure ?? outcome.error });
  }
  state.reference = outcome.value.reference;
  if (state.wantDiscard) return discardNow(state);
  state.isRegaining = false;
  state.needsRegain = false;
  if (state.terms !== null) noteIncoming(state, state.terms, outcome.value);
  state.enter('receiving', 'receiving memory');
  state.send({ type: 'prepareReply', outcome: { ok: true, value: outcome.value.endpoint } });
}

/** The source sent everything. */
export function load(state: DestinationState): void {
  if (state.phase !== 'receiving') return;
  state.enter('loading', 'everything arrived, loading');
  state.busy = 'load';
  state.emit({ type: 'load' });
}

export function loaded(state: DestinationState, outcome: Outcome<void>): void {
  state.busy = null;
  if (state.isPostcopy) return memoryCame(state, outcome);
  // A discard did not wait for it.
  if (state.wantDiscard) return;
  if (state.phase !== 'loading') return;
  if (!outcome.ok) return fail(state, outcome.error);
  state.enter('loaded', 'ready to run, waiting for the fence of the source');
  state.send({ type: 'loaded' });
}
