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
    id: 'older-term-committed-by-counting',
    story:
      'A leader counts copies of an entry of an older term, and commits what a log with a newer last term can still push out (Raft, figure 8).',
    source: 'https://github.com/canonical/raft/issues/220',
    scenario: 'raft',
    checkers: ['commitment', 'leader-completeness', 'state-machine-safety'],
  },
  {
    id: 'vote-forgotten-at-restart',
    story:
      'A replica that starts again knows its term and not whom it voted for in it, and may vote once more.',
    source: 'https://github.com/seaweedfs/raft/pull/9',
    scenario: 'raft',
    checkers: ['votes', 'election-safety'],
  },
  {
    id: 'membership-change-before-commit-in-term',
    story:
      'A new leader changes the membership by one before it committed in its term: a majority of its new one need not meet a majority of a change that another leader began.',
    source: 'https://github.com/atomix/copycat/issues/23',
    scenario: 'raft',
    checkers: [
      ...['commitment', 'leader-completeness', 'election-safety', 'committed-survives'],
      ...['state-machine-safety', 'uncaught'],
    ],
  },
  {
    id: 'append-deletes-suffix',
    story:
      'A follower cuts its log at the end of an append that came late, and with it entries that it had acknowledged since.',
    source: 'https://github.com/ktoso/akka-raft/issues/66',
    scenario: 'raft',
    checkers: [
      ...['committed-survives', 'commitment', 'leader-completeness', 'state-machine-safety'],
      'progress',
    ],
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
  {
    id: 'vote-without-log-check',
    story: 'Votes are granted without a look at the log of the candidate.',
    source: 'https://github.com/jgroups-extras/jgroups-raft/issues/14',
    scenario: 'raft',
    checkers: ['leader-completeness', 'state-machine-safety'],
  },
  {
    id: 'vote-for-longer-log',
    story:
      'A voter compares the length of logs before their last terms, and elects a candidate whose longer log misses committed entries.',
    source: 'https://github.com/sile/noraft/pull/22',
    scenario: 'raft',
    checkers: ['leader-completeness', 'state-machine-safety'],
  },
  {
    id: 'append-without-term-check',
    story:
      'A follower takes appends that fit the length of its log without comparing the term of the entry before them.',
    source: 'https://github.com/ktoso/akka-raft/issues/32',
    scenario: 'raft',
    checkers: ['log-matching', 'uncaught'],
  },
  {
    id: 'vote-never-persisted',
    story:
      'Term and vote change in memory only, and a reply leaves before any disk knows of them: after a restart the replica is in an older term and votes again.',
    source: 'https://github.com/NodeDB-Lab/nodedb/issues/161',
    scenario: 'raft',
    checkers: ['votes', 'election-safety', 'uncaught'],
  },
  {
    id: 'snapshot-without-configuration',
    story:
      'A snapshot keeps the membership of the one before it, and the entry that changed it is compacted away: after a restart the replica counts by members of long ago.',
    source: 'https://github.com/moby/swarmkit/pull/238',
    scenario: 'raft',
    checkers: [
      ...['commitment', 'leader-completeness', 'election-safety', 'committed-survives'],
      'state-machine-safety',
    ],
  },
  {
    id: 'resume-before-commit',
    story:
      'The destination has everything and runs the guest before anybody decided that it may: the source, which heard nothing, runs it too.',
    source: 'https://github.com/oxidecomputer/propolis/issues/350',
    scenario: 'migration',
    checkers: ['one-runner', 'ownership', 'guest-writes', 'progress'],
  },
  {
    id: 'read-without-quorum',
    story:
      'A leader answers reads at once, without asking a majority whether it still leads: one that was cut off and replaced tells what was true once.',
    source: 'https://github.com/deventlab/d-engine/issues/381',
    scenario: 'raft',
    checkers: ['linearizability'],
  },
  {
    id: 'fsync-error-ignored',
    story:
      'A sync of the log that failed counts as done, since the write before it went well: what was acknowledged is on no disk.',
    source: 'https://github.com/cockroachdb/cockroach/pull/37102',
    scenario: 'cluster',
    checkers: ['group-log', 'epochs', 'linearizability', 'same-state', 'log-recovery', 'uncaught'],
  },
  {
    id: 'restored-sessions-not-opened',
    story:
      'The sessions of a snapshot are not opened by who restores it: it answers their commands otherwise than all others, and executes other ones.',
    source: 'https://github.com/atomix/atomix/pull/341',
    scenario: 'cluster',
    checkers: ['group-log', 'epochs', 'linearizability', 'same-state'],
  },
  {
    id: 'stale-epoch-accepted',
    story:
      'Whoever changes an owner is not asked under which epoch it speaks: what it knew before a fail-over counts as much as what is true now.',
    source: 'https://github.com/apache/kafka/pull/5821',
    scenario: 'cluster',
    checkers: ['epochs', 'linearizability'],
  },
  {
    id: 'aborted-migration-commits',
    story:
      'A migration that was aborted commits when its last step comes late, and the resource is active in two places.',
    source: 'https://github.com/ClusterLabs/pacemaker/pull/2739',
    scenario: 'cluster',
    checkers: ['epochs', 'linearizability'],
  },
  {
    id: 'directory-not-synced',
    story:
      'Files of the log are synced and renamed, their folder is not synced: after a power loss a file that was relied on has its old name, or none.',
    source: 'https://github.com/etcd-io/etcd/pull/22314',
    scenario: 'cluster',
    checkers: ['log-recovery', 'group-log', 'epochs', 'linearizability', 'same-state', 'uncaught'],
  },
  {
    id: 'dirty-pages-of-failed-move-forgotten',
    story:
      'A migration that failed has cleared the marks of dirty pages, and the next one sends only what was written since.',
    source: 'https://github.com/oxidecomputer/propolis/issues/387',
    scenario: 'migration',
    checkers: ['guest-writes', 'verification', 'ledger'],
  },
  {
    id: 'dirty-pages-before-pause-only',
    story:
      'The last look for dirty pages comes before the guest is stopped: what it writes in between is not sent.',
    source: 'https://github.com/oxidecomputer/propolis/issues/233',
    scenario: 'migration',
    checkers: ['guest-writes', 'verification', 'ledger'],
  },
  {
    id: 'read-from-follower',
    story:
      'A follower answers reads by what it has applied itself, however far it is behind, and asks no leader.',
    source: 'https://github.com/etcd-io/etcd/issues/20418',
    scenario: 'raft',
    checkers: ['linearizability'],
  },
  {
    id: 'two-votes-in-a-term',
    story:
      'A replica votes for every candidate of a term whose log will do, not only for the first one that asked.',
    source: 'https://github.com/camunda/camunda/issues/5356',
    scenario: 'raft',
    checkers: ['votes', 'election-safety', 'uncaught'],
  },
  {
    id: 'owner-without-new-epoch',
    story:
      'A new owner takes over without a new epoch, so that nobody can tell it from the one before it.',
    source: 'https://github.com/pravega/pravega/issues/746',
    scenario: 'cluster',
    checkers: ['epochs', 'linearizability'],
  },
  {
    id: 'lease-ignores-drift',
    story:
      'A leader trusts its lease for as long as voters keep their promise, by its own clock: where that one is slow, or theirs are fast, another leads already.',
    source: 'https://github.com/tikv/tikv/pull/1127',
    scenario: 'raft',
    checkers: ['linearizability'],
  },
  {
    id: 'damaged-record-taken-as-end',
    story:
      'A record that fails its checksum is taken for what a crash left half-written, and the log ends there, with all that was acknowledged behind it.',
    source: 'https://github.com/cockroachdb/pebble/issues/453',
    scenario: 'cluster',
    checkers: ['log-recovery', 'group-log', 'epochs', 'linearizability', 'same-state', 'uncaught'],
  },
  {
    id: 'duplicate-lands-after-newer',
    story:
      'What was sent again after a lost connection lands once more, over newer content that came by another one.',
    source: 'https://github.com/ydb-platform/nbs/issues/7070',
    scenario: 'migration',
    checkers: ['guest-writes', 'verification', 'ledger'],
  },
  {
    id: 'source-resumes-when-link-is-lost',
    story:
      'The last word of the destination is lost with the connection, and the source runs the guest again: nobody told it that it runs elsewhere.',
    source: 'https://github.com/oxidecomputer/propolis/issues/252',
    scenario: 'migration',
    checkers: ['one-runner', 'ownership', 'guest-writes', 'progress'],
  },
];
