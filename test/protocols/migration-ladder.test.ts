import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MigrationWorld, type WorldOptions } from '../../sim/hypervisor/migration-world.ts';
import type { RoundReport } from '../../src/ports/hypervisor.ts';
import { ROUNDS_MAX } from '../../src/protocols/migration/convergence.ts';
import {
  ConvergenceLadder,
  type LadderDecision,
  type LadderHelp,
} from '../../src/protocols/migration/ladder.ts';
import { LOW_POINT_ROUNDS } from '../../src/protocols/migration/ladder-trend.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../../src/util/errors.ts';

const MB = 1e6;
const MEMORY = 1000 * MB;
/** Two helps of the link, four throttles, two raises of the downtime, and the end. */
const LADDER_LENGTH = 9;

/** A guest and its way, as simple as they come: what each step of the ladder would change is drawn. */
interface Trace {
  /** Of consecutive rounds, over and over. */
  readonly dirtyBytesPerSec: readonly number[];
  readonly wireBytesPerSec: number;
  /** By which encoding and streams multiply what the wire carries; null: not possible here. */
  readonly codecGain: number | null;
  readonly streamsGain: number | null;
  readonly canThrottle: boolean;
  readonly maxDowntimeMs: number;
  readonly maxDowntimeCeilingMs: number;
  readonly throttlePercentMax: number;
  readonly mayPostcopy?: boolean;
}

interface Ending {
  readonly decision: LadderDecision;
  readonly rounds: number;
  /** What each round left. */
  readonly left: readonly number[];
  /** What the last of them needs at the rate that it was measured with. */
  readonly neededMs: number;
  readonly ladder: ConvergenceLadder;
  readonly helps: readonly LadderHelp[];
}

const UNSUPPORTED: Outcome<void> = failed(new DwcpError('ERR_DWCP_UNSUPPORTED', 'not here'));

function run(trace: Trace): Ending {
  const ladder = new ConvergenceLadder(trace);
  const helps: LadderHelp[] = [];
  const left: number[] = [];
  let wire = trace.wireBytesPerSec;
  let speed = 1;
  let toSend = MEMORY;
  for (let round = 1; ; round += 1) {
    assert.ok(round <= ROUNDS_MAX + LADDER_LENGTH, 'it always ends');
    const elapsedUs = Math.max(1, Math.round((toSend / wire) * 1e6));
    const dirties = trace.dirtyBytesPerSec[round % trace.dirtyBytesPerSec.length] ?? 0;
    const dirty = dirties * speed;
    const remainingBytes = Math.min(MEMORY, Math.round((dirty * elapsedUs) / 1e6));
    left.push(remainingBytes);
    let decision = ladder.afterRound({
      ...{ round, sentBytes: toSend, elapsedUs, remainingBytes, dirtyBytesPerSec: dirty },
      ...{ maxBytesPerSec: 0, stopped: false },
    });
    while (decision.action === 'help') {
      const { help } = decision;
      helps.push(help);
      const factor = help.type === 'compress' ? trace.codecGain : trace.streamsGain;
      const isDone = help.type === 'throttle' ? trace.canThrottle : factor !== null;
      if (help.type !== 'throttle') wire *= factor ?? 1;
      else if (trace.canThrottle) speed = 1 - help.percent / 100;
      const { next } = ladder.helped(isDone ? succeeded(undefined) : UNSUPPORTED);
      if (next === null) break;
      decision = next;
    }
    const rate = (toSend / elapsedUs) * 1e6;
    const neededMs = remainingBytes === 0 ? 0 : Math.ceil((remainingBytes / rate) * 1000);
    const ending = { decision, rounds: round, left, neededMs, ladder, helps };
    if (decision.action !== 'round' && decision.action !== 'help') return ending;
    toSend = Math.max(4096, remainingBytes);
  }
}

const gain = fc.option(fc.double({ min: 0.5, max: 4, noNaN: true }), { nil: null });
const traces: fc.Arbitrary<Trace> = fc
  .record({
    dirtyBytesPerSec: fc.array(fc.integer({ min: 0, max: 2000 * MB }), {
      minLength: 1,
      maxLength: 8,
    }),
    wireBytesPerSec: fc.integer({ min: 1 * MB, max: 2000 * MB }),
    ...{ codecGain: gain, streamsGain: gain, canThrottle: fc.boolean() },
    maxDowntimeMs: fc.integer({ min: 0, max: 1000 }),
    more: fc.integer({ min: 0, max: 2000 }),
    throttlePercentMax: fc.constantFrom(0, 20, 60, 99),
  })
  .map(({ more, ...rest }) => ({ ...rest, maxDowntimeCeilingMs: rest.maxDowntimeMs + more }));

