/** What a leader says to its followers: entries, heartbeats, and "take over". */
import { assert } from '../../util/assert.ts';
import { commitTo } from './commit.ts';
import { heal } from './damage.ts';
import { startElection } from './election.ts';
import type { LogPosition } from './log.ts';
import { becomeFollower } from './role.ts';
import type { ReplicaState } from './state.ts';
import type { AppendRequest, Heartbeat, LogIndex, ReplicaId, TimeoutNow } from './types.ts';

/** There is one leader per term, so whoever speaks as one in ours is it. */
export function hearLeader(state: ReplicaState, from: ReplicaId): void {
  assert(state.role !== 'leader', 'there is one leader in a term');
  becomeFollower(state, state.term, from, 'the leader was heard');
  state.heardUs = state.nowUs;
  state.postponeElection();
}

export function appendRequest(state: ReplicaState, message: AppendRequest): void {
  hearLeader(state, message.from);
  const { log } = state;
  const { previousIndex, previousTerm, entries } = message;
  if (previousIndex < state.commit) {
    // What is committed is equal everywhere: let the leader go on behind it.
    return acknowledge(state, message, state.commit);
  }
  if (!log.matches(previousIndex, previousTerm)) return refuse(state, message);
  const known = entries.findIndex(({ index, term }) => !log.matches(index, term));
  const news = known < 0 ? [] : entries.slice(known);
  const first = news[0];
  if (first !== undefined) {
    if (first.index <= log.lastIndex) state.truncate(first.index);
    state.append(news);
  }
  const lastIndex = previousIndex + entries.length;
  acknowledge(state, message, lastIndex);
  commitTo(state, Math.min(message.commit, lastIndex));
}

/** Says only what is durable: at once, or when the write that makes it so is done. */
function acknowledge(state: ReplicaState, message: AppendRequest, matchIndex: number): void {
  const { from: to, round, entries } = message;
  const { term, acknowledged } = state;
  if (state.lostEnd !== null) {
    heal(state, { index: matchIndex, term: state.log.termAt(matchIndex) ?? 0 });
  }
  const isSaid =
    acknowledged.matchIndex === matchIndex &&
    acknowledged.round === round &&
    acknowledged.term === term;
  // A leader that only tells the commit needs no answer. One that asks, asks in a new round.
  if (isSaid && entries.length === 0) return;
  acknowledged.matchIndex = matchIndex;
  acknowledged.round = round;
  acknowledged.term = term;
  const isStable = matchIndex <= state.log.stableIndex;
  state.send(
    { type: 'appendReply', from: state.id, to, term, round, matchIndex, refused: null },
    isStable ? 'term' : 'all',
  );
}

function refuse(state: ReplicaState, message: AppendRequest): void {
  const { from: to, round, previousIndex, previousTerm } = message;
  const damaged = state.lostEnd !== null;
  const hint = damaged ? certain(state) : state.log.agreement(previousIndex, previousTerm);
  const refused = { previousIndex, hintIndex: hint.index, hintTerm: hint.term, damaged };
  state.send(
    { type: 'appendReply', from: state.id, to, term: state.term, round, matchIndex: null, refused },
    'term',
  );
}

export function heartbeat(state: ReplicaState, message: Heartbeat): void {
  hearLeader(state, message.from);
  const { from: to, round } = message;
  state.send({ type: 'heartbeatReply', from: state.id, to, term: state.term, round }, 'term');
  noticeLoss(state, message.commit);
  if (state.lostEnd !== null) reportDamage(state, message, state.lostEnd.index);
  commitTo(state, Math.min(message.commit, state.log.lastIndex));
}

/**
 * A heartbeat's commit never lies above what we acknowledged. A log that ends before it lost its end
 * without a trace (a lost write, an old copy of the directory), and is damaged like any other.
 */
function noticeLoss(state: ReplicaState, commit: LogIndex): void {
  if (state.lostEnd !== null || commit <= state.log.lastIndex) return;
  state.lostEnd = { index: commit, term: state.term };
}

/** Above what is committed a damaged log may hold what an acknowledged write, now lost, replaced. */
function certain({ log, commit }: ReplicaState): LogPosition {
  return { index: commit, term: log.termAt(commit) ?? 0 };
}

/** The leader believes that we hold what we acknowledged before; nothing else would tell it. */
function reportDamage(
  state: ReplicaState,
  { from: to, round }: Heartbeat,
  damagedIndex: LogIndex,
): void {
  const { index: hintIndex, term: hintTerm } = certain(state);
  const refused = { previousIndex: damagedIndex, hintIndex, hintTerm, damaged: true };
  state.send(
    { type: 'appendReply', from: state.id, to, term: state.term, round, matchIndex: null, refused },
    'term',
  );
}

export function timeoutNow(state: ReplicaState, message: TimeoutNow): void {
  if (state.leader !== message.from) return;
  startElection(state, 'transfer');
}
