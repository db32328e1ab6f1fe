/** `dwcp/raft` as design section 12 fixes it, so that others' suites can be run against it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as raft from 'dwcp/raft';

type ReplicaId = number;
interface Configuration {
  readonly voters: ReadonlySet<ReplicaId>;
  readonly votersOutgoing: ReadonlySet<ReplicaId>;
  readonly learners: ReadonlySet<ReplicaId>;
  readonly learnersNext: ReadonlySet<ReplicaId>;
  readonly autoLeave: boolean;
}
interface Change {
  op: 'addVoter' | 'addLearner' | 'remove' | 'update';
  id: ReplicaId;
}

/** Equal in both directions, or this file does not compile. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
const signatures: readonly true[] = [
  true satisfies Same<raft.ReplicaId, ReplicaId>,
  true satisfies Same<raft.Configuration, Configuration>,
  true satisfies Same<
    typeof raft.committedIndex,
    (c: Configuration, acked: ReadonlyMap<ReplicaId, number>) => number
  >,
  true satisfies Same<
    typeof raft.voteResult,
    (c: Configuration, votes: ReadonlyMap<ReplicaId, boolean>) => 'won' | 'lost' | 'pending'
  >,
  true satisfies Same<
    typeof raft.describe,
    (c: Configuration, acked: ReadonlyMap<ReplicaId, number>) => string
  >,
];

const change: (
  c: Configuration,
  mode: 'simple' | 'enterJoint' | 'leaveJoint',
  changes: Change[],
  options: { autoLeave: boolean },
) => { ok: true; configuration: Configuration } | { ok: false; code: string } =
  raft.changeConfiguration;

test('the fixed exports are there with their signatures, through the name of the package', () => {
  assert.ok(signatures.every((same) => same));
  const three = { ...raft.EMPTY_CONFIGURATION, voters: new Set([1, 2, 3]) };
  assert.equal(
    raft.committedIndex(
      three,
      new Map([
        [1, 5],
        [2, 3],
      ]),
    ),
    3,
  );
  assert.equal(
    raft.voteResult(
      three,
      new Map([
        [1, true],
        [2, true],
      ]),
    ),
    'won',
  );
  assert.match(raft.describe(three, new Map([[1, 5]])), /\(id=1\)/);
  assert.deepEqual(change(three, 'leaveJoint', [], { autoLeave: false }), {
    ok: false,
    code: 'notJoint',
  });
});

test('a raft is a step and a status', () => {
  const one = raft.createRaft({
    id: 1,
    restored: raft.founder([1]),
    random: { below: () => 0 },
  });
  assert.deepEqual(Object.keys(one).sort(), ['status', 'step']);
  const effects = one.step({ type: 'start', nowUs: 0 });
  assert.deepEqual(effects, [{ type: 'setTimer', id: 'election', atUs: 150_000 }]);
  assert.equal(one.status().role, 'follower');
});
