import assert from 'node:assert/strict';
import { test } from 'node:test';
// First, as in `dwcp/sim`: what loads after it gets the patched modules.
import { TripwireError, withTripwires } from '../../sim/tripwires.ts';
import { simulate } from '../../sim/world/simulate.ts';
import * as user from './user-code.ts';

const reaches: readonly [string, () => unknown][] = [
  ['Date.now', user.savedNow],
  ['Date.now', user.askDate],
  ['new Date()', user.makeDate],
  ['Date()', user.callDate],
  ['performance.now', user.askPerformance],
  ['process.hrtime', user.askHrtime],
  ['process.hrtime', user.askBigHrtime],
  ['Math.random', user.throwDice],
  ['setTimeout', user.armTimer],
  ['setImmediate', user.armImmediate],
  ['queueMicrotask', user.armMicrotask],
  ['process.nextTick', user.armTick],
  ['node:timers.setTimeout', user.armModuleTimer],
  ['node:timers/promises.setTimeout', user.armPromisedTimer],
  ['node:fs.readFileSync', user.readNamedImport],
  ['node:fs/promises.readFile', user.readPromised],
  ['node:net.connect', user.connectNamedImport],
  ['node:crypto.randomBytes', user.drawBytes],
  ['crypto.randomUUID', user.drawUuid],
  ['crypto.getRandomValues', user.drawValues],
  ['node:child_process.spawn', user.startProcess],
  ['WeakRef', user.makeWeakRef],
];

for (const [index, [what, reach]] of reaches.entries()) {
  test(`${what} throws while the world steps, naming the caller (${index})`, () => {
    assert.throws(
      () => withTripwires(reach),
      (error: TripwireError) => {
        assert.ok(error instanceof TripwireError, String(error));
        assert.equal(error.what, what);
        assert.match(error.caller, /user-code\.[tj]s:\d+:\d+/);
        assert.ok(error.message.includes(error.caller));
        return true;
      },
    );
  });
}

test('outside of a step everything works as ever', () => {
  assert.ok(user.savedNow() > 1_600_000_000_000);
  assert.ok(user.makeDate() instanceof Date);
  assert.equal(typeof user.askBigHrtime(), 'bigint');
  assert.equal(typeof user.throwDice(), 'number');
  assert.ok(String(user.readNamedImport()).includes('savedNow'));
});

test('arithmetic on given dates stays legal', () => {
  const text = withTripwires(() => new Date(86_400_000).toISOString());
  assert.equal(text, '1970-01-02T00:00:00.000Z');
});

test('a behaviour that asks the time is a violation of the run, and one that is async too', () => {
  const run = (behavior: () => unknown) =>
    simulate(
      {
        name: 'reaching-out',
        hosts: 1,
        boot: (host) => {
          const ref = host.spawn<unknown, string>({
            ...{ name: 'actor', mailboxLimit: 1, initialState: () => null, behavior },
          });
          ref.tell('go');
        },
      },
      { seed: 1, timing: { chaosUs: 1_000 } },
    );
  const asked = run(user.askDate).violation;
  assert.equal(asked?.checker, 'assertion');
  assert.match(asked.message, /Date\.now in a simulation, called at .*user-code/);
  const waited = run(user.beAsync).violation;
  assert.match(waited?.message ?? '', /returned a promise; it must be synchronous/);
});
