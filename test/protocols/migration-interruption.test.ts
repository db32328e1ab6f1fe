import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MigrationWorld } from '../../sim/hypervisor/migration-world.ts';
import { ReturnLog, ReturnReader } from '../../src/protocols/migration/return-log.ts';
import type { VerifyMode } from '../../src/protocols/migration/types.ts';

/** Before these there is nothing worth a wait, and while the two compare the guest stands still. */
const GIVEN_UP_IN: ReadonlySet<string> = new Set([
  'idle',
  'proposing',
  'preparing',
  'strictVerify',
]);

function worldAfter(verify: VerifyMode, count: number): MigrationWorld {
  const world = new MigrationWorld({ verify, pageCount: 20_000 });
  for (let step = 0; step < count; step += 1) world.advance(0);
  return world;
}

describe('a cut before fenced was sent', () => {
  for (const verify of ['after', 'strict', 'off'] as const) {
    it(`does not end the migration at any step that holds something, verify ${verify}`, () => {
      const held = new Set<string>();
      for (let count = 0; ; count += 1) {
        const world = worldAfter(verify, count);
        if (world.fencedWasSent || world.settledBy !== null) break;
        const { phase } = world.source;
        world.linkDown();
        for (let turn = 0; turn < 5; turn += 1) world.advance(0);
        world.linkUp();
        while (world.advance(0));
        const isGivenUp = GIVEN_UP_IN.has(phase);
        const story = `cut in ${phase}:\n${world.trace.join('\n')}`;
        assert.equal(world.settledBy, isGivenUp ? 'stayed' : 'moved', story);
        assert.equal(world.guest.runningCount, 1, story);
        if (!isGivenUp) assert.equal(world.source.cuts, 1);
        if (!isGivenUp) held.add(phase);
      }
      assert.deepEqual(
        [...held].sort(),
        ['awaitLoaded', 'fencePersisting', 'fencing', 'opening', 'precopy', 'stopAndCopy'],
        'every phase was cut',
      );
    });
  }

  it('says how long it waits of how long it may, and gives up after that', () => {
    const world = worldAfter('off', 0);
    while (world.source.phase !== 'precopy') world.advance(0);
    world.linkDown();
    const now = world.nowUs;
    const said = world.source.interruption(now + 12_000_000);
    assert.equal(said, 'link to b is down for 12 s of 300 s');
    world.fireTimers();
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_PEER_UNREACHABLE');
    assert.match(world.source.failure?.message ?? '', /was down for/);
    assert.deepEqual(world.guest.copies, { source: 'running', destination: 'absent' });
  });

  it('is a stopped guest’s downtime, which is all the longer it waits', () => {
    const world = worldAfter('off', 0);
    while (world.source.phase !== 'awaitLoaded') world.advance(0);
    world.linkDown();
    assert.equal(
      world.source.interruption(world.nowUs + 100_000),
      'link to b is down for 0.1 s of 0.3 s',
    );
  });

  it('can be cancelled', () => {
    const world = worldAfter('off', 0);
    while (world.source.phase !== 'precopy') world.advance(0);
    world.linkDown();
    world.inject('cancel');
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.equal(world.source.failure?.code, 'ERR_DWCP_CANCELLED');
    assert.deepEqual(
      world.guest.copies,
      { source: 'running', destination: 'absent' },
      'the destination hears of it by the log',
    );
  });
});

describe('the return path over a cut', () => {
  const word = (text: string): Uint8Array => new TextEncoder().encode(text);

  it('carries each byte once and in order, whatever was lost and said again', () => {
    const log = new ReturnLog();
    const reader = new ReturnReader();
    const heard: string[] = [];
    const take = (piece: { offset: number; data: Uint8Array }): void => {
      const data = reader.take(piece);
      assert.ok(data !== null, 'no hole');
      heard.push(new TextDecoder().decode(data));
    };
    const first = log.say(word('one '));
    assert.ok(first !== null);
    take(first);
    log.say(word('two '));
    log.say(word('three'));
    assert.ok(log.taken(reader.takenBytes));
    for (const piece of log.untaken()) take(piece);
    for (const piece of log.untaken()) take(piece);
    assert.equal(heard.join(''), 'one two three');
  });

  it('refuses a hole, what was never said, and a guest that never ends', () => {
    const reader = new ReturnReader();
    assert.equal(reader.take({ offset: 1, data: word('x') }), null);
    const log = new ReturnLog();
    assert.equal(log.taken(1), false);
    const piece = new Uint8Array(65_536);
    for (let count = 0; count < 16; count += 1) assert.ok(log.say(piece) !== null);
    assert.equal(log.say(piece), null);
  });
});