const HOPELESS: Trace = {
  ...{ dirtyBytesPerSec: [1200 * MB], wireBytesPerSec: 1000 * MB, maxDowntimeMs: 300 },
  ...{ codecGain: null, streamsGain: null, canThrottle: true },
  ...{ maxDowntimeCeilingMs: 300, throttlePercentMax: 0 },
};

describe('the convergence ladder', () => {
  it('always ends, and never stops a guest for longer than is allowed', () => {
    fc.assert(
      fc.property(traces, (trace) => {
        const { decision, neededMs, ladder } = run(trace);
        assert.ok(ladder.maxDowntimeMs >= trace.maxDowntimeMs);
        assert.ok(ladder.maxDowntimeMs <= trace.maxDowntimeCeilingMs);
        if (decision.action === 'abort') return;
        assert.ok(neededMs <= ladder.maxDowntimeMs, `${neededMs} ms, ${ladder.maxDowntimeMs} ms`);
      }),
      { numRuns: 2000 },
    );
  });

  it('stops at a low point of what is left, or once it waited long enough for one', () => {
    fc.assert(
      fc.property(traces, (trace) => {
        const { decision, left, neededMs } = run(trace);
        if (decision.action !== 'stopAndCopy' || neededMs <= 8) return;
        const last = left.at(-1) ?? 0;
        const least = Math.min(...left.slice(-LOW_POINT_ROUNDS));
        const isLow = last <= least * 1.1;
        const waited = left.length > LOW_POINT_ROUNDS;
        assert.ok(isLow || waited, left.join(' '));
      }),
      { numRuns: 2000 },
    );
  });

  it('judges the wire by rounds that had something to send', () => {
    const limits = { maxDowntimeMs: 300, maxDowntimeCeilingMs: 300, throttlePercentMax: 0 };
    const ladder = new ConvergenceLadder(limits);
    const round = { elapsedUs: 1e5, dirtyBytesPerSec: 0, maxBytesPerSec: 0, stopped: false };
    const first = { ...round, round: 1, sentBytes: 64 * MB, remainingBytes: 80 * MB };
    assert.equal(ladder.afterRound(first).action, 'round');
    // The destination had all of it already.
    const second = { ...round, round: 2, sentBytes: 0, remainingBytes: 73_728 };
    assert.equal(ladder.afterRound(second).action, 'stopAndCopy');
  });

  it('catches a workload that breathes at the bottom of its breath', () => {
    // Quiet in every fourth round; what was quiet leaves little, what follows leaves a lot.
    const breath = [900, 900, 900, 100].map((rate) => rate * MB);
    const found = run({ ...HOPELESS, dirtyBytesPerSec: breath });
    assert.equal(found.decision.action, 'stopAndCopy');
    const lows = found.left.slice(-LOW_POINT_ROUNDS);
    assert.ok((found.left.at(-1) ?? 0) <= Math.min(...lows) * 1.1, found.left.join(' '));
    assert.deepEqual(found.helps, [], 'nothing else was needed');
  });

  it('takes its steps in order, each after the one before it did not help', () => {
    const ladder = { throttlePercentMax: 60, maxDowntimeCeilingMs: 400 };
    const {
      decision,
      helps,
      ladder: used,
    } = run({
      ...{ ...HOPELESS, dirtyBytesPerSec: [9000 * MB], codecGain: 1, streamsGain: 1 },
      ...ladder,
    });
    assert.equal(decision.action, 'abort');
    assert.deepEqual(helps, [
      ...[{ type: 'compress' }, { type: 'streams' }],
      ...[25, 50, 60].map((percent) => ({ type: 'throttle', percent })),
    ]);
    assert.deepEqual(used.steps, [
      'encode harder',
      'more streams',
      'slow the guest down by 25 %',
      'slow the guest down by 50 %',
      'slow the guest down by 60 %',
      '400 ms of downtime instead of 300 ms',
    ]);
    assert.ok(decision.action === 'abort');
    assert.equal(decision.error.code, 'ERR_DWCP_NOT_CONVERGING');
    assert.match(decision.error.message, /tried: encode harder; more streams/);
  });

  it('takes post-copy in the place of giving up, last of all, where that is allowed', () => {
    const raised = { ...HOPELESS, maxDowntimeCeilingMs: 301, dirtyBytesPerSec: [9000 * MB] };
    const { decision, ladder } = run({ ...raised, mayPostcopy: true });
    assert.equal(decision.action, 'postcopy');
    assert.deepEqual(ladder.steps.slice(-2), ['301 ms of downtime instead of 300 ms', 'post-copy']);
    assert.match(decision.reason, /^post-copy: \d+ rounds did not get below/);
    assert.equal(run(raised).decision.action, 'abort');
  });

  it('stops climbing as soon as a step helped', () => {
    const compressed = run({ ...HOPELESS, codecGain: 3 });
    assert.equal(compressed.decision.action, 'stopAndCopy');
    assert.deepEqual(compressed.helps, [{ type: 'compress' }]);
    const slowed = run({ ...HOPELESS, throttlePercentMax: 99 });
    assert.equal(slowed.decision.action, 'stopAndCopy');
    assert.deepEqual(slowed.helps.slice(2), [
      { type: 'throttle', percent: 25 },
      ...slowed.helps.slice(3),
    ]);
    assert.ok(slowed.helps.length < 6, 'not to its end');
  });

  it('leaves the guest its speed and its downtime unless the operator gave leave', () => {
    const { decision, helps, ladder } = run(HOPELESS);
    assert.equal(decision.action, 'abort');
    assert.deepEqual(
      helps.map(({ type }) => type),
      ['compress', 'streams'],
    );
    assert.equal(ladder.maxDowntimeMs, 300);
    assert.match(ladder.steps.join('\n'), /encode harder: not possible, not here/);
  });

  it('asks no second time to slow down a guest that cannot be', () => {
    const { helps } = run({ ...HOPELESS, canThrottle: false, throttlePercentMax: 99 });
    assert.equal(helps.filter(({ type }) => type === 'throttle').length, 1);
  });

  it('raises the downtime to what the low point needs, and not to all that is allowed', () => {
    const found = run({
      ...{ ...HOPELESS, dirtyBytesPerSec: [1000 * MB], wireBytesPerSec: 1000 * MB },
      maxDowntimeCeilingMs: 5000,
    });
    assert.equal(found.decision.action, 'stopAndCopy');
    assert.equal(found.ladder.maxDowntimeMs, 1100);
    assert.match(found.decision.reason, /^1100 ms of downtime instead of 300 ms: 3 rounds did not/);
  });
});

