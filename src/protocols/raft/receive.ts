/** What every message goes through first: whose it is, and what its term means. */
import {
  preVoteReply,
  preVoteRequest,
  protectsLeader,
  voteReply,
  voteRequest,
} from './election.ts';
import { appendRequest, heartbeat, timeoutNow } from './follower.ts';
import { appendReply, heartbeatReply, snapshotReply } from './leader.ts';
import { readIndexReply, readIndexRequest } from './read-index.ts';
import { becomeFollower } from './role.ts';
import { snapshotChunk, snapshotOffer } from './snapshot-receiver.ts';
import type { ReplicaState } from './state.ts';
import type { Message } from './types.ts';

export function receive(state: ReplicaState, message: Message): void {
  if (message.to !== state.id || message.from === state.id) return;
  // Pre-votes speak of a term that nobody is in yet: they change nobody's.
  if (message.type === 'preVoteRequest') return preVoteRequest(state, message);
  if (message.type === 'preVoteReply' && message.granted) return preVoteReply(state, message);
  if (message.term < state.term) return receiveOld(state, message);
  if (message.term > state.term) {
    if (message.type === 'voteRequest' && !message.transfer && protectsLeader(state)) return;
    const leader = isFromLeader(message) ? message.from : null;
    becomeFollower(state, message.term, leader, `${message.from} is in term ${message.term}`);
  }
  dispatch(state, message);
}

function dispatch(state: ReplicaState, message: Message): void {
  switch (message.type) {
    case 'preVoteRequest':
      return;
    case 'preVoteReply':
      return preVoteReply(state, message);
    case 'voteRequest':
      return voteRequest(state, message);
    case 'voteReply':
      return voteReply(state, message);
    case 'appendRequest':
      return appendRequest(state, message);
    case 'appendReply':
      return appendReply(state, message);
    case 'heartbeat':
      return heartbeat(state, message);
    case 'heartbeatReply':
      return heartbeatReply(state, message);
    case 'snapshotOffer':
      return snapshotOffer(state, message);
    case 'snapshotChunk':
      return snapshotChunk(state, message);
    case 'snapshotReply':
      return snapshotReply(state, message);
    case 'timeoutNow':
      return timeoutNow(state, message);
    case 'readIndexRequest':
      return readIndexRequest(state, message);
    case 'readIndexReply':
      return readIndexReply(state, message);
  }
}

/**
 * A leader of an older term must hear that it is one: pre-votes and protection would otherwise keep
 * a replica with a higher term out for ever.
 */
function receiveOld(state: ReplicaState, message: Message): void {
  const { from: to } = message;
  const { term } = state;
  if (isFromLeader(message)) {
    state.send(
      { type: 'appendReply', from: state.id, to, term, round: 0, matchIndex: null, refused: null },
      'term',
    );
  } else if (message.type === 'voteRequest') {
    state.send({ type: 'voteReply', from: state.id, to, term, granted: false }, 'term');
  }
}

function isFromLeader({ type }: Message): boolean {
  return (
    type === 'appendRequest' ||
    type === 'heartbeat' ||
    type === 'snapshotOffer' ||
    type === 'snapshotChunk'
  );
}
