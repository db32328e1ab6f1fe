/** A read whose index is known is answered once the state machine is there. */
import type { ReplicaState } from './state.ts';
import type { LogIndex, ReadGuarantee } from './types.ts';

export function answerRead(
  state: ReplicaState,
  requestId: number,
  index: LogIndex,
  guarantee: ReadGuarantee['kind'],
): void {
  if (state.applied < index) {
    state.reads.applying.push({ requestId, index, guarantee });
    return;
  }
  state.emit({ type: 'readReady', requestId, index: state.applied, guarantee });
}

export function releaseReads(state: ReplicaState): void {
  const { reads } = state;
  if (reads.applying.length === 0) return;
  const waiting = reads.applying;
  reads.applying = [];
  for (const { requestId, index, guarantee } of waiting) {
    answerRead(state, requestId, index, guarantee);
  }
}