describe('a source on the ladder', () => {
  const stuck: RoundReport = {
    ...{ sentPages: 25_600, remainingBytes: 100 * 2 ** 20, elapsedUs: 1e6, stopped: false },
  };
  const world = (options: Partial<WorldOptions>): MigrationWorld =>
    new MigrationWorld({ verify: 'off', pageCount: 1_000, roundReport: () => stuck, ...options });

  it('gives up with the guest running where it was', () => {
    const moved = world({ helped: () => UNSUPPORTED });
    while (moved.advance(0));
    assert.equal(moved.settledBy, 'stayed');
    assert.equal(moved.source.failure?.code, 'ERR_DWCP_NOT_CONVERGING');
    assert.match(moved.source.failure?.message ?? '', /tried: encode harder: not possible/);
    assert.deepEqual(moved.guest.copies, { source: 'running', destination: 'absent' });
  });

  it('goes on once a step helped, and keeps what it tried', () => {
    let slowed = false;
    const moved = world({
      roundReport: () => (slowed ? { ...stuck, remainingBytes: 4096 } : stuck),
      helped: (help) => {
        slowed ||= help.type === 'throttle';
        return help.type === 'throttle' ? succeeded(undefined) : UNSUPPORTED;
      },
      ladder: { throttlePercentMax: 50, maxDowntimeCeilingMs: 300 },
    });
    while (moved.advance(0));
    assert.equal(moved.settledBy, 'moved');
    assert.equal(moved.source.ladderSteps.at(-1), 'slow the guest down by 25 %');
  });

  it('is cancelled, and cut, while it waits for a step', () => {
    for (const fault of ['cancel', 'cut'] as const) {
      const moved = world({});
      while (!moved.source.reason.startsWith('encode harder: ')) assert.ok(moved.advance(0));
      if (fault === 'cancel') moved.inject('cancel');
      else moved.linkDown();
      for (let turn = 0; turn < 5; turn += 1) moved.advance(0);
      if (fault === 'cut') moved.linkUp();
      while (moved.advance(0));
      assert.equal(moved.settledBy, 'stayed');
      assert.equal(moved.guest.copies.source, 'running');
    }
  });
});
