/** What a seed of the depths with actors is, by default: how long, how much, how broken, and always the same. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type Fault, type Scenario, simulate } from '../../sim/index.ts';
import { clusterScenario } from '../../sim/scenarios/cluster.ts';
import { migrationScenario } from '../../sim/scenarios/migration.ts';
import { configure } from '../../sim/world/simulate.ts';

const SEEDS = 50;
const depths: readonly Scenario<never>[] = [clusterScenario(), migrationScenario()] as never;
const seeds = Array.from({ length: SEEDS }, (_, index) => index + 1);

for (const scenario of depths) {
  const { name, models = [], faults: kinds = [] } = scenario;

  test(`every seed of depth ${name} draws a fault of every model, for a minute and 1,000 operations`, () => {
    const drawn = new Set<Fault['kind']>();
    const hosts = new Set<number>();
    const clients = new Set<number>();
    const operations = new Set<number>();
    assert.ok(models.length >= 5);
    for (const seed of seeds) {
      const { plan, timing, workload, ...shape } = configure(scenario, { seed });
      assert.ok(timing.chaosUs >= 60_000_000);
      assert.ok(workload.operations >= 1_000);
      for (const model of models) {
        assert.ok(
          plan.faults.some(({ kind }) => model.includes(kind)),
          `seed ${seed} has no ${model.join(', ')}`,
        );
      }
      for (const { kind } of plan.faults) drawn.add(kind);
      hosts.add(shape.hosts);
      clients.add(workload.clients);
      operations.add(workload.operations);
    }
    assert.deepEqual([...drawn].sort(), [...kinds].sort());
    assert.deepEqual([...hosts].sort(), [3, 4, 5]);
    assert.ok(clients.size >= 3);
    assert.ok(operations.size >= SEEDS / 2);
  });

  test(`default seeds of depth ${name} last a minute, ask 1,000 times, are hit by every model, and heal`, () => {
    const hit = new Set<string>();
    for (const seed of [1, 2, 3]) {
      const { violation, simulatedMs, history, faults } = simulate(scenario, { seed });
      assert.equal(violation, null);
      assert.ok(simulatedMs >= 60_000, `${simulatedMs} ms`);
      assert.ok(history.length >= 1_000, `${history.length} operations`);
      for (const kind of Object.keys(faults)) hit.add(kind);
    }
    for (const model of models)
      assert.ok(
        model.some((kind) => hit.has(kind)),
        model.join(', '),
      );
  });
}

test('the hash of a run of whole agents depends on no directory, time zone, locale or process', () => {
  const options = { seed: 5, timing: { chaosUs: 20_000_000 }, workload: { operations: 400 } };
  for (const [name, scenario, make] of [
    ['cluster', depths[0], 'clusterScenario'],
    ['migration', depths[1], 'migrationScenario'],
  ] as const) {
    assert.ok(scenario !== undefined);
    const sim = new URL('../../sim/index.js', import.meta.url).href;
    const module = new URL(`../../sim/scenarios/${name}.js`, import.meta.url).href;
    const program = `
      const { simulate } = await import('${sim}');
      const { ${make} } = await import('${module}');
      console.log(simulate(${make}(), ${JSON.stringify(options)}).traceHash);`;
    const elsewhere = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      ...{ cwd: '/', encoding: 'utf8' },
      env: { TZ: 'Asia/Kathmandu', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' },
    });
    const here = simulate(scenario, options).traceHash;
    assert.equal(elsewhere.stdout.trim(), here, elsewhere.stderr);
  }
});
