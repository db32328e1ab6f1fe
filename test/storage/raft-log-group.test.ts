/** Three replicas, their logs byte by byte, and what power loss and a flipped bit do to the group. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Group } from './log-group.ts';

function propose(group: Group, count: number): void {
  for (let at = 0; at < count; at += 1)
    group.leader?.propose(`c${group.nextRequest()}`.repeat(300));
}

test('power lost under all replicas in the middle of a batch: nothing acknowledged is lost, all go on', () => {
  let damaged = 0;
  let unanimous = 0;
  let acknowledged = 0;
  for (let seed = 1; seed <= 120; seed += 1) {
    const group = new Group(seed);
    group.assertProgress();
    for (let round = 0; round < 3; round += 1) {
      propose(group, 1 + (seed % 4));
      group.run(1_000 + ((seed * 3 + round) % 30) * 200);
      group.blackout();
      group.run(50_000);
      damaged += group.members.filter((m) => m.opened?.restored.damagedIndex !== null).length;
      assert.deepEqual(
        group.members.map(({ refused }) => refused),
        [null, null, null],
      );
      group.assertProgress();
    }
    ({ unanimous, acknowledged } = {
      unanimous: unanimous + group.unanimous,
      acknowledged: acknowledged + group.acknowledged,
    });
  }
  assert.ok(damaged > 20, `${damaged} damaged ends`);
  assert.ok(unanimous > 5, `${unanimous} unanimous campaigns`);
  assert.ok(acknowledged > 100, `${acknowledged} acknowledged`);
});

test('a bit flipped in the last synced record of one of three loses nothing', () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 45; seed += 1) {
    const group = new Group(seed);
    group.assertProgress();
    propose(group, 3);
    group.run(seed % 3 === 0 ? 6_000 : 200_000);
    const known = [...group.history];
    const victim = group.world.hosts[seed % 3];
    assert.ok(victim);
    group.blackout(() => {
      const files = Object.entries(victim.disk.durableState());
      const segment = files.filter(([name]) => name.endsWith('.log')).at(-1);
      assert.ok(segment);
      const [name, bytes] = segment;
      let last = bytes.length - 1;
      while (last > 0 && bytes[last] === 0) last -= 1;
      victim.disk.flip(name, last - (seed % 60), 1 << (seed % 8));
    });
    group.run(50_000);
    const member = group.members[seed % 3];
    assert.ok(member);
    outcomes.add(
      member.refused !== null
        ? 'refused'
        : member.opened?.restored.damagedIndex === null
          ? 'whole'
          : 'damaged',
    );
    group.assertProgress();
    // Everything that anybody applied before is applied by all that run, in its place.
    for (const { applied, raft } of group.members) {
      if (raft === null) continue;
      for (const [index, what] of known.entries()) {
        if (index > 0) assert.equal(applied[index], what, `seed ${seed}, entry ${index}`);
      }
    }
  }
  assert.ok(outcomes.has('damaged'), [...outcomes].join(' '));
});
