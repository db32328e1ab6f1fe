import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LinkAction, LinkReceiveCore, LinkSendCore } from '../../src/native.ts';

const CHUNK_BYTES = 100;
const WINDOW_BYTES = 450;
const PAGES = 6;
const STREAMS = 3;

interface Ack {
  readonly cumulative: number;
  readonly creditBytes: number;
  readonly landed: readonly number[];
}

/** Deliberately dumb: a set of what landed and the newest sequence of every page. */
class Model {
  readonly landed = new Set<number>();
  readonly pages: number[] = new Array(PAGES).fill(0);

  cumulative(): number {
    let seq = 0;
    while (this.landed.has(seq + 1)) seq += 1;
    return seq;
  }

  /** Pages that this chunk may write. */
  land(seq: number, pages: readonly number[]): number[] {
    if (this.landed.has(seq)) return [];
    this.landed.add(seq);
    const written = pages.filter((page) => (this.pages[page] ?? 0) < seq);
    for (const page of written) this.pages[page] = seq;
    return written;
  }
}

const pagesOf = (seq: number): number[] => [seq % PAGES, (seq * 5 + 1) % PAGES].sort();

const step = fc.record({
  kind: fc.constantFrom('pull', 'deliver', 'duplicate', 'ack', 'oldAck', 'streamDown'),
  stream: fc.nat(STREAMS - 1),
  pick: fc.nat(1000),
});

test('any order of chunks, acks, duplicates and dead streams ends with everything landed once', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const sender = new LinkSendCore(WINDOW_BYTES);
      const receiver = new LinkReceiveCore(WINDOW_BYTES, PAGES);
      const model = new Model();
      const wires: number[][] = Array.from({ length: STREAMS }, () => []);
      const acks: Ack[] = [];
      const delivered: number[] = [];
      const released = new Set<number>();
      let staged = 0;

      const pull = (stream: number): LinkAction => {
        const [action] = sender.step({ type: 'pull', stream, bytes: CHUNK_BYTES });
        assert.ok(action);
        if (action.type === 'idle') return action;
        const seq = action.seq ?? 0;
        assert.ok(!released.has(seq), 'a released chunk was sent again');
        if (action.reinjected !== true) {
          staged += 1;
          assert.equal(seq, staged);
          const outstanding = staged - released.size;
          const credit = acks.at(-1)?.creditBytes ?? 0;
          const within =
            outstanding * CHUNK_BYTES <= WINDOW_BYTES && staged * CHUNK_BYTES <= credit;
          assert.ok(within || outstanding === 1, 'sent beyond window or credit');
        }
        wires[stream]?.push(seq);
        return action;
      };
      const deliver = (seq: number): void => {
        const pages = pagesOf(seq).filter((page, index, all) => all.indexOf(page) === index);
        const actions = receiver.step({ type: 'chunk', seq, bytes: CHUNK_BYTES, pages });
        const wanted = model.land(seq, pages);
        const written = actions.filter(({ type }) => type === 'writePage').map(({ page }) => page);
        assert.deepEqual(written, wanted);
        const ack = actions.find(({ type }) => type === 'ack') as unknown as Ack;
        assert.equal(ack.cumulative, model.cumulative());
        assert.equal(ack.creditBytes, model.cumulative() * CHUNK_BYTES + WINDOW_BYTES);
        assert.deepEqual(
          ack.landed,
          [...model.landed].filter((s) => s > ack.cumulative).sort((a, b) => a - b),
        );
        acks.push(ack);
        delivered.push(seq);
      };
      const acknowledge = (ack: Ack): void => {
        for (const action of sender.step({ type: 'ack', ...ack })) {
          assert.equal(action.type, 'release');
          assert.ok(model.landed.has(action.seq ?? 0), 'released what never landed');
          assert.ok(!released.has(action.seq ?? 0), 'released twice');
          released.add(action.seq ?? 0);
        }
      };
      const streamDown = (stream: number): void => {
        wires[stream]?.splice(0);
        sender.step({ type: 'streamDown', stream });
      };

      for (const { kind, stream, pick } of steps) {
        const wire = wires[stream] ?? [];
        if (kind === 'pull') pull(stream);
        else if (kind === 'streamDown') streamDown(stream);
        else if (kind === 'deliver' && wire.length > 0) deliver(wire.shift() ?? 0);
        else if (kind === 'duplicate' && delivered.length > 0) {
          deliver(delivered[pick % delivered.length] ?? 1);
        } else if (kind === 'ack' && acks.length > 0) acknowledge(acks.at(-1) as Ack);
        else if (kind === 'oldAck' && acks.length > 0) acknowledge(acks[pick % acks.length] as Ack);
      }
      // Whatever happened, one good stream is enough: no state in which both sides wait.
      for (let s = 0; s < STREAMS; s++) streamDown(s);
      const goal = staged + 3;
      for (let round = 0; released.size < goal; round++) {
        assert.ok(round < 2000, 'both sides wait');
        if (staged < goal || released.size < staged) pull(0);
        for (const seq of (wires[0] ?? []).splice(0)) deliver(seq);
        if (acks.length > 0) acknowledge(acks.at(-1) as Ack);
      }
      assert.ok(staged >= goal);
    }),
    { numRuns: 300 },
  );
});

