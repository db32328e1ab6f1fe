import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Feeding, type PagesToFeed } from '../../../src/protocols/qemu/feeding.ts';

const ZERO: readonly [number, number] = [11, 12];
const NEVER = 0xffffffff;
const PAGES = 6;

/** Staging and a waiting QEMU, as digests: version 0 never landed, 1 is zeros. */
class Model {
  readonly feeding = new Feeding(PAGES, ZERO);
  readonly landed: Uint32Array = new Uint32Array(2 * PAGES).fill(NEVER);
  readonly fed: Uint32Array = new Uint32Array(2 * PAGES).fill(NEVER);

  land(page: number, version: number): void {
    this.landed.set(version === 1 ? ZERO : [version, version + 100], 2 * page);
  }

  take({ pages, zeros }: PagesToFeed): void {
    for (const page of zeros) this.fed.set(ZERO, 2 * page);
    for (const page of pages) this.fed.set(this.landed.subarray(2 * page, 2 * page + 2), 2 * page);
  }

  round(isFeeding = false): PagesToFeed {
    return this.feeding.roundEnded(this.landed, this.fed, isFeeding);
  }

  look(isFeeding = false): PagesToFeed {
    return this.feeding.meanwhile(this.landed, this.fed, isFeeding);
  }

  last(): PagesToFeed {
    return this.feeding.last(this.landed, this.fed);
  }
}

test('a page is fed once it stood still for a whole round, and not a second time', () => {
  const model = new Model();
  model.land(2, 5);
  assert.deepEqual([...model.round().pages], [], 'it landed within this round');
  const second = model.round();
  assert.deepEqual([...second.pages], [2]);
  model.take(second);
  assert.deepEqual([...model.round().pages], []);
  assert.deepEqual([...model.last().pages], []);
});

test('in the first round what landed is fed meanwhile, and what did not come yet is left alone', () => {
  const model = new Model();
  model.land(2, 5);
  assert.deepEqual([...model.look().pages], [], 'it may be landing right now');
  model.land(3, 6);
  const second = model.look();
  assert.deepEqual([...second.pages], [2]);
  assert.deepEqual(
    [...second.zeros],
    [],
    'whether a page that never came is zero is not known yet',
  );
  model.take(second);
  assert.deepEqual([...model.round().pages], [3]);
  assert.deepEqual([...model.look(true).pages], [], 'QEMU is busy');
});

test('a page that changes in every round waits for the end', () => {
  const model = new Model();
  for (let version = 2; version < 8; version += 1) {
    model.land(0, version);
    assert.deepEqual([...model.round().pages], []);
  }
  assert.deepEqual([...model.last().pages], [0]);
});

test('while QEMU takes what it was given, it is given nothing twice', () => {
  const model = new Model();
  model.land(2, 5);
  model.round();
  const given = model.round();
  assert.deepEqual([...given.pages], [2]);
  assert.deepEqual([...model.round(true).pages], []);
  model.take(given);
  assert.deepEqual([...model.round().pages], []);
});

test('what never landed is zero, and is fed as zeros without being read', () => {
  const model = new Model();
  const first = model.round();
  assert.deepEqual([...first.zeros], [0, 1, 2, 3, 4, 5]);
  assert.deepEqual([...first.pages], []);
});

test('a page that was fed and became zero is fed as zeros', () => {
  const model = new Model();
  model.land(1, 5);
  model.take(model.last());
  model.land(1, 1);
  assert.deepEqual([...model.last().zeros], [1]);
});

test('whatever lands when, at the end QEMU has every page as it landed last', () => {
  const landing = fc.record({ page: fc.nat(PAGES - 1), version: fc.integer({ min: 1, max: 5 }) });
  const step = fc.oneof(landing, fc.constantFrom('round' as const, 'look' as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const model = new Model();
      for (const one of steps) {
        if (one === 'round') model.take(model.round());
        else if (one === 'look') model.take(model.look());
        else model.land(one.page, one.version);
      }
      model.take(model.last());
      for (let page = 0; page < PAGES; page += 1) {
        const isNever = model.landed[2 * page] === NEVER;
        const wanted = isNever ? ZERO : [...model.landed.slice(2 * page, 2 * page + 2)];
        assert.deepEqual([...model.fed.slice(2 * page, 2 * page + 2)], [...wanted]);
      }
    }),
  );
});
