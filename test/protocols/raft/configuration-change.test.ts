import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  EMPTY_CONFIGURATION,
  membersOf,
  votersOnly,
} from '../../../src/protocols/raft/configuration.ts';
import {
  type ChangeResult,
  changeConfiguration,
} from '../../../src/protocols/raft/configuration-change.ts';
import type {
  Configuration,
  ConfigurationChange,
  ConfigurationMode,
} from '../../../src/protocols/raft/types.ts';

const someChange: fc.Arbitrary<ConfigurationChange> = fc.record({
  op: fc.constantFrom('addVoter', 'addLearner', 'remove', 'update'),
  id: fc.integer({ min: 0, max: 5 }),
});
const someStep = fc.record({
  mode: fc.constantFrom<ConfigurationMode>('simple', 'simple', 'enterJoint', 'leaveJoint'),
  changes: fc.array(someChange, { maxLength: 3 }),
  autoLeave: fc.boolean(),
});

const plain = (ids: ReadonlySet<number>): string => [...ids].join(' ');
const shown = (c: Configuration): string =>
  `${plain(c.voters)} / ${plain(c.votersOutgoing)} / ${plain(c.learners)} / ${plain(c.learnersNext)}`;

/** The dumb twin: one word per replica for what it is in the new half, one for the old half. */
interface Twin {
  readonly now: Map<number, 'voter' | 'learner'>;
  readonly old: Set<number>;
  autoLeave: boolean;
}

function twinStep(
  twin: Twin,
  mode: ConfigurationMode,
  changes: readonly ConfigurationChange[],
  autoLeave: boolean,
): Twin | null {
  const votersOf = (t: Twin) => [...t.now].filter(([, as]) => as === 'voter').map(([id]) => id);
  const next: Twin = { now: new Map(twin.now), old: new Set(twin.old), autoLeave: false };
  if (mode === 'leaveJoint') {
    if (twin.old.size === 0 || changes.length > 0) return null;
    next.old.clear();
    return next;
  }
  if (twin.old.size > 0) return null;
  const before = votersOf(twin);
  for (const { op, id } of changes) {
    if (id === 0) continue;
    if (op === 'addVoter') next.now.set(id, 'voter');
    if (op === 'addLearner') next.now.set(id, 'learner');
    if (op === 'remove') next.now.delete(id);
  }
  const after = votersOf(next);
  if (after.length === 0) return null;
  if (mode === 'enterJoint') {
    if (before.length === 0) return null;
    for (const id of before) next.old.add(id);
    next.autoLeave = autoLeave;
    return next;
  }
  const moved = new Set(
    [...before, ...after].filter((id) => before.includes(id) !== after.includes(id)),
  );
  return moved.size > 1 ? null : next;
}

function shownTwin(twin: Twin): string {
  const sorted = (ids: Iterable<number>) => new Set([...ids].sort((a, b) => a - b));
  const as = (what: string) => [...twin.now].filter(([, is]) => is === what).map(([id]) => id);
  return shown({
    voters: sorted(as('voter')),
    votersOutgoing: sorted(twin.old),
    learners: sorted(as('learner').filter((id) => !twin.old.has(id))),
    learnersNext: sorted(as('learner').filter((id) => twin.old.has(id))),
    autoLeave: twin.autoLeave,
  });
}

function majorities(ids: ReadonlySet<number>): number[][] {
  const all = [...ids];
  const groups: number[][] = [];
  for (let mask = 0; mask < 1 << all.length; mask += 1) {
    const group = all.filter((_, at) => (mask >> at) % 2 === 1);
    if (group.length * 2 > all.length) groups.push(group);
  }
  return groups;
}

/** Whether two groups could decide at once without a common member, joint ones by both halves. */
function mayDisagree(a: Configuration, b: Configuration): boolean {
  const quorums = (c: Configuration): number[][] =>
    c.votersOutgoing.size === 0
      ? majorities(c.voters)
      : majorities(c.voters).flatMap((x) => majorities(c.votersOutgoing).map((y) => [...x, ...y]));
  return quorums(a).some((x) => quorums(b).some((y) => !x.some((id) => y.includes(id))));
}

