import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  FAULTS,
  type Fault,
  MigrationWorld,
  type WorldOptions,
} from '../../sim/hypervisor/migration-world.ts';
import type { SourceEffect, SourceInput } from '../../src/protocols/migration/source.ts';
import type { VerifyMode } from '../../src/protocols/migration/types.ts';

const PAGES = 20_000;
const FENCED = { type: 'fenced', epoch: 2, postcopy: false } as const;

type Step = number | Fault;

/** Everybody is back, and everything that is pending happens: the migration must settle then. */
function heal(world: MigrationWorld): void {
  world.inject('quorum');
  for (let turn = 0; turn < 50; turn += 1) {
    while (world.advance(0));
    if (world.isSettled && !world.wasClaimed) break;
    world.revive();
    world.linkUp();
    while (world.advance(0));
    world.fireTimers();
  }
}

function check(world: MigrationWorld): void {
  if (world.guest.violations.length === 0) return;
  assert.fail(`${world.guest.violations.join('; ')}:\n${world.trace.join('\n')}`);
}

function checkSettled(world: MigrationWorld): void {
  check(world);
  const story = world.trace.join('\n');
  assert.notEqual(world.settledBy, null, `the source never settled:\n${story}`);
  if (world.wasClaimed || world.guest.runsElsewhere) return;
  assert.ok(world.isSettled, `a record or a prepared migration is left:\n${story}`);
  assert.equal(world.guest.runningCount, 1, `not one runs:\n${story}`);
  const owner = world.guest.copies.source === 'running' ? 'a' : 'b';
  assert.equal(world.log.settled?.owner, owner, `it runs where the log says:\n${story}`);
}

function run(
  verify: VerifyMode,
  steps: readonly Step[],
  plant: Partial<WorldOptions> = {},
): MigrationWorld {
  const world = new MigrationWorld({ verify, pageCount: PAGES, ...plant });
  for (const step of steps) {
    if (typeof step === 'number') world.advance(step);
    else world.inject(step);
    check(world);
  }
  return world;
}

const steps = (...more: readonly Fault[]): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.oneof(
      { weight: 14, arbitrary: fc.nat(7) },
      { weight: 2, arbitrary: fc.constantFrom<Fault>(...FAULTS, ...more) },
    ),
    { minLength: 20, maxLength: 120 },
  );

const verifyModes = fc.constantFrom<VerifyMode>('after', 'strict', 'off');

describe('ownership of a moving guest', () => {
  for (const verify of ['after', 'strict', 'off'] as const) {
    it(`moves to the destination when nothing fails, verify ${verify}`, () => {
      const world = run(verify, []);
      while (world.advance(0));
      checkSettled(world);
      assert.equal(world.settledBy, 'moved');
      assert.deepEqual(world.guest.copies, { source: 'killed', destination: 'running' });
      assert.deepEqual(world.log.settled?.epoch, 2);
      assert.equal(world.records.source.size, 0, 'the fence is forgotten');
      assert.deepEqual([...world.records.destination.keys()], ['guest/vm']);
      if (verify !== 'off') assert.equal(world.source.comparedPages, PAGES);
    });

    for (const fault of [
      'linkDown',
      'crashSource',
      'crashDestination',
      'cancel',
      'noQuorum',
    ] as const) {
      it(`runs in exactly one place after ${fault} at any step, verify ${verify}`, () => {
        let count = 0;
        for (; ; count += 1) {
          const world = run(
            verify,
            Array.from({ length: count }, () => 0),
          );
          if (world.settledBy !== null) break;
          world.inject(fault);
          heal(world);
          checkSettled(world);
        }
        assert.ok(count > 25, `a migration has steps to fail at, saw ${count}`);
      });
    }
  }

  it('runs in at most one place under any interleaving of faults, and in one when all heals', () => {
    fc.assert(
      fc.property(verifyModes, steps(), (verify, script) => {
        const world = run(verify, script);
        heal(world);
        checkSettled(world);
      }),
      { numRuns: 10_000 },
    );
  });

  it('runs in at most one place when an operator claims it, here or for a third host', () => {
    fc.assert(
      fc.property(verifyModes, steps('claim', 'claimElsewhere'), (verify, script) => {
        const world = run(verify, script);
        heal(world);
        check(world);
      }),
      { numRuns: 10_000 },
    );
  });

  it('refuses to move without a majority, and leaves nothing behind when there is one again', () => {
    const world = run('after', ['noQuorum']);
    while (world.advance(0));
    world.fireTimers();
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_NO_QUORUM');
    assert.equal(world.guest.copies.source, 'running');
    assert.equal(world.guest.copies.destination, 'absent', 'not a byte moved');
    heal(world);
    checkSettled(world);
    assert.equal(world.guest.copies.source, 'running');
  });

  it('stays stopped at the source for as long as the group has no majority', () => {
    const world = run('after', []);
    while (!world.fencedWasSent) assert.ok(world.advance(0), 'the migration gets to its fence');
    world.inject('noQuorum');
    world.linkDown();
    for (let hour = 0; hour < 20; hour += 1) {
      while (world.advance(0));
      world.fireTimers();
      assert.equal(world.guest.copies.source, 'stopped', 'no time-out resumes a fenced guest');
    }
    assert.equal(world.source.phase, 'outcomeUnknown');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
    assert.match(world.source.failure?.hint ?? '', /needs a majority/);
    world.inject('cancel');
    assert.equal(world.source.phase, 'outcomeUnknown', 'nor does a cancel');
    heal(world);
    checkSettled(world);
    assert.equal(world.guest.copies.source, 'running', 'the abort does, once it is applied');
  });

  it('keeps its frozen copy until the destination runs the guest, for an operator to claim', () => {
    const world = run('after', []);
    const commits = (): boolean => world.log.settled?.owner === 'b';
    while (!commits()) assert.ok(world.advance(0), 'the migration gets to its commit');
    world.inject('crashDestination');
    world.guest.set('destination', 'killed');
    for (let hour = 0; hour < 20; hour += 1) {
      while (world.advance(0));
      world.linkUp();
      world.fireTimers();
      assert.equal(world.guest.copies.source, 'stopped', 'the last copy');
    }
    assert.equal(world.source.phase, 'unconfirmed');
    assert.match(world.source.failure?.hint ?? '', /dwcp vm claim vm --host-is-fenced/);
    world.inject('claim');
    while (world.advance(0));
    assert.equal(world.guest.copies.source, 'running', 'the operator gets it back');
    assert.deepEqual(world.log.settled?.by, { type: 'claimed', operator: 'ada', from: 'b' });
  });
});

