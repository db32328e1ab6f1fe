/** Who is in the group, and in which part of it. */
import type { Configuration, ReplicaId } from './types.ts';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

export const EMPTY_CONFIGURATION: Configuration = {
  voters: NOBODY,
  votersOutgoing: NOBODY,
  learners: NOBODY,
  learnersNext: NOBODY,
  autoLeave: false,
};

export function votersOnly(ids: Iterable<ReplicaId>): Configuration {
  return { ...EMPTY_CONFIGURATION, voters: new Set(ids) };
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.votersOutgoing.size > 0;
}

export function isVoter(configuration: Configuration, id: ReplicaId): boolean {
  return configuration.voters.has(id) || configuration.votersOutgoing.has(id);
}

/** Everyone the leader replicates to, in order of id, so that no run depends on history. */
export function membersOf(configuration: Configuration): readonly ReplicaId[] {
  const { voters, votersOutgoing, learners, learnersNext } = configuration;
  const all = new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext]);
  return [...all].sort((a, b) => a - b);
}
