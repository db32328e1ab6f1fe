/**
 * An agent died while memory came, on either side. What landed is in the memory of the incoming guest, whose
 * process outlived it: the source asks what is there, and is told hashes of that memory, never of notes.
 */
import { PAGE_HASH_KEY_BYTES } from '../../../ports/memory.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import {
  HELD_BLOCK_PAGES,
  HELD_REQUESTS_MAX,
  type IncomingRecord,
  isRegainable,
  type MigrationMessage,
  type MigrationTerms,
  recordKey,
} from '../types.ts';
import { fail } from './discard.ts';
import { reattach, waitForSource } from './interruption.ts';
import type { DestinationState } from './state.ts';
import type { PreparedGuest } from './types.ts';

/** This process found a guest that is half here. */
export function restoreHeld(state: DestinationState, { reference }: IncomingRecord): void {
  state.reference = reference;
  state.hasIncomingRecord = true;
  state.needsRegain = true;
  state.enter('receiving', 'this agent restarted, waiting for the source');
  waitForSource(state);
}

/** For the agent after this one; without it what comes would be an orphan to it. */
export function noteIncoming(
  state: DestinationState,
  terms: MigrationTerms,
  { reference }: PreparedGuest,
): void {
  if (!isRegainable(terms) || state.hasIncomingRecord) return;
  state.hasIncomingRecord = true;
  const { from, migrationId } = state.options;
  const record = { kind: 'incoming', value: { from, terms, reference } } as const;
  const key = recordKey('incoming', migrationId);
  state.emit({ type: 'persist', token: 'incoming', key, record });
}

/** The source goes on, from its own side of the same accident or of ours. */
export function regain(state: DestinationState): void {
  const { terms } = state;
  const isHere = state.phase === 'receiving' || state.phase === 'loaded';
  if (state.phase === 'discarding') return reattach(state);
  if (!isHere || terms === null || !isRegainable(terms)) {
    const what = `nothing can be regained while ${state.phase}`;
    return fail(state, new DwcpError('ERR_DWCP_GUEST_STATE', what));
  }
  state.isCut = false;
  state.failure = null;
  state.heldInFlight = 0;
  state.emit({ type: 'cancelTimer', id: 'grace' });
  state.enter('preparing', 'finding what is here already');
  state.isRegaining = true;
  state.busy = 'prepareIncoming';
  state.emit({ type: 'resumeIncoming', terms });
}

export function hashHeld(
  state: DestinationState,
  request: MigrationMessage & { type: 'heldRequest' },
): void {
  const { firstPage, pageCount, key } = request;
  if (state.phase !== 'receiving' || state.needsRegain) return;
  const fits =
    pageCount > 0 &&
    pageCount <= HELD_BLOCK_PAGES &&
    firstPage + pageCount <= state.pageCount &&
    key.length === PAGE_HASH_KEY_BYTES &&
    // What was asked over a link that broke may still be under way.
    state.heldInFlight < 2 * HELD_REQUESTS_MAX;
  if (!fits) {
    const what = `asked for hashes of ${pageCount} pages from ${firstPage} on`;
    return fail(state, new DwcpError('ERR_DWCP_PROTOCOL', `${state.options.from} ${what}`));
  }
  state.heldInFlight += 1;
  state.emit({ type: 'held', firstPage, pageCount, key });
}

export function heldHashed(
  state: DestinationState,
  firstPage: number,
  outcome: Outcome<Uint8Array>,
): void {
  state.heldInFlight = Math.max(0, state.heldInFlight - 1);
  if (state.phase !== 'receiving') return;
  if (!outcome.ok) return fail(state, outcome.error);
  state.send({ type: 'heldPages', firstPage, hashes: outcome.value });
}