describe('a planted bug of ownership is caught', () => {
  function isCaught(plant: Partial<WorldOptions>, violation: RegExp): void {
    assert.throws(
      () => {
        fc.assert(
          fc.property(verifyModes, steps(), (verify, script) => {
            const world = run(verify, script, plant);
            heal(world);
            check(world);
          }),
          { numRuns: 3000, seed: 1, endOnFailure: true },
        );
      },
      (error: Error) => violation.test(`${error.message} ${error.cause}`),
    );
  }

  it('of a source that resumes by time-out', () => {
    const tamper = (effect: SourceEffect, world: MigrationWorld): readonly SourceEffect[] =>
      effect.type === 'propose' &&
      effect.token === 'abort' &&
      world.source.phase === 'outcomeUnknown'
        ? [effect, { type: 'unfence' }]
        : [effect];
    isCaught({ tamper }, /the guest runs on both hosts/);
  });

  it('of a destination that resumes before the commit is applied', () => {
    isCaught(
      {
        tamperDestination: (effect) =>
          effect.type === 'propose' && effect.token === 'commit'
            ? [effect, { type: 'resume' }]
            : [effect],
      },
      /the guest runs on both hosts/,
    );
  });

  it('of a source that takes an old state under an old epoch for the abort', () => {
    const tamperInput = (input: SourceInput): SourceInput => {
      if (input.type !== 'applied' || input.vm === null) return input;
      const { vm } = input;
      if (vm.owner !== 'a' || vm.migration !== null) return input;
      return { type: 'proposed', token: 'abort', outcome: { ok: true, value: { ok: true, vm } } };
    };
    isCaught({ tamperInput }, /the guest runs on both hosts/);
  });

  it('of a fence that is not durable', () => {
    const tamper = (effect: SourceEffect): readonly SourceEffect[] =>
      effect.type === 'persist' && effect.token === 'fence'
        ? [{ type: 'forget', token: 'fence', key: effect.key }]
        : [effect];
    isCaught({ tamper }, /fenced overtook its record|the guest runs on both hosts/);
  });

  it('of a source that sends fenced before its record is durable', () => {
    const tamper = (effect: SourceEffect): readonly SourceEffect[] => {
      if (effect.type !== 'persist' || effect.token !== 'fence') return [effect];
      return [{ type: 'send', after: 'fence', message: FENCED }, effect];
    };
    isCaught({ tamper }, /fenced overtook its record/);
  });
});
