/**
 * The states of a queue pair, as the verbs have them.
 *
 *     RESET -> INIT -> RTR -> RTS <-> SQD
 *                              |       |
 *                             SQE -----+      any -> ERROR, any -> RESET
 *
 * A reliable connection goes to ERROR and not to SQE; SQE is there for whoever asks for what is legal.
 */
export type QueuePairState = 'RESET' | 'INIT' | 'RTR' | 'RTS' | 'SQD' | 'SQE' | 'ERROR';

const NEXT: Readonly<Record<QueuePairState, readonly QueuePairState[]>> = {
  RESET: ['INIT'],
  INIT: ['INIT', 'RTR'],
  RTR: ['RTS'],
  RTS: ['RTS', 'SQD'],
  SQD: ['SQD', 'RTS'],
  SQE: ['RTS'],
  ERROR: [],
};

export function mayModify(from: QueuePairState, to: QueuePairState): boolean {
  return to === 'RESET' || to === 'ERROR' || NEXT[from].includes(to);
}

/** Takes work requests of its send queue off; in SQD they wait. */
export function mayPostSend(state: QueuePairState): boolean {
  return state === 'RTS' || state === 'SQD' || state === 'SQE' || state === 'ERROR';
}

export function mayPostReceive(state: QueuePairState): boolean {
  return state !== 'RESET';
}

/** Answers what comes over the wire. Whoever does not is silent, and its peer tries again until it gives up. */
export function responds(state: QueuePairState): boolean {
  return state === 'RTR' || state === 'RTS' || state === 'SQD' || state === 'SQE';
}

/** Whether what is posted is flushed instead of done. */
export function flushes(state: QueuePairState): boolean {
  return state === 'ERROR' || state === 'SQE';
}
