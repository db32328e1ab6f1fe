/** A part of `npm run soak`, and proof that what judges it can say no. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cellsOf, FAULTS, GUESTS, VICTIMS } from '../soak/cells.ts';
import { type SoakReport, soak } from '../soak/soak.ts';
import { stepsOf } from '../soak/steps.ts';

/** Beyond every time-out of a source that stands fenced. */
const LONG_CUT_MS = 11_500;
const everything = { guests: GUESTS, victims: VICTIMS, faults: FAULTS, step: null };

test('a source that is cut off with a fenced guest does not wake it, however long that lasts', async () => {
  const step = stepsOf('memory').find((each) => each.step === 'before put arrival');
  assert.ok(step !== undefined, 'the destination keeps what arrived before it settles it');
  const cells = cellsOf({
    guests: ['memory'],
    victims: ['source'],
    faults: ['cutQuorum'],
    step: `${step.side} ${step.step}`,
  });
  assert.equal(cells.length, 1);
  assertGood(
    await soak({ cells, runs: 1, holdsMs: [LONG_CUT_MS], seed: 1, seconds: null, onRun: () => {} }),
  );
});

for (const guest of GUESTS) {
  test(`a ${guest} guest runs in one place through faults at any step`, async (t) => {
    const seed = Number(process.env['DWCP_SOAK_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`seed ${seed}`);
    const cells = cellsOf({ ...everything, guests: [guest] });
    const report = await soak({
      ...{ cells, runs: 1, holdsMs: [300, 1500], seed },
      seconds: 15,
      onRun: ({ cell, outcome, why }) => t.diagnostic(`${outcome} ${cell}: ${why}`),
    });
    assertGood(report);
    assert.ok(report.done >= 3, `only ${report.done} runs in 15 s`);
    assert.ok(report.beats > 100, 'the guest was heard');
  });
}

function assertGood(report: SoakReport): void {
  assert.deepEqual(report.bad, []);
  assert.equal(report.outcomes.ok, report.done);
}
