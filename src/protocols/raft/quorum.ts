/**
 * What a majority agrees on, of one set of voters or, while the group is joint, of both halves.
 * An empty half constrains nothing, so that a plain configuration is a joint one with one half.
 */
import type { Configuration, ReplicaId } from './types.ts';

export type VoteResult = 'won' | 'lost' | 'pending';

/** The highest index that a majority (of each half) has acknowledged; absent counts as 0. */
export function committedIndex(
  configuration: Configuration,
  acked: ReadonlyMap<ReplicaId, number>,
): number {
  return quorumValue(configuration, (id) => acked.get(id) ?? 0);
}

/** The same over any number per replica, such as the time of its last answer. */
export function quorumValue(
  configuration: Configuration,
  measure: (id: ReplicaId) => number,
): number {
  const incoming = majorityValue(configuration.voters, measure);
  if (configuration.votersOutgoing.size === 0) return incoming;
  return Math.min(incoming, majorityValue(configuration.votersOutgoing, measure));
}

/** `won` and `lost` are final: no vote still to come can change them. */
export function voteResult(
  configuration: Configuration,
  votes: ReadonlyMap<ReplicaId, boolean>,
): VoteResult {
  const incoming = majorityVote(configuration.voters, votes);
  const outgoing = majorityVote(configuration.votersOutgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending';
}

/** Of the call that is under way; `measure` asks for no other. */
const descending: number[] = [];

function majorityValue(voters: ReadonlySet<ReplicaId>, measure: (id: ReplicaId) => number): number {
  const count = voters.size;
  if (count === 0) return Number.POSITIVE_INFINITY;
  // Groups are small: inserting into a sorted array beats a call to sort on every acknowledgement.
  let known = 0;
  for (const id of voters) {
    const value = measure(id);
    let at = known;
    for (; at > 0 && (descending[at - 1] as number) < value; at -= 1) {
      descending[at] = descending[at - 1] as number;
    }
    descending[at] = value;
    known += 1;
  }
  return descending[count >> 1] ?? 0;
}

function majorityVote(
  voters: ReadonlySet<ReplicaId>,
  votes: ReadonlyMap<ReplicaId, boolean>,
): VoteResult {
  if (voters.size === 0) return 'won';
  const needed = (voters.size >> 1) + 1;
  let yes = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing += 1;
    else if (vote) yes += 1;
  }
  if (yes >= needed) return 'won';
  return yes + missing >= needed ? 'pending' : 'lost';
}
