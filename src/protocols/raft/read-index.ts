/**
 * Reads by the guarantee their caller names (Raft thesis, section 6.4).
 *
 * A lease is a promise by clocks: a majority echoed a round that began at t, and each of them
 * protects its leader for an election time-out T on its own clock. With clocks that drift at most r
 * against true time, nobody else can be elected before t + T * (1 - r) / (1 + r) on our clock.
 */
import { confirmedRoundUs, startWaitingReads } from './heartbeat.ts';
import { rejectRead } from './read-drop.ts';
import { answerRead } from './read-release.ts';
import type { ReplicaState } from './state.ts';
import type { ReadGuarantee, ReadIndexReply, ReadIndexRequest } from './types.ts';

const MILLION = 1_000_000;

export function read(state: ReplicaState, requestId: number, guarantee: ReadGuarantee): void {
  if (guarantee.kind === 'stale') return answerRead(state, requestId, state.applied, 'stale');
  if (state.reads.count >= state.limits.waitingReads) {
    return rejectRead(state, requestId, 'tooManyReads');
  }
  if (state.role === 'leader') return readAsLeader(state, requestId, guarantee);
  if (state.leader === null) return rejectRead(state, requestId, 'notLeader');
  // A lease speaks for the leader's clock only; here it takes the leader's word instead.
  const deadlineUs = state.nowUs + 2 * state.timing.electionUs;
  state.reads.forwarded.set(requestId, deadlineUs);
  const { incarnation } = state.reads;
  const { leader: to, term } = state;
  state.send(
    { type: 'readIndexRequest', from: state.id, to, term, incarnation, requestId },
    'term',
  );
}

function readAsLeader(state: ReplicaState, requestId: number, guarantee: ReadGuarantee): void {
  const isLeased = guarantee.kind === 'lease' && holdsLease(state, guarantee.maxDriftPpm);
  if (isLeased) return answerRead(state, requestId, state.commit, 'lease');
  state.reads.unstarted.push({ requestId, from: null });
  startWaitingReads(state);
}

export function holdsLease(state: ReplicaState, maxDriftPpm: number): boolean {
  // A negative drift would stretch the lease beyond the promise.
  if (!(maxDriftPpm >= 0 && maxDriftPpm < MILLION)) return false;
  if (state.leaseRevoked || !state.hasCommittedInTerm) return false;
  const { electionUs } = state.timing;
  const leaseUs = Math.floor((electionUs * (MILLION - maxDriftPpm)) / (MILLION + maxDriftPpm));
  return state.nowUs < confirmedRoundUs(state) + leaseUs;
}

/** A follower asks for an index that is linearizable for it too. */
export function readIndexRequest(state: ReplicaState, message: ReadIndexRequest): void {
  const { from, requestId, incarnation } = message;
  if (state.role !== 'leader' || state.reads.count >= state.limits.waitingReads) {
    const { term } = state;
    const reply = {
      type: 'readIndexReply',
      from: state.id,
      to: from,
      term,
      incarnation,
      requestId,
    } as const;
    return state.send({ ...reply, index: null }, 'term');
  }
  state.reads.unstarted.push({ requestId, from: { id: from, incarnation } });
  startWaitingReads(state);
}

export function readIndexReply(state: ReplicaState, message: ReadIndexReply): void {
  const { reads } = state;
  if (message.incarnation !== reads.incarnation || message.from !== state.leader) return;
  if (!reads.forwarded.delete(message.requestId)) return;
  if (message.index === null) return rejectRead(state, message.requestId, 'leaderChanged');
  answerRead(state, message.requestId, message.index, 'linearizable');
}

/** Followers' reads whose question or answer was lost. */
export function expireForwarded(state: ReplicaState): void {
  for (const [requestId, deadlineUs] of state.reads.forwarded) {
    if (deadlineUs > state.nowUs) continue;
    state.reads.forwarded.delete(requestId);
    rejectRead(state, requestId, 'leaderChanged');
  }
}
