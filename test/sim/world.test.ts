import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { calmPlan, type Scenario, simulate, World } from '../../sim/index.ts';
import { correctRegister, registerScenario } from '../../sim/scenarios/register.ts';
import { Xoshiro } from '../../sim/world/random.ts';
import { TraceHash } from '../../sim/world/trace-hash.ts';

const world = (): World => new World({ seed: 1, plan: calmPlan, hosts: ['a', 'b'], clients: [] });

test('events come by time, and by order of scheduling at one time', () => {
  const one = world();
  const seen: string[] = [];
  const at = (atUs: number, name: string): void => {
    one.schedule(atUs, 'test', name, null, () => seen.push(name));
  };
  for (const [atUs, name] of [
    [5, 'c'],
    [1, 'a'],
    [5, 'd'],
    [3, 'b'],
    [5, 'e'],
  ] as const)
    at(atUs, name);
  const cancelled = one.schedule(4, 'test', 'x', null, () => seen.push('x'));
  cancelled.cancelled = true;
  one.run(10);
  assert.deepEqual(seen, ['a', 'b', 'c', 'd', 'e']);
  assert.equal(one.nowUs, 10);
});

test('a heap of many events comes out in order', () => {
  const one = world();
  const chance = new Xoshiro('heap');
  let lastUs = 0;
  for (let count = 0; count < 5_000; count += 1) {
    one.schedule(chance.below(1_000), 'test', 'x', null, () => {
      assert.ok(one.nowUs >= lastUs);
      lastUs = one.nowUs;
    });
  }
  one.run(1_000);
  assert.equal(one.violation, null);
  assert.equal(one.events, 5_000);
});

test('chance is the same bit for bit everywhere, even, and of one label only', () => {
  const stream = new Xoshiro('1 net');
  const drawn = Array.from({ length: 4 }, () => stream.below(1_000_000));
  assert.deepEqual(drawn, EXPECTED_DRAWS);
  const counts = new Array<number>(6).fill(0);
  for (let roll = 0; roll < 60_000; roll += 1) {
    const face = stream.below(6);
    counts[face] = (counts[face] ?? 0) + 1;
  }
  assert.ok(
    counts.every((count) => count > 9_500 && count < 10_500),
    counts.join(' '),
  );
  const alone = world();
  const crowded = world();
  crowded.random('other').below(10);
  assert.equal(alone.random('mine').below(2 ** 40), crowded.random('mine').below(2 ** 40));
});

/** From an independent implementation in another language. */
const EXPECTED_DRAWS = [698681, 535595, 399290, 654486];

test('the hash tells values apart, and does not mind the order of keys', () => {
  const of = (value: unknown): string => {
    const hash = new TraceHash();
    hash.value(value);
    return hash.digest();
  };
  assert.equal(of({ a: 1, b: [2] }), of({ b: [2], a: 1 }));
  assert.equal(
    of(
      new Map([
        ['x', 1],
        ['y', 2],
      ]),
    ),
    of(
      new Map([
        ['y', 2],
        ['x', 1],
      ]),
    ),
  );
  const distinct = [
    1,
    '1',
    1.5,
    null,
    undefined,
    true,
    [1],
    { a: 1 },
    [[1]],
    'a',
    ['a'],
    new Set(['a']),
  ];
  const bytes = [new Uint8Array([1]), new Uint8Array([1, 0]), 2 ** 40, -1, 4294967295];
  const hashes = [...distinct, ...bytes].map(of);
  assert.equal(new Set(hashes).size, hashes.length);
});

test('a crash ends what was under way, and a restart begins anew', () => {
  const one = world();
  const [host] = one.hosts;
  assert.ok(host !== undefined);
  const seen: string[] = [];
  host.after(10, 'late', () => seen.push('of the first life'));
  one.schedule(5, 'test', 'crash', null, () => {
    host.crash();
    host.restart();
    host.after(10, 'late', () => seen.push('of the second life'));
  });
  one.run(100);
  assert.deepEqual(seen, ['of the second life']);
});

