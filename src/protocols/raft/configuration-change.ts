/**
 * The next configuration, or why there is none. Two configurations that follow each other must have
 * majorities that intersect: a simple change may therefore differ in one voter, anything else goes
 * through a joint configuration (Ongaro's thesis, sections 4.1 and 4.3).
 */
import { isJoint } from './configuration.ts';
import type {
  Configuration,
  ConfigurationChange,
  ConfigurationMode,
  ConfigurationRejectionCode,
  ReplicaId,
} from './types.ts';

export type ChangeResult =
  | { readonly ok: true; readonly configuration: Configuration }
  | { readonly ok: false; readonly code: ConfigurationRejectionCode };

interface Draft {
  readonly voters: Set<ReplicaId>;
  readonly votersOutgoing: Set<ReplicaId>;
  readonly learners: Set<ReplicaId>;
  readonly learnersNext: Set<ReplicaId>;
}

/** Changes apply in their order. Id 0 names nobody: a change that was struck out on the way. */
export function changeConfiguration(
  configuration: Configuration,
  mode: ConfigurationMode,
  changes: readonly ConfigurationChange[],
  options: { readonly autoLeave: boolean },
): ChangeResult {
  if (changes.some(({ id }) => !Number.isSafeInteger(id) || id < 0)) return refused('badId');
  const draft = draftOf(configuration);
  switch (mode) {
    case 'leaveJoint':
      if (!isJoint(configuration)) return refused('notJoint');
      if (changes.length > 0) return refused('changesOnLeave');
      for (const id of draft.learnersNext) draft.learners.add(id);
      draft.learnersNext.clear();
      draft.votersOutgoing.clear();
      return accepted(draft, false);
    case 'enterJoint':
      if (isJoint(configuration)) return refused('alreadyJoint');
      if (configuration.voters.size === 0) return refused('noVoters');
      for (const id of configuration.voters) draft.votersOutgoing.add(id);
      apply(draft, changes);
      return draft.voters.size === 0 ? refused('noVoters') : accepted(draft, options.autoLeave);
    case 'simple':
      if (isJoint(configuration)) return refused('alreadyJoint');
      apply(draft, changes);
      if (draft.voters.size === 0) return refused('noVoters');
      if (differences(configuration.voters, draft.voters) > 1) return refused('notSimple');
      return accepted(draft, false);
  }
}

function apply(draft: Draft, changes: readonly ConfigurationChange[]): void {
  for (const { op, id } of changes) {
    if (id === 0) continue;
    switch (op) {
      case 'addVoter':
        remove(draft, id);
        draft.voters.add(id);
        break;
      case 'addLearner':
        remove(draft, id);
        // Nobody is voter and learner at once: who still votes in the old half waits for its end.
        (draft.votersOutgoing.has(id) ? draft.learnersNext : draft.learners).add(id);
        break;
      case 'remove':
        remove(draft, id);
        break;
      case 'update':
        break;
    }
  }
}

function remove(draft: Draft, id: ReplicaId): void {
  draft.voters.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
}

function differences(a: ReadonlySet<ReplicaId>, b: ReadonlySet<ReplicaId>): number {
  let count = 0;
  for (const id of a) if (!b.has(id)) count += 1;
  for (const id of b) if (!a.has(id)) count += 1;
  return count;
}

function draftOf(configuration: Configuration): Draft {
  return {
    voters: new Set(configuration.voters),
    votersOutgoing: new Set(configuration.votersOutgoing),
    learners: new Set(configuration.learners),
    learnersNext: new Set(configuration.learnersNext),
  };
}

/** Sets in order of id: what is encoded or hashed must not tell in which order members came. */
function accepted(draft: Draft, autoLeave: boolean): ChangeResult {
  const ordered = (ids: Set<ReplicaId>) => new Set([...ids].sort((a, b) => a - b));
  const configuration = {
    voters: ordered(draft.voters),
    votersOutgoing: ordered(draft.votersOutgoing),
    learners: ordered(draft.learners),
    learnersNext: ordered(draft.learnersNext),
    autoLeave,
  };
  return { ok: true, configuration };
}

function refused(code: ConfigurationRejectionCode): ChangeResult {
  return { ok: false, code };
}
