import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ConvergenceInput,
  decideConvergence,
  ROUNDS_MAX,
  STALLED_ROUNDS_MAX,
} from '../../src/protocols/migration/convergence.ts';
import { LOW_POINT_ROUNDS, RoundTrend } from '../../src/protocols/migration/ladder-trend.ts';

const MB = 1e6;

function input(
  remaining: readonly number[],
  changes: Partial<ConvergenceInput> = {},
): ConvergenceInput {
  const rounds = new RoundTrend();
  const trend = remaining.map((bytes) => rounds.add(bytes)).at(-1);
  assert.ok(trend !== undefined);
  return {
    ...{ round: remaining.length, sentBytes: 1000 * MB, elapsedUs: 1e6 },
    ...{ dirtyBytesPerSec: 100 * MB, maxBytesPerSec: 0, maxDowntimeMs: 300, stopped: false },
    ...{ remainingBytes: remaining.at(-1) ?? 0, trend },
    ...changes,
  };
}

describe('the convergence decision', () => {
  it('goes another round while what is left needs more downtime than allowed', () => {
    const decision = decideConvergence(input([500 * MB]));
    assert.equal(decision.action, 'round');
    assert.equal(decision.predictedDowntimeMs, 500);
    assert.match(decision.reason, /500 MB left would need 500 ms, allowed are 300 ms/);
  });

  it('counts with the limit of the link, not with what the round reached before it was set', () => {
    const limited = decideConvergence(input([100 * MB], { maxBytesPerSec: 200 * MB }));
    assert.equal(limited.action, 'round');
    assert.equal(limited.predictedDowntimeMs, 500);
    const roomy = decideConvergence(input([100 * MB], { maxBytesPerSec: 5000 * MB }));
    assert.equal(roomy.predictedDowntimeMs, 100);
  });

  it('polishes below the limit while a round still pays, then stops', () => {
    assert.equal(decideConvergence(input([100 * MB])).action, 'round');
    const last = decideConvergence(input([80 * MB, 20 * MB, 5 * MB]));
    assert.equal(last.action, 'stopAndCopy');
  });

  it('stops at once when the hypervisor stopped the guest by itself', () => {
    assert.equal(decideConvergence(input([900 * MB], { stopped: true })).action, 'stopAndCopy');
  });

  it('waits for a low point that it saw lately, and not for ever', () => {
    const busy = { dirtyBytesPerSec: 900 * MB };
    const high = decideConvergence(input([500 * MB, 60 * MB, 250 * MB], busy));
    assert.equal(high.action, 'round');
    assert.match(high.reason, /60 MB were left before: waiting for that again/);
    const low = decideConvergence(input([500 * MB, 60 * MB, 250 * MB, 62 * MB], busy));
    assert.equal(low.action, 'stopAndCopy');
    const worse = [60 * MB, ...Array.from({ length: LOW_POINT_ROUNDS }, () => 250 * MB)];
    const over = decideConvergence(input(worse, busy));
    assert.equal(over.action, 'stopAndCopy', 'the low point is too long ago');
    const late = decideConvergence(input([60 * MB, 250 * MB], { ...busy, round: ROUNDS_MAX }));
    assert.equal(late.action, 'stopAndCopy');
  });

  it('calls it stalled after rounds that did not get below the best, though they go up and down', () => {
    const series = [800 * MB];
    for (let more = 0; more < STALLED_ROUNDS_MAX; more += 1) {
      assert.equal(decideConvergence(input(series)).action, 'round');
      series.push((more % 2 === 0 ? 1200 : 790) * MB);
    }
    const decision = decideConvergence(input(series, { dirtyBytesPerSec: 1200 * MB }));
    assert.equal(decision.action, 'stalled');
    assert.match(decision.reason, /3 rounds did not get below 800 MB/);
    assert.equal(decision.etaMs, null, 'no estimate for what cannot end');
  });

  it('calls it stalled when it shrinks too slowly to end', () => {
    const series = [900 * MB, 700 * MB];
    assert.equal(decideConvergence(input(series)).action, 'round');
    assert.equal(decideConvergence(input(series, { round: ROUNDS_MAX })).action, 'stalled');
  });

  it('estimates an interval from the wire alone to the wire less the dirtying', () => {
    assert.deepEqual(decideConvergence(input([100 * MB])).etaMs, { low: 100, high: 112 });
  });
});
