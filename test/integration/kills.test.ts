/**
 * One guest of each kind moves from host to host, and at every move an agent is killed or a connection
 * cut, at a named step. The same guest goes through all of it: an operation lost or doubled anywhere
 * stays visible to the end. `DWCP_KILLS_SEED` replays a run, `DWCP_KILLS` says how many moves it has.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Arm, memoryArm, qemuArm } from './faults/arms.ts';
import { Draw } from './faults/draw.ts';
import { FaultyMoves } from './faults/faulty-moves.ts';
import { memoryScenarios, qemuScenarios, type Scenario } from './faults/scenarios.ts';

const seed = Number(process.env['DWCP_KILLS_SEED'] ?? Date.now() % 1_000_000);

function outlives(make: () => Arm, scenarios: readonly Scenario[]): void {
  const count = Number(process.env['DWCP_KILLS'] ?? scenarios.length);
  const arm = make();
  const name = `a ${arm.kind} guest outlives ${count} moves that fail, seed ${seed}`;
  test(name, { timeout: 1_200_000 }, async (t) => {
    const order = new Draw(seed).shuffled(scenarios);
    const moves = await FaultyMoves.start(arm);
    try {
      for (let index = 0; index < count; index += 1) {
        const scenario = order[index % order.length];
        assert.ok(scenario !== undefined);
        let passed = false;
        await t.test(`${index}: ${nameOf(scenario)}`, async () => {
          await moves.fail(scenario, new Draw(seed * 1000 + index));
          passed = true;
        });
        // The next move would start from what this one left.
        if (!passed) break;
      }
    } finally {
      await moves.stop();
    }
  });
}

function nameOf({ action, victim, step, isClaimed }: Scenario): string {
  return `${action} at the ${victim} ${step}${isClaimed ? ', claimed' : ''}`;
}

test('every step has its turn', () => assert.ok(memoryScenarios.length >= 50));

outlives(memoryArm, memoryScenarios);
outlives(qemuArm, qemuScenarios);