test('every chain of changes gives what the dumb twin gives, and refuses what it refuses', () => {
  fc.assert(
    fc.property(fc.array(someStep, { maxLength: 12 }), (steps) => {
      let configuration = EMPTY_CONFIGURATION;
      let twin: Twin = { now: new Map(), old: new Set(), autoLeave: false };
      for (const { mode, changes, autoLeave } of steps) {
        const result = changeConfiguration(configuration, mode, changes, { autoLeave });
        const expected = twinStep(twin, mode, changes, autoLeave);
        assert.equal(result.ok, expected !== null, `${mode} from ${shown(configuration)}`);
        if (!result.ok || expected === null) continue;
        assert.equal(shown(result.configuration), shownTwin(expected));
        assert.equal(result.configuration.autoLeave, expected.autoLeave);
        configuration = result.configuration;
        twin = expected;
      }
    }),
    { numRuns: 400 },
  );
});

test('two configurations that follow each other can never decide apart', () => {
  fc.assert(
    fc.property(fc.array(someStep, { maxLength: 8 }), (steps) => {
      let configuration = votersOnly([1, 2, 3]);
      for (const { mode, changes, autoLeave } of steps) {
        const result = changeConfiguration(configuration, mode, changes, { autoLeave });
        if (!result.ok) continue;
        assert.ok(!mayDisagree(configuration, result.configuration), shown(result.configuration));
        configuration = result.configuration;
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(mayDisagree(votersOnly([1, 2, 3]), votersOnly([1, 4, 5])), 'the check can fail');
});

test('each refusal has its code', () => {
  const three = votersOnly([1, 2, 3]);
  const enter = changeConfiguration(three, 'enterJoint', [], { autoLeave: true });
  assert.ok(enter.ok);
  const code = (
    c: Configuration,
    mode: ConfigurationMode,
    ...changes: ConfigurationChange[]
  ): string => {
    const result: ChangeResult = changeConfiguration(c, mode, changes, { autoLeave: false });
    return result.ok ? 'ok' : result.code;
  };
  const remove = (id: number): ConfigurationChange => ({ op: 'remove', id });
  assert.equal(code(three, 'leaveJoint'), 'notJoint');
  assert.equal(code(enter.configuration, 'simple', remove(1)), 'alreadyJoint');
  assert.equal(code(enter.configuration, 'enterJoint', remove(1)), 'alreadyJoint');
  assert.equal(code(enter.configuration, 'leaveJoint', remove(1)), 'changesOnLeave');
  assert.equal(code(EMPTY_CONFIGURATION, 'enterJoint'), 'noVoters');
  assert.equal(code(votersOnly([1]), 'simple', remove(1)), 'noVoters');
  assert.equal(code(three, 'enterJoint', remove(1), remove(2), remove(3)), 'noVoters');
  assert.equal(code(three, 'simple', remove(1), remove(2)), 'notSimple');
  assert.equal(code(three, 'simple', remove(1.5)), 'badId');
  assert.equal(code(three, 'simple', remove(0)), 'ok');
});

test('a demoted voter votes in the old half until the joint configuration is left', () => {
  const entered = changeConfiguration(
    votersOnly([1, 2, 3]),
    'enterJoint',
    [{ op: 'addLearner', id: 3 }],
    { autoLeave: true },
  );
  assert.ok(entered.ok);
  assert.equal(shown(entered.configuration), '1 2 / 1 2 3 /  / 3');
  assert.ok(entered.configuration.autoLeave);
  assert.deepEqual(membersOf(entered.configuration), [1, 2, 3]);
  const left = changeConfiguration(entered.configuration, 'leaveJoint', [], { autoLeave: true });
  assert.ok(left.ok);
  assert.equal(shown(left.configuration), '1 2 /  / 3 / ');
  assert.ok(!left.configuration.autoLeave);
});
