import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LINK_MODES, type LinkMode } from '../../src/ports/link-mode.ts';
import {
  type ModeDecision,
  ModeGovernor,
  type ModePolicy,
  type ModeView,
} from '../../src/protocols/link/mode-governor.ts';

const SECOND_US = 1_000_000;
const MINUTE_US = 60 * SECOND_US;

function view(mode: LinkMode | null, policy: ModePolicy = 'auto'): ModeView {
  return { policy, verdict: mode === null ? null : { mode, reason: 'measured', sinceUs: 0 } };
}

const NONE = view(null);

/** Decides, and does what was decided. */
function drive(
  governor: ModeGovernor,
  nowUs: number,
  own: ModeView,
  peer: ModeView = NONE,
): ModeDecision | null {
  const decision = governor.decide(nowUs, own, peer);
  if (decision !== null) governor.changed(nowUs, decision.to, decision.forced);
  return decision;
}

test('a mode that was only assumed is left at once, one that was chosen lasts a minute', () => {
  const governor = new ModeGovernor('datacenter');
  assert.equal(drive(governor, 0, view('internet'))?.to, 'internet');
  assert.equal(drive(governor, 59 * SECOND_US, view('datacenter')), null);
  assert.equal(drive(governor, 60 * SECOND_US, view('datacenter'))?.to, 'datacenter');
});

test('after a change that failed it waits before it tries again', () => {
  const governor = new ModeGovernor('datacenter');
  governor.failed(0);
  assert.equal(drive(governor, 29 * SECOND_US, view('internet')), null);
  assert.equal(drive(governor, 30 * SECOND_US, view('internet'))?.to, 'internet');
});

test('an operator is obeyed at once, from either side, and the more cautious of two', () => {
  const governor = new ModeGovernor('datacenter');
  drive(governor, 0, view('hybrid'));
  const forced = drive(governor, 1, view('datacenter', 'internet'));
  assert.deepEqual([forced?.to, forced?.forced, forced?.sinceUs], ['internet', true, null]);
  assert.equal(drive(governor, 2, view('datacenter', 'hybrid'))?.to, 'hybrid');
  assert.equal(drive(governor, 3, view(null, 'hybrid'), view(null, 'internet'))?.to, 'internet');
  assert.match(drive(governor, 4, NONE, view(null, 'hybrid'))?.reason ?? '', /at the peer/);
  assert.equal(drive(governor, 5, view('internet', 'hybrid')), null, 'it is there already');
});

test('a way is as bad as its worse direction', () => {
  const governor = new ModeGovernor('hybrid');
  const decision = governor.decide(0, view('datacenter'), view('internet'));
  assert.equal(decision?.to, 'internet');
  assert.match(decision?.reason ?? '', /measured by the peer/);
  assert.equal(governor.decide(0, view('datacenter'), view('hybrid')), null);
});

test('however a link flaps, it changes at most so often in any minute, and stays as long as it must', () => {
  const verdicts = fc.array(
    fc.record({
      waitUs: fc.nat(20 * SECOND_US),
      own: fc.constantFrom(null, ...LINK_MODES),
      peer: fc.constantFrom(null, ...LINK_MODES),
      fails: fc.boolean(),
    }),
    { minLength: 20, maxLength: 200 },
  );
  const limits = fc.record({
    minStayMs: fc.nat(30_000),
    coolDownMs: fc.nat(10_000),
    maxPerMinute: fc.integer({ min: 1, max: 5 }),
  });
  fc.assert(
    fc.property(limits, verdicts, (allowed, changes) => {
      const governor = new ModeGovernor('datacenter', allowed);
      const changedUs: number[] = [];
      let nowUs = 0;
      for (const { waitUs, own, peer, fails } of changes) {
        nowUs += waitUs;
        const decision = governor.decide(nowUs, view(own), view(peer));
        if (decision === null) continue;
        if (fails) governor.failed(nowUs);
        else {
          governor.changed(nowUs, decision.to, false);
          changedUs.push(nowUs);
        }
      }
      for (const [index, at] of changedUs.entries()) {
        const within = changedUs.filter((each) => each >= at && each - at < MINUTE_US);
        assert.ok(within.length <= allowed.maxPerMinute, `${within.length} in a minute`);
        const next = changedUs[index + 1];
        if (next !== undefined) assert.ok(next - at >= allowed.minStayMs * 1000);
        if (next !== undefined) assert.ok(next - at >= allowed.coolDownMs * 1000);
      }
    }),
    { numRuns: 500 },
  );
});
