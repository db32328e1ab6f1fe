/** The durable record of the decision, and the answer that never goes out before it. */
import { recordKey, type Verdict } from '../types.ts';
import type { DestinationState } from './state.ts';

export function decideAbort(state: DestinationState, reason: string): void {
  state.enter('decidingAbort', reason);
  persistDecision(state, 'abort');
}

export function persistDecision(
  state: DestinationState,
  verdict: 'commit' | 'abort',
  token: string = verdict,
): void {
  const { migrationId, from, terms, restored } = state.options;
  state.emit({
    type: 'persist',
    token,
    key: recordKey('decision', migrationId),
    record: {
      kind: 'decision',
      value: {
        migrationId,
        verdict,
        from,
        guestName: terms?.guestName ?? restored?.guestName ?? '',
        epoch: terms?.epoch ?? restored?.epoch ?? 0,
        reference: verdict === 'commit' ? state.reference : null,
      },
    },
  });
}

export function sendDecision(state: DestinationState, verdict: Verdict): void {
  const isRestored = state.options.restored !== null;
  const reason = state.failure?.message ?? state.reason;
  state.note(verdict, reason);
  state.emit({
    type: 'send',
    after: verdict === 'unknown' || isRestored ? null : verdict,
    message: { type: 'decision', verdict, reason },
  });
}
