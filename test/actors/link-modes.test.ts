import assert from 'node:assert/strict';
import type { LinkModeStatus, LinkReport } from '../../src/actors/messages.ts';
import type { ModeRules } from '../../src/actors/spawn-links.ts';
import type { Outcome } from '../../src/util/errors.ts';
import { onWorld, SECOND_US, streamsOf, type TestNode, ups, type World } from './links-world.ts';

/** As shipped, but for the times. */
const RULES: ModeRules = {
  ...{ nearUs: 10_000, farUs: 50_000, wideBytesPerSec: 125e6, hysteresis: 0.2, confidence: 0.7 },
  ...{ samples: 5, minStayMs: 20_000, coolDownMs: 5_000, maxPerMinute: 2 },
};
const AUTO = { mode: 'auto', modeRules: RULES, streams: 'auto' } as const;

function statusOf(node: TestNode): LinkModeStatus | null {
  const told = node.reports.filter(
    (report): report is LinkReport & { type: 'linkMode' } => report.type === 'linkMode',
  );
  return told.at(-1)?.status ?? null;
}

function modesOf(...nodes: readonly TestNode[]): string[] {
  return nodes.map((node) => statusOf(node)?.mode ?? 'datacenter');
}

async function startBoth(world: World): Promise<readonly [TestNode, TestNode]> {
  const nodes = [world.start('a', ['b'], AUTO), world.start('b', ['a'], AUTO)] as const;
  await world.until(() => nodes.every((node) => streamsOf(node) === 4));
  return nodes;
}

/** As the node does when an operator said so. */
function force(node: TestNode, policy: LinkModeStatus['policy']): void {
  assert.equal(ups(node).at(-1)?.link.tell({ type: 'setMode', policy }), 'accepted');
}

onWorld('an operator at either side changes the mode of both, and can let it go', async (world) => {
  const [a, b] = await startBoth(world);
  force(a, 'internet');
  await world.until(() => modesOf(a, b).every((mode) => mode === 'internet'));
  force(b, 'hybrid');
  await world.run(SECOND_US);
  assert.deepEqual(modesOf(a, b), ['internet', 'internet'], 'the more cautious word counts');
  force(a, 'auto');
  await world.until(() => modesOf(a, b).every((mode) => mode === 'hybrid'));
  const change = statusOf(a)?.change;
  assert.equal(change?.outcome, 'agreed');
  assert.match(change?.reason ?? '', /an operator at the peer/);
  assert.equal(statusOf(b)?.policy, 'hybrid');
});

onWorld('a change tunes streams, chunks and congestion control on both sides', async (world) => {
  const [a, b] = await startBoth(world);
  force(b, 'internet');
  await world.until(() => streamsOf(a) === 8 && streamsOf(b) === 8);
  for (const node of [a, b]) {
    const bulk = ups(node).at(-1)?.bulk;
    assert.equal(bulk?.tuning().chunkBytes, 256 * 1024);
    assert.ok(bulk?.lanes().lanes.every((lane) => lane.congestionControl === 'bbr'));
  }
});

onWorld('a kernel without the algorithm gets the one that every kernel has', async (world) => {
  world.network.refusedCongestion = 'bbr';
  const [a, b] = await startBoth(world);
  force(a, 'internet');
  await world.until(() => modesOf(a, b).every((mode) => mode === 'internet'));
  assert.equal(statusOf(a)?.change?.outcome, 'agreed');
});

onWorld(
  'a link whose round trips become long goes to hybrid, then to the internet, by itself',
  async (world) => {
    const [a, b] = await startBoth(world);
    await world.run(10 * SECOND_US);
    assert.deepEqual(
      modesOf(a, b),
      ['datacenter', 'datacenter'],
      'near, at a rate that nobody tried',
    );
    world.network.latencyUs = 15_000;
    await world.until(() => modesOf(a, b).every((mode) => mode === 'hybrid'));
    assert.match(statusOf(a)?.change?.reason ?? '', /round trip 3\d\.\d ms, rate unknown/);
    assert.equal(statusOf(a)?.change?.forced, false);
    world.network.latencyUs = 40_000;
    await world.run(10 * SECOND_US);
    assert.deepEqual(modesOf(a, b), ['hybrid', 'hybrid'], 'it was chosen a moment ago');
    await world.until(() => modesOf(a, b).every((mode) => mode === 'internet'), 30 * SECOND_US);
  },
);