test('a paused host does later what it missed, in order', () => {
  const one = world();
  const [host] = one.hosts;
  assert.ok(host !== undefined);
  const seen: string[] = [];
  host.pause();
  host.after(10, 'x', () => seen.push(`x at ${one.nowUs}`));
  host.after(20, 'y', () => seen.push(`y at ${one.nowUs}`));
  one.schedule(50, 'test', 'resume', null, () => host.resume());
  one.run(100);
  assert.deepEqual(seen, ['x at 50', 'y at 50']);
});

test('the monotonic clock drifts, the wall clock also jumps, and timers follow the monotonic one', () => {
  const one = world();
  const [host] = one.hosts;
  assert.ok(host !== undefined);
  const fired: number[] = [];
  one.schedule(0, 'test', 'drift', null, () => {
    host.clock.setDrift(-500_000);
    host.clock.jumpWall(3_000_000);
    host.clock.setTimer(1_000, () => fired.push(one.nowUs));
  });
  const wallBeforeMs = host.clock.wallMs();
  one.run(10_000);
  assert.equal(host.clock.nowUs(), 5_000);
  assert.equal(host.clock.wallMs() - wallBeforeMs, 3_005);
  assert.deepEqual(fired, [2_000]);
});

const small = { timing: { chaosUs: 10_000_000 }, workload: { operations: 150 } };

test('a run of one seed is the same in every run, another seed is another run', () => {
  const scenario = registerScenario(correctRegister);
  const first = simulate(scenario, { seed: 5, ...small });
  const again = simulate(scenario, { seed: 5, ...small });
  const other = simulate(scenario, { seed: 6, ...small });
  assert.equal(first.ok, true, JSON.stringify(first.violation));
  assert.equal(again.traceHash, first.traceHash);
  assert.notEqual(other.traceHash, first.traceHash);
  assert.ok(first.history.length >= 150);
});

test('the hash of a run depends on no directory, time zone, locale or process', () => {
  const sim = new URL('../../sim/index.js', import.meta.url).href;
  const register = new URL('../../sim/scenarios/register.js', import.meta.url).href;
  const program = `
    const { simulate } = await import('${sim}');
    const { registerScenario, correctRegister } = await import('${register}');
    const options = { seed: 5, ...${JSON.stringify(small)} };
    console.log(simulate(registerScenario(correctRegister), options).traceHash);`;
  const elsewhere = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    ...{ cwd: '/', encoding: 'utf8' },
    env: { TZ: 'Asia/Kathmandu', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' },
  });
  const here = simulate(registerScenario(correctRegister), { seed: 5, ...small }).traceHash;
  assert.equal(elsewhere.stdout.trim(), here, elsewhere.stderr);
});

test('a register that asks one replica instead of a majority is caught by its clients history', () => {
  const broken = registerScenario({ ...correctRegister, quorum: () => 1 });
  for (let seed = 1; seed <= 30; seed += 1) {
    const { violation } = simulate(broken, { seed, ...small });
    if (violation === null) continue;
    assert.equal(violation.checker, 'linearizability');
    return;
  }
  assert.fail('not one of 30 seeds found it');
});

test('an actor that writes to a message which others hold too is caught', () => {
  const scribbler: Scenario = {
    ...{ name: 'scribbler', hosts: 2 },
    boot: (host) => {
      host.on<{ count: number }>('inbox', (message) => {
        message.count += 1;
      });
      host.send('host-1/inbox', { count: 1 });
    },
  };
  const { violation } = simulate(scribbler, {
    seed: 4,
    plan: calmPlan,
    timing: { chaosUs: 1_000 },
  });
  assert.equal(violation?.checker, 'uncaught');
  assert.match(violation.message, /read only property 'count'/);
});

test('a run that never recovers is stuck, and one that cannot by design says so', () => {
  const deaf = {
    ...{ name: 'deaf', hosts: 1, boot: () => {} },
    clients: { next: () => null, to: () => 'host-0/nobody' },
  };
  const timing = { timing: { chaosUs: 1_000_000, progressUs: 5_000_000 } };
  const stuck = simulate(deaf, { seed: 1, ...timing });
  assert.equal(stuck.violation?.checker, 'progress');
  const lost = simulate({ ...deaf, unrecoverable: () => 'nobody listens' }, { seed: 1, ...timing });
  assert.equal(lost.ok, true);
  assert.equal(lost.unrecoverable, 'nobody listens');
});
