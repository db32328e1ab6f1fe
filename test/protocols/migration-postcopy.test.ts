/** Post-copy in the pure machines: who may run the guest, and when its source is not needed any more. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  FAULTS,
  type Fault,
  MigrationWorld,
  type WorldOptions,
} from '../../sim/hypervisor/migration-world.ts';
import type { SourceEffect } from '../../src/protocols/migration/source.ts';

function newWorld(options: Partial<WorldOptions> = {}): MigrationWorld {
  return new MigrationWorld({ verify: 'off', pageCount: 64, postcopy: true, ...options });
}

function heal(world: MigrationWorld): void {
  world.inject('quorum');
  for (let turn = 0; turn < 50; turn += 1) {
    while (world.advance(0));
    if (world.isSettled) break;
    world.revive();
    world.linkUp();
    while (world.advance(0));
    world.fireTimers();
  }
}

function check(world: MigrationWorld): void {
  const { violations } = world.guest;
  if (violations.length > 0) assert.fail(`${violations.join('; ')}:\n${world.trace.join('\n')}`);
}

/** How many steps a move has to fail at, and what came of each. */
function failAtEachStep(fault: Fault, judge: (world: MigrationWorld, story: string) => void): void {
  let count = 0;
  for (; ; count += 1) {
    const world = newWorld();
    for (let step = 0; step < count; step += 1) world.advance(0);
    if (world.settledBy !== null) break;
    world.inject(fault);
    heal(world);
    check(world);
    judge(world, world.trace.join('\n'));
  }
  assert.ok(count > 25, `a migration has steps to fail at, saw ${count}`);
}

describe('a guest that does not converge and may be moved by post-copy', () => {
  it('is moved by it, in this order: stopped, noted, committed, run, given the rest, released', () => {
    const world = newWorld();
    while (world.advance(0));
    check(world);
    assert.equal(world.settledBy, 'moved');
    assert.deepEqual(world.guest.copies, { source: 'killed', destination: 'running' });
    assert.deepEqual(world.source.ladderSteps.at(-1), 'post-copy');
    assert.ok(world.isSettled);
    const order = ['stores fence/m1', '-> fenced', 'stores arrival/m1', 'starts post-copy'];
    const rest = ['the devices arrive', 'the last page arrives', 'source releases'];
    const found = [...order, ...rest].map((what) => {
      return world.trace.findIndex((line) => line.includes(what));
    });
    assert.ok(!found.includes(-1), world.trace.join('\n'));
    assert.deepEqual(
      found,
      found.toSorted((a, b) => a - b),
    );
  });

  it('leaves nobody waiting for a comparison that cannot be, whatever was asked', () => {
    const world = newWorld({ verify: 'after' });
    while (world.advance(0));
    check(world);
    assert.equal(world.settledBy, 'moved');
    assert.equal(world.destination, null, 'its session is over as well');
  });

  it('is not, where nobody allowed it', () => {
    const stalled = { sentPages: 100, remainingBytes: 2 ** 40, elapsedUs: 1000, stopped: false };
    const world = newWorld({ postcopy: false, roundReport: () => stalled });
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_NOT_CONVERGING');
    assert.equal(world.guest.copies.source, 'running');
  });

  for (const fault of ['linkDown', 'cancel', 'noQuorum', 'timer'] as const) {
    it(`runs in exactly one place, whole, after ${fault} at any step`, () =>
      failAtEachStep(fault, (world, story) => {
        assert.ok(world.isSettled, story);
        assert.equal(world.guest.runningCount, 1, story);
        const owner = world.guest.copies.source === 'running' ? 'a' : 'b';
        assert.equal(world.log.settled?.owner, owner, story);
        assert.ok(owner === 'a' || world.stream.isWhole, story);
      }));
  }

  for (const fault of ['crashSource', 'crashDestination'] as const) {
    it(`never runs twice, and its only memory is kept, after ${fault} at any step`, () =>
      failAtEachStep(fault, (world, story) => {
        // Only where both agents had committed and not all of it was there may it be left in two halves.
        const isHalved = world.log.settled?.owner === 'b' && !world.stream.isWhole;
        if (isHalved) return assert.equal(world.guest.copies.source, 'stopped', story);
        assert.ok(world.isSettled, story);
        assert.equal(world.guest.runningCount, 1, story);
      }));
  }

  it('never runs twice under any interleaving of faults and of operators', () => {
    const fault = fc.constantFrom<Fault>(...FAULTS, 'claim', 'claimElsewhere');
    const step = fc.oneof({ weight: 14, arbitrary: fc.nat(7) }, { weight: 2, arbitrary: fault });
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (script) => {
        const world = newWorld();
        for (const one of script) {
          if (typeof one === 'number') world.advance(one);
          else world.inject(one);
          check(world);
        }
        heal(world);
        check(world);
      }),
      { numRuns: 10_000 },
    );
  });
});

describe('what would break post-copy is caught', () => {
  const caught = (tamper: NonNullable<WorldOptions['tamper']>, violation: RegExp): void => {
    const world = newWorld({ tamper });
    while (world.advance(0));
    assert.match(world.guest.violations.join('; '), violation);
  };

  it('a source that starts it before the commit', () => {
    caught((effect): readonly SourceEffect[] => {
      return effect.type === 'stopForPostcopy' ? [effect, { type: 'postcopy' }] : [effect];
    }, /it ran before the commit/);
  });

  it('a source that is released before the last page', () => {
    caught((effect, world): readonly SourceEffect[] => {
      const isEarly = effect.type === 'decided' && world.source.phase === 'switching';
      return isEarly ? [effect, { type: 'release' }] : [effect];
    }, /the source was killed and the guest never ran elsewhere|pages were thrown away/);
  });
});
