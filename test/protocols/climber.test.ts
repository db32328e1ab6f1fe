import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClimberEffect, StreamClimber } from '../../src/protocols/link/climber.ts';

const SECOND_US = 1_000_000;

/** A wire whose lanes have the given speeds; answers how the climber changed them, in order. */
function climb(
  lanes: number[],
  speedOf: (lane: number, count: number) => number,
  seconds: number,
  saturated = true,
): { readonly counts: number[]; readonly effects: ClimberEffect[] } {
  const climber = new StreamClimber({ streamsMin: 1, streamsMax: 16, restUs: 60 * SECOND_US });
  const effects: ClimberEffect[] = [];
  const counts: number[] = [];
  let next = Math.max(...lanes, -1) + 1;
  for (let second = 0; second < seconds; second += 1) {
    const now = climber.step({
      ...{ nowUs: second * SECOND_US, elapsedUs: SECOND_US, saturated },
      lanes: lanes.map((lane) => ({ lane, ackedBytes: speedOf(lane, lanes.length) })),
    });
    effects.push(...now);
    for (const effect of now) {
      if (effect.type === 'addLane') lanes.push(next++);
      else lanes.splice(lanes.indexOf(effect.lane), 1);
    }
    counts.push(lanes.length);
  }
  return { counts, effects };
}

test('streams are added while each brings more than 5 %, and the useless one is taken back', () => {
  // Each lane carries 100 MB/s until the wire is full at 450 MB/s.
  const { counts } = climb([0], (_lane, count) => Math.min(100e6, 450e6 / count), 55);
  assert.equal(Math.max(...counts), 6);
  assert.equal(counts.at(-1), 5);
});

test('a gain of 4 % is not worth a stream, one of 6 % is', () => {
  const gaining = (gain: number) => (_lane: number, count: number) =>
    (100e6 * (1 + gain) ** (count - 1)) / count;
  assert.equal(climb([0], gaining(0.04), 30).counts.at(-1), 1);
  assert.equal(climb([0], gaining(0.06), 60).counts.at(-1), 16);
});

test('the number of streams is never above its bound', () => {
  const { counts } = climb([0], () => 100e6, 200);
  assert.equal(Math.max(...counts), 16);
  assert.equal(counts.at(-1), 16);
});

test('a lane slower than a quarter of the best is dropped, one just above it stays', () => {
  const slow = (part: number) => (lane: number) => (lane === 1 ? part * 100e6 : 100e6);
  const [first] = climb([0, 1, 2], slow(0.24), 4).effects;
  assert.ok(first?.type === 'dropLane' && first.lane === 1);
  assert.match(first.reason, /24 % of the best/);
  assert.equal(climb([0, 1, 2], slow(0.26), 4).effects[0]?.type, 'addLane');
});

test('one hiccup drops nothing', () => {
  let asked = 0;
  const hiccup = (lane: number): number => {
    asked += 1;
    return lane === 1 && asked < 4 ? 0 : 100e6;
  };
  const { effects } = climb([0, 1, 2], hiccup, 4);
  assert.ok(effects.every(({ type }) => type === 'addLane'));
});

test('a link with nothing to send neither climbs nor drops', () => {
  assert.deepEqual(climb([0, 1], (lane) => lane * 100, 100, false).effects, []);
});

test('the last stream is never dropped, and a lost one is asked for again', () => {
  assert.deepEqual(
    climb([0], () => 0, 3).effects.filter(({ type }) => type === 'dropLane'),
    [],
  );
  assert.equal(climb([], () => 100e6, 1).effects[0]?.type, 'addLane');
});

test('after a vain try it rests before it tries again', () => {
  const { effects } = climb([0], (_lane, count) => 100e6 / count, 200);
  const tries = effects.filter(({ type }) => type === 'addLane').length;
  assert.ok(tries >= 3 && tries <= 4, `${tries} tries in 200 s`);
});

test('on a lossy way, where each stream is slow, it climbs to the many streams that fill it', () => {
  // 25 MB/s, of which a stream alone gets 0.4 MB/s: 63 streams fill it.
  const lanes = [0, 1, 2, 3];
  const speedOf = (_lane: number, count: number): number => Math.min(0.4e6, 25e6 / count);
  const climber = new StreamClimber({ streamsMin: 1, streamsMax: 128, restUs: 60 * SECOND_US });
  let next = 4;
  for (let second = 0; second < 60; second += 1) {
    const effects = climber.step({
      ...{ nowUs: second * SECOND_US, elapsedUs: SECOND_US, saturated: true },
      lanes: lanes.map((lane) => ({ lane, ackedBytes: speedOf(lane, lanes.length) })),
    });
    for (const effect of effects) {
      if (effect.type === 'addLane') lanes.push(next++);
      else lanes.splice(lanes.indexOf(effect.lane), 1);
    }
  }
  const goodput = lanes.length * speedOf(0, lanes.length);
  assert.ok(goodput >= 0.9 * 25e6, `${lanes.length} streams carry ${goodput}`);
  assert.ok(lanes.length < 100, `${lanes.length} streams are more than the way needs`);
});
