/**
 * Elections. A replica first asks whether it would win (pre-vote), so that one that was cut off does
 * not depose a leader by its high term; voters protect a leader they heard within the shortest
 * time-out. Nothing of a campaign leaves before its term and vote are durable, and the own vote
 * counts only then: after a crash a replica must not stand in the same term with a shorter log.
 */
import { isVoter } from './configuration.ts';
import { reachesLostEnd } from './damage.ts';
import { armHeartbeat, beginRound, quorumContactUs } from './heartbeat.ts';
import { appendOwn, trackMembers } from './leader-log.ts';
import { type VoteResult, voteResult } from './quorum.ts';
import { dropForwardedReads } from './read-drop.ts';
import { expireForwarded } from './read-index.ts';
import { replicate } from './replication.ts';
import { becomeFollower } from './role.ts';
import type { ReplicaState } from './state.ts';
import type { PreVoteReply, PreVoteRequest, VoteReply, VoteRequest } from './types.ts';

const REASONS = {
  transfer: 'the leader hands over',
  majority: 'a majority would vote for it',
  unanimous: 'all would vote for it, so nobody holds what damage took',
} as const;

export function electionTimer(state: ReplicaState): void {
  state.electionTimerFired();
  if (state.role === 'leader') return;
  expireForwarded(state);
  if (state.nowUs < state.electionDeadlineUs) return state.armElection();
  if (mayStand(state)) return startPreVote(state);
  state.drawElectionTimeout();
}

function mayStand(state: ReplicaState): boolean {
  const isInstalling = state.partial?.phase === 'installing';
  return isEligible(state) && !state.voteDamaged && !isInstalling && !state.isDiskStalled;
}

/**
 * A replica that its newest configuration leaves out stands while that one may not be committed: it
 * may be the only one whose log the others would vote for (thesis, figure 4.6).
 */
function isEligible({ configurations, commit, id }: ReplicaState): boolean {
  if (isVoter(configurations.current, id)) return true;
  const { currentIndex } = configurations;
  return currentIndex > commit && isVoter(configurations.at(currentIndex - 1), id);
}

export function startPreVote(state: ReplicaState): void {
  // Its own vote counts too, so it protects the leader like everybody else: a lease may rest on it.
  if (state.role === 'leader' || !mayStand(state) || protectsLeader(state)) return;
  stand(state, 'preCandidate', 'no leader was heard');
  state.votes.set(state.id, true);
  state.damagedGrants.clear();
  const term = state.term + 1;
  const { lastIndex, lastTerm } = state.log;
  for (const to of otherVoters(state)) {
    state.send({ type: 'preVoteRequest', from: state.id, to, term, lastIndex, lastTerm }, 'none');
  }
  tally(state);
}

export function startElection(
  state: ReplicaState,
  why: 'transfer' | 'majority' | 'unanimous',
): void {
  if (state.role === 'leader' || !mayStand(state)) return;
  const unanimous = why === 'unanimous';
  if (state.lostEnd !== null && !unanimous) return;
  state.setTerm(state.term + 1, state.id);
  stand(state, 'candidate', REASONS[why]);
  state.isUnanimousCampaign = unanimous;
  const transfer = why === 'transfer';
  const { term } = state;
  const { lastIndex, lastTerm } = state.log;
  for (const to of otherVoters(state)) {
    state.send(
      { type: 'voteRequest', from: state.id, to, term, lastIndex, lastTerm, transfer, unanimous },
      'all',
    );
  }
}

function stand(state: ReplicaState, role: 'preCandidate' | 'candidate', reason: string): void {
  state.votes.clear();
  state.changeRole(role, null, reason);
  dropForwardedReads(state);
  state.drawElectionTimeout();
}

function otherVoters(state: ReplicaState): readonly number[] {
  const { voters, votersOutgoing } = state.configuration;
  const all = new Set([...voters, ...votersOutgoing]);
  all.delete(state.id);
  return [...all].sort((a, b) => a - b);
}

/** After every write: the candidate's vote for itself is durable now. */
export function countOwnVote(state: ReplicaState): void {
  if (state.role !== 'candidate' || !state.disk.isTermDurable || state.votes.has(state.id)) return;
  state.votes.set(state.id, true);
  tally(state);
}

