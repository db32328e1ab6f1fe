import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ConvergenceInput,
  decideConvergence,
  STALLED_ROUNDS_MAX,
} from '../../src/protocols/migration/convergence.ts';

const MB = 1e6;
const BASE: ConvergenceInput = {
  round: 1,
  sentBytes: 1000 * MB,
  elapsedUs: 1e6,
  remainingBytes: 100 * MB,
  previousRemainingBytes: 0,
  dirtyBytesPerSec: 100 * MB,
  maxBytesPerSec: 0,
  maxDowntimeMs: 300,
  stalledRounds: 0,
  stopped: false,
};

describe('the convergence decision', () => {
  it('goes another round while what is left needs more downtime than allowed', () => {
    const decision = decideConvergence({ ...BASE, remainingBytes: 500 * MB });
    assert.equal(decision.action, 'round');
    assert.equal(decision.predictedDowntimeMs, 500);
    assert.match(decision.reason, /500 MB left would need 500 ms, allowed are 300 ms/);
  });

  it('counts with the limit of the link, not with what the round reached before it was set', () => {
    const limited = decideConvergence({ ...BASE, maxBytesPerSec: 200 * MB });
    assert.equal(limited.action, 'round');
    assert.equal(limited.predictedDowntimeMs, 500);
    const roomy = decideConvergence({ ...BASE, maxBytesPerSec: 5000 * MB });
    assert.equal(roomy.predictedDowntimeMs, 100);
  });

  it('polishes below the limit while a round still pays, then stops', () => {
    assert.equal(decideConvergence(BASE).action, 'round');
    const last = { ...BASE, round: 3, remainingBytes: 5 * MB, previousRemainingBytes: 20 * MB };
    assert.equal(decideConvergence(last).action, 'stopAndCopy');
  });

  it('stops at once when the hypervisor stopped the guest by itself', () => {
    assert.equal(decideConvergence({ ...BASE, stopped: true }).action, 'stopAndCopy');
  });

  it('gives up after rounds that do not shrink, and says what it would take', () => {
    let stalledRounds = 0;
    for (let round = 2; ; round += 1) {
      const decision = decideConvergence({
        ...BASE,
        round,
        stalledRounds,
        remainingBytes: 900 * MB,
        previousRemainingBytes: 900 * MB,
        dirtyBytesPerSec: 1200 * MB,
      });
      stalledRounds = decision.stalledRounds;
      assert.equal(decision.etaMs, null, 'no estimate for what cannot end');
      if (decision.action === 'round') continue;
      assert.equal(decision.action, 'abort');
      assert.equal(stalledRounds, STALLED_ROUNDS_MAX);
      assert.match(decision.reason, /needs 900 ms of downtime, allowed are 300 ms/);
      return;
    }
  });

  it('estimates an interval from the wire alone to the wire less the dirtying', () => {
    assert.deepEqual(decideConvergence(BASE).etaMs, { low: 100, high: 112 });
  });
});
