/** The same storms over records that a disk keeps whole, and over the shipped log byte by byte. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { calmNetwork } from '../../sim/world/fault-plan.ts';
import {
  answer,
  answered,
  type LogKind,
  type Proposed,
  ReplicaWorld,
  SECOND_US,
} from './replica-world.ts';

const STORM = {
  ...calmNetwork,
  ...{ lossPermyriad: 1_000, duplicatePermyriad: 1_000, reorderPermyriad: 2_000 },
  reorderMaxUs: 40_000,
};

const LOGS: readonly LogKind[] = ['memory', 'durable'];

for (const log of LOGS)
  describe(`a replica on a ${log} log`, () => {
    it('gets every command through storms and leaders that die, once', () => {
      for (let seed = 1; seed <= 4; seed += 1) stormy(log, seed);
    });

    it('comes back with what was applied', () => {
      const limits = { snapshotEveryEntries: 20, keptTailEntries: 5 };
      const world = new ReplicaWorld(3, { limits, log });
      const proposed = Array.from({ length: 50 }, (_, at) => world.propose('host-0', `c${at}`));
      world.await('the answers', () => answered(proposed));
      world.run(SECOND_US);
      for (const name of world.names) world.crash(name);
      for (const name of world.names) world.restart(name);
      const last = world.propose('host-1', 'after');
      world.await('the answer', () => answered([last]));
      assert.equal(answer(last), '51 after');
      world.run(SECOND_US);
      world.assertSame();
      world.end();
    });

    it('that was away for long gets a snapshot, and its own proposals are answered', () => {
      const limits = { snapshotEveryEntries: 20, keptTailEntries: 0, snapshotChunkBytes: 64 };
      const world = new ReplicaWorld(3, { limits, log });
      const leader = world.leader();
      const away = world.follower();
      const before = world.propose(away, 'before');
      world.await('the answer', () => answered([before]));
      const index = world.names.indexOf(away);
      const cutOff = world.propose(away, 'while cut off');
      world.run(300);
      world.world.network.cut([index], false, 1);
      const others = Array.from({ length: 100 }, (_, at) => world.propose(leader, `c${at}`));
      world.await('the answers', () => answered(others));
      world.run(2 * SECOND_US);
      world.world.network.cut([index], false, -1);
      world.await('the answer', () => answered([cutOff]));
      answer(cutOff);
      world.run(SECOND_US);
      world.assertSame();
      assert.equal(world.life(away).application.commands.length, 102);
      world.end();
    });
  });

function stormy(log: LogKind, seed: number): void {
  const limits = { snapshotEveryEntries: 40, keptTailEntries: 10 };
  const world = new ReplicaWorld(3, { limits, seed, log });
  world.world.network.plan = STORM;
  const proposed: Proposed[] = [];
  for (let round = 0; round < 6; round += 1) {
    const leader = world.leader();
    for (const name of world.names) {
      for (let at = 0; at < 15; at += 1) {
        proposed.push(world.propose(name, `${name} ${round}/${at}`));
      }
    }
    world.run(30_000 * (round % 3));
    world.crash(leader);
    world.run(SECOND_US);
    world.restart(leader);
  }
  world.world.network.plan = calmNetwork;
  world.await('all that still can be are answered', () =>
    proposed.every(({ outcome, isLost }) => outcome !== null || isLost()),
  );
  world.run(3 * SECOND_US);
  world.assertSame();
  const [list] = [...world.lives.values()].map(({ application }) => application.commands);
  for (const one of proposed.filter(({ outcome }) => outcome?.ok === true)) {
    assert.ok(list?.includes(one.text), `${one.text} was answered, so it is there`);
  }
  assert.ok(proposed.filter(({ outcome }) => outcome?.ok).length > 100, 'most are answered');
  world.end();
}
