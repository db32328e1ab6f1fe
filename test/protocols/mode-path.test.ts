import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BulkPathFacts } from '../../src/ports/transport.ts';
import { type PathInput, PathMeter, type PathSample } from '../../src/protocols/link/mode-path.ts';

const SECOND_US = 1_000_000;
const NOTHING: BulkPathFacts = {
  ...{ streams: 4, rttUs: 30_000, rttMinUs: 20_000, rttVarUs: 500, segmentsSent: 0 },
  ...{ segmentsResent: 0, busyUs: 0, heldUs: 0, ackedBytes: 0, idlePulls: 0 },
};
/** What a second on four streams that never lacked anything to send adds. */
const BUSY = { ackedBytes: 50e6, busyUs: 4e6, segmentsSent: 1000, segmentsResent: 10 };

/** The sample of one second in which the counters grew by this. */
function second(growth: Partial<BulkPathFacts>, more: Partial<PathInput> = {}): PathSample | null {
  const meter = new PathMeter();
  const given = { pingUs: null, limitBytesPerSec: 0, ...more };
  assert.equal(
    meter.sample({ ...given, nowUs: 0, facts: NOTHING }),
    null,
    'one look is no interval',
  );
  return meter.sample({ ...given, nowUs: SECOND_US, facts: { ...NOTHING, ...growth } });
}

test('a link that was full for all of the time bounds its rate from both sides', () => {
  assert.deepEqual(second(BUSY)?.bytesPerSec, { least: 50e6, most: 50e6 });
});

test('what held the sender back is no evidence of a slow way', () => {
  const only = { least: 50e6, most: null };
  const idle = second({ ...BUSY, idlePulls: 1 });
  assert.deepEqual(idle?.bytesPerSec, only, 'it found nothing to send');
  const starved = second({ ...BUSY, busyUs: 3e6 });
  assert.deepEqual(starved?.bytesPerSec, only, 'its sockets ran empty');
  const held = second({ ...BUSY, heldUs: 1e6 });
  assert.deepEqual(held?.bytesPerSec, only, 'the peer did not read');
  const paced = second(BUSY, { limitBytesPerSec: 51e6 });
  assert.deepEqual(paced?.bytesPerSec, only, 'its operator limited it');
});

test('an idle link knows nothing of its rate, and its round trip from pings alone', () => {
  const silent = second({});
  assert.deepEqual(silent?.bytesPerSec, { least: null, most: null });
  assert.deepEqual(
    silent?.rttUs,
    { least: null, most: null },
    'what the kernel has is of long ago',
  );
  assert.deepEqual(second({}, { pingUs: 700 })?.rttUs, { least: 700, most: 700 });
});

test('under our own load a round trip only says that the way is not longer', () => {
  assert.deepEqual(second(BUSY)?.rttUs, { least: 20_000, most: 30_000 });
  const light = second({ ...BUSY, idlePulls: 5 });
  assert.deepEqual(light?.rttUs, { least: 30_000, most: 30_000 });
});

test('loss is what was sent again of what was sent', () => {
  assert.equal(second(BUSY)?.lossShare, 0.01);
  assert.equal(second({})?.lossShare, null);
});

test('an interval in which a stream came, went, or began anew says nothing', () => {
  assert.equal(second({ ...BUSY, streams: 5 }), null);
  assert.equal(second({ ...BUSY, ackedBytes: -1 }), null);
  assert.equal(second({ ...BUSY, segmentsSent: -1 }), null);
});
