/** The exhibits. A source is where somebody wrote down that it happened, or could. */
import type { Bug } from './bug.ts';

export const bugs: readonly Bug[] = [
  {
    id: 'acknowledged-before-durable',
    story:
      'A follower acknowledges to requests without entries what its disk has not written yet, so that the leader counts copies that a power loss takes back.',
    source: 'https://github.com/yugabyte/yugabyte-db/issues/32875',
    scenario: 'raft',
    checkers: ['committed-survives'],
  },
  {
    id: 'append-deletes-suffix',
    story:
      'A follower cuts its log at the end of an append that came late, and with it entries that it had acknowledged since.',
    source: 'https://github.com/ktoso/akka-raft/issues/66',
    scenario: 'raft',
    checkers: ['committed-survives', 'leader-completeness', 'state-machine-safety', 'progress'],
  },
  {
    id: 'heartbeat-commit-beyond-match',
    story:
      'A heartbeat carries the commit index to a follower whose log is not known to match so far, and it applies entries that nobody committed.',
    source: 'https://github.com/scylladb/scylladb/issues/10578',
    scenario: 'raft',
    checkers: ['state-machine-safety', 'linearizability'],
  },
  {
    id: 'read-before-applied',
    story:
      'A read is answered before the state machine has applied what the read index promises, as after a restart.',
    source: 'https://github.com/RedisLabs/redisraft/issues/18',
    scenario: 'raft',
    checkers: ['linearizability'],
  },
  {
    id: 'read-index-before-commit-in-term',
    story:
      'A new leader answers reads by its commit index before it committed an entry of its own term, and that index may be older than what its predecessor committed.',
    source: 'https://github.com/etcd-io/etcd/issues/7331',
    scenario: 'raft',
    checkers: ['linearizability'],
  },
];
