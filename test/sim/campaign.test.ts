import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { scenario as forgetful } from '../../examples/simulate.ts';
import {
  arbitraries,
  checkDeterminism,
  faultCount,
  parseReplay,
  recordReplay,
  runReplay,
  type Scenario,
  shrink,
  simulate,
} from '../../sim/index.ts';
import { correctRegister, registerScenario } from '../../sim/scenarios/register.ts';

const small = { timing: { chaosUs: 10_000_000 }, workload: { operations: 150 } };
const broken = registerScenario({ ...correctRegister, quorum: () => 1 });
const folder = mkdtempSync(join(tmpdir(), 'dwcp-sim-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function firstFailure<I, O>(scenario: Scenario<I, O>, faultsMin: number = 0) {
  for (let seed = 1; seed <= 30; seed += 1) {
    const result = simulate(scenario, { seed, ...small });
    if (!result.ok && faultCount(result.configuration.plan) >= faultsMin) return result;
  }
  return assert.fail('no seed failed');
}

test('a stranger finds in their own actor what a crash makes it forget', () => {
  const { violation, faults } = firstFailure(forgetful);
  assert.equal(violation?.checker, 'linearizability');
  assert.ok((faults['crash'] ?? 0) > 0);
  const lines = readFileSync(new URL('../../../examples/simulate.ts', import.meta.url), 'utf8');
  assert.ok(lines.split('\n').length < 30);
});

test('a replay file repeats a failing run to the last byte', () => {
  const failure = firstFailure(broken);
  const origin = { scenario: 'broken', commit: 'here' };
  const text = JSON.stringify(recordReplay(broken, failure, origin));
  const outcome = runReplay(broken, parseReplay(text, 'a test'));
  assert.equal(outcome.sameTrace, true);
  assert.equal(outcome.reproduced, true);
  assert.deepEqual(outcome.result.fit, { missing: 0, newLabels: [], unused: 0 });
  assert.throws(() => parseReplay('{"format":"other"}', 'x.json'), { code: 'ERR_DWCP_PROTOCOL' });
});

test('the decision log alone repeats a run, whatever the seed would have drawn', () => {
  const failure = firstFailure(broken);
  const replay = recordReplay(broken, failure, { scenario: 'broken', commit: 'here' });
  const elsewhere = runReplay(broken, { ...replay, seed: replay.seed + 1_000 });
  assert.equal(elsewhere.sameTrace, true);
  const { decisions } = replay;
  const [label] = Object.keys(decisions) as [string];
  const { [label]: _dropped, ...fewer } = decisions;
  const { result } = runReplay(broken, { ...replay, decisions: fewer });
  assert.deepEqual(result.fit?.newLabels, [label]);
});

test('shrinking leaves few faults and little work, and the same checker fails', () => {
  const failure = firstFailure(broken, 8);
  const shrunk = shrink(broken, failure, { maxMs: 20_000, maxRuns: 40 });
  assert.ok(shrunk !== null);
  assert.equal(shrunk.result.violation?.checker, failure.violation?.checker);
  assert.ok(
    shrunk.faultsAfter * 4 <= shrunk.faultsBefore,
    JSON.stringify(shrunk.configuration.plan),
  );
  assert.equal(shrink(registerScenario(correctRegister), failure, { maxMs: 1, maxRuns: 1 }), null);
});

test('two runs that differ are told apart at the first event that does', () => {
  let runs = 0;
  const leaky: Scenario = {
    ...{ name: 'leaky', hosts: 1 },
    boot: (host) => {
      runs += 1;
      host.after(10, 'same', () => {});
      host.after(20, 'leak', () => {}, { run: runs });
    },
  };
  const report = checkDeterminism(leaky, { seed: 1, ...small });
  assert.equal(report.equal, false);
  assert.equal(report.difference?.first?.kind, 'leak');
  assert.notDeepEqual(report.difference.first.data, report.difference.second?.data);
  const clean = checkDeterminism(registerScenario(correctRegister), { seed: 1, ...small });
  assert.equal(clean.equal, true);
});

test('plans are data that fast-check can draw, and every one ends within its bounds', () => {
  const shape = { hosts: 3, clients: 2, durationUs: 1_000_000, faultyHostsMax: 1 };
  const kinds = new Set<string>();
  fc.assert(
    fc.property(arbitraries.faultPlan(shape), (plan) => {
      const hit = new Set<number>();
      for (const fault of plan.faults) {
        kinds.add(fault.kind);
        assert.ok(fault.atUs >= 0 && fault.atUs <= 1_010_000 && fault.forUs > 0);
        if ('host' in fault) hit.add(fault.host);
      }
      assert.ok(hit.size <= 1);
      assert.ok(faultCount(plan) <= 28);
      assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
    }),
    { seed: 1, numRuns: 200 },
  );
  assert.equal(kinds.size, 10);
});

const BIN = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const example = fileURLToPath(new URL('../../examples/simulate.js', import.meta.url));

function dwcp(...args: string[]) {
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  const result = spawnSync(process.execPath, [BIN, 'sim', ...args], { encoding: 'utf8', env });
  const lines = result.stdout.split('\n').filter((line) => line.startsWith('{'));
  return { ...result, documents: lines.map((line) => JSON.parse(line) as Record<string, never>) };
}

test('the command line runs seeds on two threads, and replays and shrinks what fails', () => {
  const size = ['--chaos-ms', '10000', '--operations', '100'];
  const where = ['--workers', '2', '--json', '--out', folder];
  const run = dwcp('run', example, '--seeds', '1..6', ...size, ...where);
  assert.equal(run.status, 1, run.stderr);
  const [summary, ...seeds] = [...run.documents].reverse() as [never, ...never[]];
  assert.deepEqual(seeds.map(({ seed }) => seed).reverse(), [1, 2, 3, 4, 5, 6]);
  const failed = seeds.find(({ ok }) => ok === false) as { replay: string } | undefined;
  assert.ok(failed !== undefined, JSON.stringify(summary));
  const replayed = dwcp('replay', failed.replay, '--json');
  assert.equal(replayed.status, 1);
  assert.deepEqual(
    [replayed.documents[0]?.['reproduced'], replayed.documents[0]?.['sameTrace']],
    [true, true],
  );
  const shrunk = dwcp('shrink', failed.replay, '--json', '--max-ms', '2000');
  assert.equal(shrunk.status, 0, shrunk.stderr);
  const { faultsBefore, faultsAfter, replay } = shrunk.documents[0] as never;
  assert.ok(faultsAfter < faultsBefore);
  assert.equal(dwcp('replay', replay).status, 1);
});

test('the command line runs one seed of ours twice, and part of a range', () => {
  const quick = ['--chaos-ms', '5000', '--operations', '20', '--json'];
  const one = dwcp('run', 'register', '--seed', '5', '--check-determinism', ...quick);
  assert.equal(one.status, 0, one.stderr);
  assert.equal(one.documents[0]?.['deterministic'], true);
  const part = dwcp('run', 'register', '--seeds', '5..8', '--shard', '2/4', ...quick);
  assert.deepEqual(
    part.documents.map(({ seed }) => seed),
    [6, undefined],
  );
});

test('the command line judges any history by name', () => {
  const good = join(folder, 'good.ndjson');
  const op = {
    client: 1,
    callUs: 0,
    returnUs: 1,
    input: { op: 'put', key: 'k', value: 1 },
    output: null,
  };
  const get = { client: 1, callUs: 2, returnUs: 3, input: { op: 'get', key: 'k' }, output: 2 };
  writeFileSync(good, `${JSON.stringify(op)}\n\n`);
  assert.equal(dwcp('check', 'kv', good).status, 0);
  const bad = join(folder, 'bad.ndjson');
  writeFileSync(bad, `${JSON.stringify(op)}\n${JSON.stringify(get)}\n`);
  const verdict = dwcp('check', 'kv', bad, '--json');
  assert.equal(verdict.status, 1);
  assert.equal(verdict.documents[0]?.['verdict'], 'violation');
  writeFileSync(bad, '{"client":1}\n');
  const refused = dwcp('check', 'kv', bad);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /bad\.ndjson:1: no callUs, returnUs, input/);
});

test('wrong usage of the simulator exits 2 and lists what there is', () => {
  const unknown = dwcp('run', 'nope', '--seed', '1');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /There are: register/);
  for (const args of [
    ['run', 'register'],
    ['run', 'register', '--seeds', '1..4', '--shard', '5/4'],
    ['replay', '/nowhere.json'],
  ]) {
    assert.equal(dwcp(...args).status, 2, args.join(' '));
  }
});
