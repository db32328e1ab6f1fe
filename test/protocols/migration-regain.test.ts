import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MigrationWorld } from '../../sim/hypervisor/migration-world.ts';
import type { VerifyMode } from '../../src/protocols/migration/types.ts';

const PAGES = 20_000;

function worldIn(phase: string, more = 0, verify: VerifyMode = 'off'): MigrationWorld {
  const world = new MigrationWorld({ verify, pageCount: PAGES });
  while (world.source.phase !== phase) assert.ok(world.advance(0), `it gets to ${phase}`);
  for (let step = 0; step < more; step += 1) world.advance(0);
  return world;
}

function assertMoved(world: MigrationWorld, restarts: number): void {
  const story = world.trace.join('\n');
  assert.equal(world.settledBy, 'moved', story);
  assert.deepEqual(world.guest.copies, { source: 'killed', destination: 'running' }, story);
  assert.equal(world.source.restarts, restarts, story);
  assert.ok(world.isSettled, `no record is left:\n${story}`);
}

describe('an agent that dies in the middle of the rounds', () => {
  it('is found by the other one at the destination, which says what it holds', () => {
    const world = worldIn('precopy');
    world.inject('crashDestination');
    while (world.advance(0));
    assert.equal(world.source.phase, 'precopy', 'the source waits');
    world.linkUp();
    while (world.advance(0));
    assertMoved(world, 1);
    assert.equal(world.source.heldEqualPages, Math.ceil(PAGES / 4096), 'one of each block, here');
  });

  it('goes on at the source with what an earlier process began', () => {
    const world = worldIn('precopy', 1);
    world.inject('crashSource');
    while (world.advance(0));
    assert.equal(world.guest.copies.source, 'running');
    world.linkUp();
    while (world.advance(0));
    assertMoved(world, 1);
  });

  it('compares all of the memory at the end, wherever it died', () => {
    for (const crash of ['crashSource', 'crashDestination'] as const) {
      const world = worldIn('precopy', 0, 'after');
      world.inject(crash);
      world.linkUp();
      while (world.advance(0));
      assertMoved(world, 1);
      assert.equal(world.source.comparedPages, PAGES);
    }
  });

  it('may be both of them, and again while they compare', () => {
    const world = worldIn('precopy', 1);
    world.inject('crashSource');
    world.inject('crashDestination');
    world.linkUp();
    while (world.source.heldEqualPages === 0) assert.ok(world.advance(0), 'they compare');
    world.inject('crashDestination');
    world.linkUp();
    while (world.advance(0));
    assertMoved(world, 2);
  });

  it('loses only what was asked when the link breaks while they compare', () => {
    const world = worldIn('precopy');
    world.inject('crashDestination');
    world.linkUp();
    while (world.source.heldEqualPages === 0) assert.ok(world.advance(0), 'they compare');
    world.linkDown();
    while (world.advance(0));
    world.linkUp();
    while (world.advance(0));
    assertMoved(world, 1);
  });

  it('wakes a guest that stood still, once the log said that it is its own', () => {
    const world = worldIn('awaitLoaded');
    assert.equal(world.guest.copies.source, 'stopped');
    world.inject('crashSource');
    while (world.advance(0));
    assert.equal(world.guest.copies.source, 'running');
    world.linkUp();
    while (world.advance(0));
    assertMoved(world, 1);
  });

  it('does not go on where the guest stands still: the destination’s agent is not waited for', () => {
    const world = worldIn('awaitLoaded');
    world.inject('crashDestination');
    world.linkUp();
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.equal(world.guest.runningCount, 1);
  });

  it('is not waited for longer than a link', () => {
    const world = worldIn('precopy');
    world.inject('crashDestination');
    for (let turn = 0; turn < 3; turn += 1) {
      while (world.advance(0));
      world.fireTimers();
    }
    while (world.advance(0));
    assert.equal(world.settledBy, 'stayed');
    assert.deepEqual(world.guest.copies, { source: 'running', destination: 'absent' });
  });
});
