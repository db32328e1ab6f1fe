import type { RaftChecker } from './watch.ts';

/** What a replica said is committed stays so, as long as it lives. */
export function commitNeverRegresses(): RaftChecker {
  const commits = new Map<number, number>();
  return {
    name: 'commit-never-regresses',
    // Commit is written along with other things, so a crash may lose the newest.
    started: ({ id }) => {
      commits.delete(id);
      return null;
    },
    saidCommit: ({ id }, commit) => {
      const before = commits.get(id) ?? 0;
      commits.set(id, commit);
      return commit < before ? `${id} went from ${before} back to ${commit}` : null;
    },
  };
}