test('an acknowledgement of what was never staged is refused', () => {
  const sender = new LinkSendCore(WINDOW_BYTES);
  assert.deepEqual(
    sender.step({ type: 'ack', cumulative: 1, creditBytes: 0, landed: [] }).map((a) => a.type),
    ['refuse'],
  );
});

const typesOf = (actions: readonly LinkAction[]): string[] => actions.map(({ type }) => type);
const ackOf = (cumulative: number, landed: number[] = []): object => ({
  ...{ type: 'ack', cumulative, creditBytes: 10 * WINDOW_BYTES, landed },
});

test('a chunk that is still being built is nobody to acknowledge, in order or beyond', () => {
  const sender = new LinkSendCore(WINDOW_BYTES);
  sender.step(ackOf(0));
  assert.deepEqual(sender.step({ type: 'reserve', stream: 0, bytes: 200 }), [
    { type: 'build', seq: 1 },
  ]);
  assert.deepEqual(typesOf(sender.step(ackOf(1))), ['refuse']);
  assert.deepEqual(typesOf(sender.step(ackOf(0, [1]))), ['refuse']);
  assert.deepEqual(sender.step({ type: 'streamDown', stream: 0 }), [
    { type: 'reinject', count: 0 },
  ]);
  sender.step({ type: 'built', seq: 1, bytes: CHUNK_BYTES });
  assert.deepEqual(sender.step(ackOf(1)), [{ type: 'release', seq: 1 }]);
});

test('what a built chunk did not need is room again', () => {
  const sender = new LinkSendCore(WINDOW_BYTES);
  sender.step(ackOf(0));
  const reserve = { type: 'reserve', stream: 0, bytes: 400 };
  sender.step(reserve);
  assert.deepEqual(typesOf(sender.step(reserve)), ['idle']);
  sender.step({ type: 'built', seq: 1, bytes: 50 });
  assert.deepEqual(typesOf(sender.step(reserve)), ['build']);
});

test('a limit holds new chunks back, but never the one after the cumulative', () => {
  const sender = new LinkSendCore(WINDOW_BYTES);
  sender.step(ackOf(0));
  sender.step({ type: 'limit', bytes: CHUNK_BYTES / 2 });
  const pull = { type: 'pull', stream: 0, bytes: CHUNK_BYTES };
  assert.deepEqual(typesOf(sender.step(pull)), ['send']);
  assert.deepEqual(typesOf(sender.step(pull)), ['idle']);
  sender.step({ type: 'limit', bytes: WINDOW_BYTES });
  assert.deepEqual(typesOf(sender.step(pull)), ['send']);
});

test('a chunk too far ahead or with a page outside of the region is refused', () => {
  const receiver = new LinkReceiveCore(WINDOW_BYTES, PAGES);
  const types = (seq: number, pages: number[]): string[] =>
    receiver.step({ type: 'chunk', seq, bytes: 1, pages }).map(({ type }) => type);
  assert.deepEqual(types(5000, []), ['refuse']);
  assert.deepEqual(types(1, [PAGES]), ['refuse']);
  assert.deepEqual(types(0, []), ['refuse']);
});

test('a chunk that was overtaken never lands over newer content', () => {
  const receiver = new LinkReceiveCore(WINDOW_BYTES, PAGES);
  const writtenPages = (seq: number, pages: number[]): (number | undefined)[] =>
    receiver
      .step({ type: 'chunk', seq, bytes: 1, pages })
      .filter(({ type }) => type === 'writePage')
      .map(({ page }) => page);
  assert.deepEqual(writtenPages(2, [3, 4]), [3, 4]);
  assert.deepEqual(writtenPages(1, [2, 3]), [2], 'page 3 has newer content');
});
