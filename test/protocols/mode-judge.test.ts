import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LINK_MODES, type LinkMode } from '../../src/ports/link-mode.ts';
import { classify, MODE_THRESHOLDS, ModeJudge } from '../../src/protocols/link/mode-judge.ts';
import type { Bounds, PathSample } from '../../src/protocols/link/mode-path.ts';

const GBIT = 125e6;
const exactly = (value: number): Bounds => ({ least: value, most: value });
const atLeast = (least: number): Bounds => ({ least, most: null });
const UNKNOWN: Bounds = { least: null, most: null };
/** A threshold for every mode of now, to look at the table alone. */
const FLAT = { ...MODE_THRESHOLDS, hysteresis: 0 };

function sampleOf(atUs: number, rttUs: Bounds, bytesPerSec: Bounds): PathSample {
  return { atUs, rttUs, bytesPerSec, lossShare: null, jitterUs: null };
}

test('a near and wide way is a datacenter, a far or narrow one the internet, the rest hybrid', () => {
  for (const current of LINK_MODES) {
    const judged = (rttMs: number, rate: number): LinkMode | null => {
      const way = { rttUs: exactly(rttMs * 1000), bytesPerSec: exactly(rate) };
      return classify(way, current, FLAT);
    };
    assert.equal(judged(9.9, GBIT), 'datacenter');
    assert.equal(judged(10, GBIT), 'hybrid');
    assert.equal(judged(50, GBIT), 'hybrid');
    assert.equal(judged(50.1, GBIT), 'internet');
    assert.equal(judged(1, GBIT - 1), 'internet');
  }
});

test('a rate that nobody tried is not held against a link', () => {
  const near = { rttUs: exactly(1000), bytesPerSec: atLeast(1000) };
  for (const current of LINK_MODES) assert.equal(classify(near, current, FLAT), null);
  const between = { rttUs: exactly(30_000), bytesPerSec: UNKNOWN };
  assert.equal(classify(between, 'datacenter', FLAT), 'hybrid', 'no datacenter at any rate');
  assert.equal(classify(between, 'hybrid', FLAT), null);
  assert.equal(classify(between, 'internet', FLAT), null);
  const far = { rttUs: exactly(60_000), bytesPerSec: UNKNOWN };
  for (const current of LINK_MODES) assert.equal(classify(far, current, FLAT), 'internet');
});

test('a round trip that our own queues made long sends no link to the internet', () => {
  const queued = { rttUs: { least: 500, most: 80_000 }, bytesPerSec: exactly(4 * GBIT) };
  for (const current of LINK_MODES) assert.equal(classify(queued, current, FLAT), null);
});

test('to leave a mode takes a fifth more than its threshold', () => {
  const way = (rttMs: number, rate: number) => ({
    rttUs: exactly(rttMs * 1000),
    bytesPerSec: exactly(rate),
  });
  assert.equal(classify(way(11.9, GBIT), 'datacenter', MODE_THRESHOLDS), 'datacenter');
  assert.equal(classify(way(12.1, GBIT), 'datacenter', MODE_THRESHOLDS), 'hybrid');
  assert.equal(classify(way(1, 0.81 * GBIT), 'datacenter', MODE_THRESHOLDS), 'datacenter');
  assert.equal(classify(way(1, 0.79 * GBIT), 'datacenter', MODE_THRESHOLDS), 'internet');
  assert.equal(classify(way(41, 2 * GBIT), 'internet', MODE_THRESHOLDS), 'internet');
  assert.equal(classify(way(39, 2 * GBIT), 'internet', MODE_THRESHOLDS), 'hybrid');
  assert.equal(classify(way(8.1, GBIT), 'hybrid', MODE_THRESHOLDS), 'hybrid');
  assert.equal(classify(way(7.9, GBIT), 'hybrid', MODE_THRESHOLDS), 'datacenter');
});

function judgeOf(rttsMs: readonly number[]): ModeJudge {
  const judge = new ModeJudge();
  rttsMs.forEach((ms, index) => {
    judge.add(sampleOf(index * 1000, exactly(ms * 1000), UNKNOWN));
  });
  return judge;
}

test('a verdict needs a full window, of which seven tenths agree', () => {
  assert.equal(judgeOf(Array(9).fill(80)).verdict('datacenter'), null);
  assert.equal(judgeOf(Array(10).fill(80)).verdict('datacenter')?.mode, 'internet');
  const mixed = (far: number): number[] => [...Array(10 - far).fill(30), ...Array(far).fill(80)];
  assert.equal(judgeOf(mixed(7)).verdict('datacenter')?.mode, 'internet');
  assert.equal(judgeOf(mixed(6)).verdict('datacenter'), null, 'six of ten');
});

test('a verdict says since when the samples agree, and on what', () => {
  const verdict = judgeOf([...Array(3).fill(30), ...Array(7).fill(80)]).verdict('datacenter');
  assert.equal(verdict?.sinceUs, 3000);
  assert.equal(verdict?.confidence, 0.7);
  assert.match(verdict?.reason ?? '', /round trip 80\.0 ms, rate unknown/);
});

test('samples that say nothing push out none that do, and old ones are forgotten', () => {
  const judge = judgeOf(Array(10).fill(80));
  for (let index = 0; index < 20; index += 1) judge.add(sampleOf(20_000, UNKNOWN, UNKNOWN));
  assert.equal(judge.verdict('datacenter')?.mode, 'internet');
  judge.add(sampleOf(60_000_000, exactly(80_000), UNKNOWN));
  assert.equal(judge.verdict('datacenter'), null, 'one sample of now is no window');
});

test('outliers below a half move no median, whatever they are', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2_000_000), { minLength: 3, maxLength: 3 }), (outliers) => {
      const judge = judgeOf([...Array(7).fill(80)]);
      for (const us of outliers) judge.add(sampleOf(8000, exactly(us), UNKNOWN));
      return judge.verdict('datacenter')?.mode === 'internet';
    }),
  );
});