function tally(state: ReplicaState): void {
  const result = state.role === 'preCandidate' ? preVoteResult(state) : electionResult(state);
  if (result === 'lost') becomeFollower(state, state.term, null, 'the election was lost');
  if (result === 'lost' || result === 'pending') return;
  if (state.role === 'candidate') becomeLeader(state);
  else startElection(state, result === 'won' ? 'majority' : 'unanimous');
}

/** A majority whose logs are whole is enough; with a damaged one among them, own or not, all it takes. */
function preVoteResult(state: ReplicaState): VoteResult | 'unanimous' {
  const { configuration, votes, damagedGrants, lostEnd } = state;
  if (lostEnd === null) {
    const whole = [...votes].filter(([id]) => !damagedGrants.has(id));
    const result = voteResult(configuration, new Map(whole));
    if (result !== 'pending') return result;
  }
  if (isUnanimous(state)) return 'unanimous';
  return voteResult(configuration, votes) === 'lost' ? 'lost' : 'pending';
}

function electionResult(state: ReplicaState): VoteResult {
  const { configuration, votes } = state;
  if (!state.isUnanimousCampaign) return voteResult(configuration, votes);
  if ([...votes.values()].includes(false)) return 'lost';
  return isUnanimous(state) ? 'won' : 'pending';
}

function isUnanimous({ configuration, votes }: ReplicaState): boolean {
  const all = [...configuration.voters, ...configuration.votersOutgoing];
  return all.every((id) => votes.get(id) === true);
}

function becomeLeader(state: ReplicaState): void {
  state.votes.clear();
  state.peers.clear();
  state.leaseRevoked = false;
  state.uncommittedBytes = 0;
  state.reads.newTerm();
  state.changeRole('leader', state.id, 'elected');
  if (state.transfer !== null) {
    const { to } = state.transfer;
    state.transfer = null;
    state.emit({ type: 'transferEnded', to, ok: false, reason: `${state.id} leads again` });
  }
  trackMembers(state);
  for (const peer of state.peers.values()) peer.probeFrom(state.log.lastIndex + 1);
  // What may have been torn off is void now: this log is the group's.
  state.lostEnd = null;
  appendOwn(state, { kind: 'noop' });
  replicate(state);
  beginRound(state);
  armHeartbeat(state);
}

// Voting -----------------------------------------------------------------------------------------

/** Whether a leader is alive as far as we know, so that a stranger's campaign only disturbs. */
export function protectsLeader(state: ReplicaState): boolean {
  const heardUs = state.role === 'leader' ? quorumContactUs(state) : state.heardUs;
  return state.nowUs - heardUs < state.timing.electionUs;
}

/** By what this log still has, whatever damage took from it. */
function wouldElect(state: ReplicaState, lastIndex: number, lastTerm: number): boolean {
  return !state.voteDamaged && state.log.isCoveredBy(lastIndex, lastTerm);
}

export function preVoteRequest(state: ReplicaState, message: PreVoteRequest): void {
  const { from: to, lastIndex, lastTerm } = message;
  const granted =
    message.term > state.term && !protectsLeader(state) && wouldElect(state, lastIndex, lastTerm);
  const term = granted ? message.term : state.term;
  const damaged = granted && !reachesLostEnd(state, { index: lastIndex, term: lastTerm });
  state.send(
    { type: 'preVoteReply', from: state.id, to, term, granted, damaged },
    granted ? 'none' : 'term',
  );
}

export function preVoteReply(state: ReplicaState, message: PreVoteReply): void {
  if (state.role !== 'preCandidate') return;
  if (message.granted && message.term !== state.term + 1) return;
  state.votes.set(message.from, message.granted);
  if (message.granted && message.damaged) state.damagedGrants.add(message.from);
  tally(state);
}

/** In our term already: a higher one was taken over before, a lower one refused. */
export function voteRequest(state: ReplicaState, message: VoteRequest): void {
  const { from: to, lastIndex, lastTerm, unanimous } = message;
  const { term } = state;
  const isFree = state.vote === to || (state.vote === null && state.leader === null);
  const isWhole = unanimous || reachesLostEnd(state, { index: lastIndex, term: lastTerm });
  const granted = isFree && isWhole && wouldElect(state, lastIndex, lastTerm);
  if (granted) {
    if (state.vote === null) state.setTerm(term, to);
    state.drawElectionTimeout();
  }
  state.send({ type: 'voteReply', from: state.id, to, term, granted }, 'term');
}

export function voteReply(state: ReplicaState, message: VoteReply): void {
  if (state.role !== 'candidate') return;
  state.votes.set(message.from, message.granted);
  tally(state);
}
