/**
 * One guest moves from host to host, and at every move an agent is killed or a connection cut, at a
 * named step. The same guest goes through all of it: an operation lost or doubled anywhere stays
 * visible to the end. `DWCP_KILLS_SEED` replays a run, `DWCP_KILLS` says how many moves it has.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Draw } from './faults/draw.ts';
import { FaultyMoves } from './faults/faulty-moves.ts';
import { scenarios } from './faults/scenarios.ts';

const seed = Number(process.env['DWCP_KILLS_SEED'] ?? Date.now() % 1_000_000);
const count = Number(process.env['DWCP_KILLS'] ?? scenarios.length);
let moves: FaultyMoves;

before(async () => {
  moves = await FaultyMoves.start();
});

after(() => moves.stop());

test(`a guest outlives ${count} moves that fail, seed ${seed}`, {
  timeout: 1_200_000,
}, async (t) => {
  assert.ok(scenarios.length >= 50, 'every step has its turn');
  const order = new Draw(seed).shuffled(scenarios);
  for (let index = 0; index < count; index += 1) {
    const scenario = order[index % order.length];
    assert.ok(scenario !== undefined);
    const { victim, action, step, isClaimed } = scenario;
    const name = `${index}: ${action} at the ${victim} ${step}${isClaimed ? ', claimed' : ''}`;
    let passed = false;
    await t.test(name, async () => {
      await moves.fail(scenario, new Draw(seed * 1000 + index));
      passed = true;
    });
    // The next move would start from what this one left.
    if (!passed) break;
  }
});
