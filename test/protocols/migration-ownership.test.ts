import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Fault, MigrationWorld } from '../../sim/hypervisor/migration-world.ts';
import type { SourceEffect } from '../../src/protocols/migration/source.ts';
import type { VerifyMode } from '../../src/protocols/migration/types.ts';

const PAGES = 20_000;

/** Reconnects and lets everything that is pending happen; the migration must have settled then. */
function heal(world: MigrationWorld): void {
  for (let turn = 0; turn < 50; turn += 1) {
    while (world.advance(0));
    if (world.source.phase === 'finished') break;
    world.linkUp(true);
    while (world.advance(0));
    world.fireTimers();
  }
}

function check(world: MigrationWorld): void {
  const story = world.trace.join('\n');
  assert.deepEqual(world.guest.violations, [], story);
}

function checkSettled(world: MigrationWorld): void {
  check(world);
  const story = world.trace.join('\n');
  assert.notEqual(world.settledBy, null, `nothing settled:\n${story}`);
  if (!world.wasClaimed) assert.equal(world.guest.runningCount, 1, `not one runs:\n${story}`);
}

function run(verify: VerifyMode, steps: readonly (number | Fault)[]): MigrationWorld {
  const world = new MigrationWorld({ verify, pageCount: PAGES });
  for (const step of steps) {
    if (typeof step === 'number') world.advance(step);
    else world.inject(step);
    check(world);
  }
  return world;
}

describe('ownership of a moving guest', () => {
  for (const verify of ['after', 'strict', 'off'] as const) {
    it(`moves to the destination when nothing fails, verify ${verify}`, () => {
      const world = run(verify, []);
      while (world.advance(0));
      checkSettled(world);
      assert.equal(world.settledBy, 'moved');
      assert.deepEqual(world.guest.copies, { source: 'killed', destination: 'running' });
      assert.equal(world.records.source.size, 0, 'the fence is forgotten');
      assert.deepEqual([...world.records.destination.keys()], ['guest/vm']);
      if (verify !== 'off') assert.equal(world.source.comparedPages, PAGES);
    });

    for (const fault of ['linkDown', 'crashSource', 'crashDestination', 'cancel'] as const) {
      it(`runs in exactly one place after ${fault} at any step, verify ${verify}`, () => {
        let steps = 0;
        for (; ; steps += 1) {
          const world = run(
            verify,
            Array.from({ length: steps }, () => 0),
          );
          if (world.settledBy !== null) break;
          world.inject(fault);
          heal(world);
          checkSettled(world);
        }
        assert.ok(steps > 15, `a migration has steps to fail at, saw ${steps}`);
      });
    }
  }

  it('runs in at most one place under any interleaving of faults, and in one when all heals', () => {
    const step = fc.oneof(
      { weight: 12, arbitrary: fc.nat(5) },
      {
        weight: 2,
        arbitrary: fc.constantFrom<Fault>(
          'linkDown',
          'crashSource',
          'crashDestination',
          'cancel',
          'timer',
        ),
      },
    );
    fc.assert(
      fc.property(
        fc.constantFrom<VerifyMode>('after', 'strict', 'off'),
        fc.array(step, { maxLength: 80 }),
        (verify, steps) => {
          const world = run(verify, steps);
          heal(world);
          checkSettled(world);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('stays stopped at the source for as long as no decision comes back', () => {
    const world = run('after', []);
    while (!world.fencedWasSent) assert.ok(world.advance(0), 'the migration gets to its fence');
    world.linkDown();
    for (let hour = 0; hour < 20; hour += 1) {
      while (world.advance(0));
      world.fireTimers();
      assert.equal(world.guest.copies.source, 'stopped', 'no time-out resumes a fenced guest');
    }
    assert.equal(world.source.phase, 'outcomeUnknown');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
    assert.match(world.source.failure?.hint ?? '', /dwcp vm claim vm --host-is-fenced/);
    world.inject('cancel');
    assert.equal(world.source.phase, 'outcomeUnknown', 'nor does a cancel');
    world.inject('claim');
    while (world.advance(0));
    assert.equal(world.guest.copies.source, 'running', 'the operator does');
    assert.ok(world.records.source.has('claim/m1'), 'and the claim is on record');
  });

  it('catches a source that resumes by time-out', () => {
    const plant = (effect: SourceEffect): readonly SourceEffect[] => {
      const isFenced = effect.type === 'send' && effect.message.type === 'fenced';
      return isFenced ? [effect, { type: 'unfence' }] : [effect];
    };
    assert.throws(
      () => {
        fc.assert(
          fc.property(fc.array(fc.nat(5), { minLength: 60, maxLength: 120 }), (choices) => {
            const world = new MigrationWorld({ verify: 'off', pageCount: PAGES, tamper: plant });
            for (const choice of choices) world.advance(choice);
            check(world);
          }),
          { numRuns: 500, seed: 1 },
        );
      },
      (error: Error) => /the guest runs on both hosts/.test(`${error.message} ${error.cause}`),
    );
  });

  it('catches a source that sends fenced before its record is durable', () => {
    const plant = (effect: SourceEffect): readonly SourceEffect[] => {
      if (effect.type !== 'persist' || effect.token !== 'fence') return [effect];
      return [{ type: 'send', after: 'fence', message: { type: 'fenced', epoch: 2 } }, effect];
    };
    const world = new MigrationWorld({ verify: 'off', pageCount: PAGES, tamper: plant });
    while (world.advance(0));
    assert.match(world.guest.violations.join(), /fenced overtook its record/);
  });
});
