/** The next round of the pre-copy, when there is a link to send it over. */
import type { SourceState } from './state.ts';

/** Rounds pause while the link is down: each would only collect anew what nobody can take. */
export function nextRound(state: SourceState): void {
  if (state.cut !== null) return;
  state.busy = 'round';
  state.emit({ type: 'round' });
}
