/** The machines of the RDMA data path, input by input. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RdmaDestination } from '../../src/protocols/rdma/destination.ts';
import { RdmaSource } from '../../src/protocols/rdma/source.ts';
import type { DestinationEffect, SourceEffect } from '../../src/protocols/rdma/types.ts';

/** `write 1/3 [0,1]`: the effect, its path and chunk, its pages. */
function told(effects: readonly (SourceEffect | DestinationEffect)[]): string[] {
  return effects.map((effect) => {
    const { type, ...rest } = effect as { type: string } & Record<string, unknown>;
    const { path, seq, pages, isOn } = rest as Record<string, number | readonly number[]>;
    const where = [path, seq].filter((each) => each !== undefined).join('/');
    const which = pages === undefined ? '' : JSON.stringify(pages);
    return [type, where, which, isOn ?? ''].filter((each) => each !== '').join(' ');
  });
}

function source(slots: number = 4): RdmaSource {
  const machine = new RdmaSource({ slots, pagesPerChunk: 2 });
  machine.step({ type: 'open', path: 0, kind: 'tcp', depth: 4 });
  machine.step({ type: 'open', path: 1, kind: 'queuePair', depth: 2 });
  return machine;
}

test('pages go on queue pairs, data before doorbell, as many as there are slots', () => {
  const machine = source(2);
  assert.deepEqual(told(machine.step({ type: 'send', pages: [0, 1, 2, 3, 4] })), [
    ...['write 1/1 [0,1]', 'ring 1/1 [0,1]', 'write 1/2 [2,3]', 'ring 1/2 [2,3]'],
  ]);
  assert.equal(machine.freeSlots, 0);
  assert.deepEqual(told(machine.step({ type: 'completed', path: 1, seq: 1, isOk: true })), []);
  assert.deepEqual(told(machine.step({ type: 'landed', seq: 1 })), [
    ...['write 1/3 [4]', 'ring 1/3 [4]'],
  ]);
  machine.step({ type: 'landed', seq: 2 });
  assert.deepEqual(told(machine.step({ type: 'landed', seq: 3 })), ['allLanded']);
  assert.equal(machine.freeSlots, 2);
});

test('a chunk of a queue pair that failed goes another way only after the destination drained', () => {
  const machine = source();
  machine.step({ type: 'send', pages: [0, 1, 2] });
  assert.deepEqual(told(machine.step({ type: 'broken', path: 1 })), ['toError 1', 'askDrain 1']);
  assert.deepEqual(told(machine.step({ type: 'completed', path: 1, seq: 1, isOk: false })), []);
  assert.deepEqual(told(machine.step({ type: 'send', pages: [1, 5] })), [
    ...['fellBack true', 'sendFrame 0/3 [5]'],
  ]);
  machine.step({ type: 'landed', seq: 1 });
  assert.deepEqual(told(machine.step({ type: 'drained', path: 1 })), ['sendFrame 0/5 [2]']);
  assert.equal(machine.chunksUnderWay, 3);
  assert.deepEqual(told(machine.step({ type: 'completed', path: 1, seq: 2, isOk: false })), [
    'retired 1',
  ]);
});

test('queue pairs are used again as soon as one stands', () => {
  const machine = source();
  machine.step({ type: 'broken', path: 1 });
  machine.step({ type: 'drained', path: 1 });
  machine.step({ type: 'send', pages: [0] });
  machine.step({ type: 'open', path: 2, kind: 'queuePair', depth: 1 });
  assert.deepEqual(told(machine.step({ type: 'send', pages: [1] })), [
    ...['fellBack false', 'write 2/2 [1]', 'ring 2/2 [1]'],
  ]);
});

test('a page is never under way twice: its newer version waits until the older one landed', () => {
  const machine = source();
  machine.step({ type: 'send', pages: [7] });
  assert.deepEqual(told(machine.step({ type: 'send', pages: [7, 7] })), []);
  assert.deepEqual(told(machine.step({ type: 'landed', seq: 1 })), [
    ...['write 1/2 [7]', 'ring 1/2 [7]'],
  ]);
});

test('the region is given back when all work of all queue pairs completed, flushed or not', () => {
  const machine = source();
  machine.step({ type: 'send', pages: [0, 1, 2] });
  assert.deepEqual(told(machine.step({ type: 'finish' })), ['toError 1']);
  machine.step({ type: 'landed', seq: 1 });
  machine.step({ type: 'landed', seq: 2 });
  const first = machine.step({ type: 'completed', path: 1, seq: 1, isOk: true });
  assert.deepEqual(told(first), []);
  const last = machine.step({ type: 'completed', path: 1, seq: 2, isOk: false });
  assert.ok(told(last).includes('freeRegion'), told(last).join());
});

test('a destination says drained once its end is flushed, and before that what landed', () => {
  const machine = new RdmaDestination();
  assert.deepEqual(told(machine.step({ type: 'open', path: 1, receives: 2 })), [
    ...['postReceive 1', 'postReceive 1'],
  ]);
  assert.deepEqual(told(machine.step({ type: 'rung', path: 1, seq: 1, pages: [0] })), [
    ...['tellLanded 1', 'postReceive 1'],
  ]);
  assert.deepEqual(told(machine.step({ type: 'askedToDrain', path: 1 })), ['toError 1']);
  assert.deepEqual(told(machine.step({ type: 'rung', path: 1, seq: 2, pages: [1] })), [
    'tellLanded 2',
  ]);
  assert.deepEqual(told(machine.step({ type: 'flushed', path: 1 })), [
    ...['tellDrained 1', 'destroy 1'],
  ]);
  assert.deepEqual(told(machine.step({ type: 'askedToDrain', path: 1 })), []);
});

test('before a commit: every queue pair destroyed, then the keys, then the tracker', () => {
  const machine = new RdmaDestination();
  machine.step({ type: 'open', path: 1, receives: 1 });
  machine.step({ type: 'open', path: 2, receives: 1 });
  machine.step({ type: 'broken', path: 2 });
  assert.deepEqual(told(machine.step({ type: 'revoke' })), [
    ...['toError 1', 'destroy 1', 'destroy 2'],
  ]);
  assert.deepEqual(told(machine.step({ type: 'frame', seq: 9, pages: [3] })), []);
  assert.deepEqual(told(machine.step({ type: 'destroyed', path: 2 })), []);
  assert.deepEqual(told(machine.step({ type: 'destroyed', path: 1 })), ['invalidateKeys']);
  assert.equal(machine.isRevoked, false);
  assert.deepEqual(told(machine.step({ type: 'keysInvalid' })), ['armTracker', 'revoked']);
  assert.equal(machine.isRevoked, true);
  assert.deepEqual(told(machine.step({ type: 'revoke' })), []);
});