onWorld('a link that is busy and narrow goes to the internet within two seconds', async (world) => {
  const [a, b] = await startBoth(world);
  await world.run(2 * SECOND_US);
  world.network.load('b', 'a', { laneBytesPerSec: 1e6, wireBytesPerSec: 4e6 });
  const sinceUs = world.clock.nowUs();
  await world.until(() => modesOf(a, b).every((mode) => mode === 'internet'));
  assert.ok(
    world.clock.nowUs() - sinceUs < 2.5 * SECOND_US,
    'it looks once a second until it is busy',
  );
  const change = statusOf(a)?.change;
  assert.match(change?.reason ?? '', /measured by the peer/);
});

onWorld('the mode outlives the session, and the peer that restarted is told', async (world) => {
  const [a] = await startBoth(world);
  force(a, 'internet');
  await world.until(() => modesOf(a).includes('internet'));
  await world.crash('b');
  const b = world.start('b', ['a'], AUTO);
  await world.until(() => modesOf(b).includes('internet'));
  assert.deepEqual(modesOf(a), ['internet']);
});

onWorld('a flapping way changes the mode no more often than is allowed', async (world) => {
  const [a] = await startBoth(world);
  world.network.load('a', 'b', { laneBytesPerSec: 500e6, wireBytesPerSec: 1e9 });
  for (let turn = 0; turn < 12; turn += 1) {
    world.network.latencyUs = turn % 2 === 0 ? 80_000 : 500;
    await world.run(10 * SECOND_US);
  }
  const changes = new Set(
    a.reports.flatMap((report) =>
      report.type === 'linkMode' && report.status.change ? [report.status.change.number] : [],
    ),
  );
  assert.ok(changes.size >= 2 && changes.size <= 4, `${changes.size} in two minutes`);
});

onWorld('a migration that does not converge gets what its link has left to give', async (world) => {
  const [a, b] = await startBoth(world);
  const press = async (node: TestNode, what: 'compress' | 'streams'): Promise<string | null> => {
    const answers: Outcome<void>[] = [];
    const done = (outcome: Outcome<void>): void => void answers.push(outcome);
    ups(node).at(-1)?.link.tell({ type: 'press', migrationId: 'm1', what, done });
    await world.until(() => answers.length === 1);
    const [answer] = answers;
    return answer?.ok === false ? answer.error.message : null;
  };
  assert.equal(await press(a, 'compress'), null);
  assert.equal(await press(a, 'streams'), null);
  await world.until(() => streamsOf(a) === 5);
  assert.equal(await press(b, 'streams'), null, 'who does not dial wishes for it');
  await world.until(() => streamsOf(a) === 6);
  ups(a).at(-1)?.link.tell({ type: 'release', migrationId: 'm1' });
  force(a, 'internet');
  await world.until(() => modesOf(a, b).every((mode) => mode === 'internet'));
  assert.match((await press(a, 'compress')) ?? '', /chooses by gain already/);
});

onWorld('a link whose streams an operator set gets no more of them', async (world) => {
  const a = world.start('a', ['b'], { streams: 2 });
  world.start('b', ['a'], { streams: 2 });
  await world.until(() => streamsOf(a) === 2);
  let message = '';
  const done = (outcome: Outcome<void>): void => {
    message = outcome.ok ? 'done' : outcome.error.message;
  };
  ups(a).at(-1)?.link.tell({ type: 'press', migrationId: 'm1', what: 'streams', done });
  await world.until(() => message !== '');
  assert.equal(message, 'their number is set to 2');
  assert.equal(streamsOf(a), 2);
});
