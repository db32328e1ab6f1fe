/** Queue pairs of the simulator, and the machines of the RDMA data path on them: each planted bug is caught. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RdmaCredits } from '../../sim/checkers/rdma-credits.ts';
import { RdmaPaths } from '../../sim/checkers/rdma-paths.ts';
import { RdmaWrites } from '../../sim/checkers/rdma-writes.ts';
import { calmPlan, checkDeterminism, type SimHost, simulate, World } from '../../sim/index.ts';
import { VersionedMemory } from '../../sim/rdma/memory.ts';
import { QueuePair, type QueuePairEvent, type Work } from '../../sim/rdma/queue-pair.ts';
import {
  flushes,
  mayModify,
  mayPostReceive,
  mayPostSend,
  type QueuePairState,
  responds,
} from '../../sim/rdma/queue-pair-state.ts';
import type { RdmaRegion } from '../../sim/rdma/region.ts';
import { rdmaScenario } from '../../sim/scenarios/rdma.ts';
import { RdmaDestination } from '../../src/protocols/rdma/destination.ts';
import { RdmaSource } from '../../src/protocols/rdma/source.ts';

const SEEDS = 300;

test('a queue pair goes from state to state as the verbs let it', () => {
  const states = ['RESET', 'INIT', 'RTR', 'RTS', 'SQD', 'SQE', 'ERROR'] as const;
  const legal: Readonly<Record<QueuePairState, string>> = {
    RESET: 'RESET INIT ERROR',
    INIT: 'RESET INIT RTR ERROR',
    RTR: 'RESET RTS ERROR',
    RTS: 'RESET RTS SQD ERROR',
    SQD: 'RESET RTS SQD ERROR',
    SQE: 'RESET RTS ERROR',
    ERROR: 'RESET ERROR',
  };
  const which = (may: (state: QueuePairState) => boolean): string => states.filter(may).join(' ');
  for (const from of states)
    assert.equal(
      which((to) => mayModify(from, to)),
      legal[from],
      from,
    );
  assert.equal(which(mayPostSend), 'RTS SQD SQE ERROR');
  assert.equal(which(mayPostReceive), 'INIT RTR RTS SQD SQE ERROR');
  assert.equal(which(responds), 'RTR RTS SQD SQE');
  assert.equal(which(flushes), 'SQE ERROR');
});

interface Wired {
  readonly world: World;
  readonly ours: QueuePair;
  readonly theirs: QueuePair;
  readonly from: RdmaRegion;
  readonly to: RdmaRegion;
  readonly heard: QueuePairEvent[];
  readonly told: QueuePairEvent[];
}

function wired(): Wired {
  const world = new World({ seed: 1, plan: calmPlan, hosts: ['host-0', 'host-1'], clients: [] });
  const [a, b] = world.hosts as [SimHost, SimHost];
  const observer = { left: () => {}, placed: () => {} };
  const wire = { lastArrivalUs: 0 };
  const ours = new QueuePair(a, 1, observer, wire);
  const theirs = new QueuePair(b, 2, observer, wire);
  const heard: QueuePairEvent[] = [];
  const told: QueuePairEvent[] = [];
  ours.onEvent = (event) => told.push(event);
  theirs.onEvent = (event) => heard.push(event);
  for (const [pair, peer] of [
    [ours, theirs],
    [theirs, ours],
  ] as const) {
    pair.toInit();
    pair.toRtr(peer);
    pair.toRts();
  }
  const region = (): RdmaRegion => ({
    ...{ memory: new VersionedMemory(8), session: 1, isRegistered: true },
  });
  return { world, ours, theirs, from: region(), to: region(), heard, told };
}

const chunk = ({ from, to }: Wired, seq: number, pages: readonly number[]): Work[] => [
  ...pages.map((page) => ({ type: 'write', from, to, page, seq }) as const),
  { type: 'ring', seq, pages },
];

const typesOf = (events: readonly QueuePairEvent[]): string[] =>
  events.map((event) => (event.type === 'completed' ? event.status : event.type));

test('pages are in their places when the doorbell behind them is heard', () => {
  const pair = wired();
  const { world, ours, theirs, from, to, heard, told } = pair;
  from.memory.write(3, 7);
  from.memory.write(4, 8);
  theirs.postReceive();
  theirs.onEvent = (event) => {
    heard.push(event);
    assert.deepEqual([to.memory.read(3), to.memory.read(4)], [7, 8]);
  };
  ours.postSend(chunk(pair, 1, [3, 4]));
  world.run(1_000_000);
  assert.deepEqual(typesOf(heard), ['rung']);
  assert.deepEqual(typesOf(told), ['ok']);
});

test('without a receive the sender waits, tries again, and gives up in the end', () => {
  const pair = wired();
  const { world, ours, theirs, heard, told } = pair;
  ours.postSend(chunk(pair, 1, [0]));
  world.run(5_000);
  theirs.postReceive();
  world.run(100_000);
  assert.deepEqual(typesOf(heard), ['rung']);
  ours.postSend(chunk(pair, 2, [1]));
  ours.postSend(chunk(pair, 3, [2]));
  world.run(2_000_000);
  assert.deepEqual(typesOf(told), [
    ...['ok', 'receiverNotReady', 'broken', 'flushed', 'flushed', 'flushed'],
  ]);
  assert.equal(ours.state, 'ERROR');
});

test('what left before its queue pair failed lands all the same, unless the other end takes none', () => {
  const late = wired();
  late.from.memory.write(5, 9);
  late.ours.postSend(chunk(late, 1, [5]));
  late.ours.toError();
  late.world.run(1_000_000);
  assert.deepEqual(typesOf(late.told), ['flushed', 'flushed', 'flushed']);
  assert.equal(late.to.memory.read(5), 9);

  const drained = wired();
  drained.from.memory.write(5, 9);
  drained.ours.postSend(chunk(drained, 1, [5]));
  drained.ours.toError();
  drained.theirs.toError();
  drained.world.run(1_000_000);
  assert.equal(drained.to.memory.read(5), 0);
  assert.deepEqual(typesOf(drained.heard), ['flushed']);
});

test('a write under a key that was revoked ends both queue pairs and is written nowhere', () => {
  const pair = wired();
  pair.from.memory.write(0, 3);
  pair.to.isRegistered = false;
  pair.ours.postSend(chunk(pair, 1, [0]));
  pair.world.run(1_000_000);
  assert.equal(typesOf(pair.told)[0], 'accessError');
  assert.deepEqual([pair.ours.state, pair.theirs.state], ['ERROR', 'ERROR']);
  assert.equal(pair.to.memory.read(0), 0);
});

test('a way that is cut for long exhausts the retries, one that heals soon does not', () => {
  const pair = wired();
  pair.theirs.postReceive();
  pair.world.network.cut([0], false, 1);
  pair.ours.postSend(chunk(pair, 1, [0]));
  pair.world.run(100_000);
  pair.world.network.cut([0], false, -1);
  pair.world.run(500_000);
  assert.deepEqual(typesOf(pair.told), ['ok']);
  pair.world.network.cut([0], false, 1);
  pair.ours.postSend(chunk(pair, 2, [0]));
  pair.world.run(2_000_000);
  assert.equal(typesOf(pair.told)[1], 'retriesExhausted');
});

test('clean seeds find nothing, guests move, and a seed is the same run twice', () => {
  let moved = 0;
  for (let seed = 1; seed <= 100; seed += 1) {
    const { violation, sometimes } = simulate(rdmaScenario(), { seed });
    assert.equal(violation, null, `seed ${seed}`);
    moved += sometimes['a guest moved'] ?? 0;
  }
  assert.ok(moved > 300, `${moved} moves`);
  const { equal, difference } = checkDeterminism(rdmaScenario(), { seed: 5 });
  assert.ok(equal, JSON.stringify(difference));
});

/** Plants a bug for as long as it takes to be found by this checker, in these words. */
function assertCaught<T extends object, K extends keyof T>(
  checker: string,
  words: RegExp,
  owner: T,
  method: K,
  make: (original: T[K]) => T[K],
): void {
  const original = owner[method];
  const others = new Set<string>();
  owner[method] = make(original);
  try {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violation } = simulate(rdmaScenario(), { seed });
      if (violation?.checker === checker && words.test(violation.message)) return;
      if (violation !== null) others.add(`${violation.checker}: ${violation.message}`);
    }
  } finally {
    owner[method] = original;
  }
  assert.fail(`${checker} found nothing in ${SEEDS} seeds; others: ${[...others].join('; ')}`);
}

/** For checkers that see a bug before the one that is meant to. */
function muted<T extends object>(owner: T, method: keyof T, run: () => void): void {
  const original = owner[method];
  owner[method] = (() => {}) as never;
  try {
    run();
  } finally {
    owner[method] = original;
  }
}

test('a doorbell before its data is caught as it is heard', () => {
  const words = /without its page/;
  assertCaught('rdma-landings', words, RdmaSource.prototype, 'posted', (posted) => {
    return function (this: RdmaSource, path, kind, seq, pages) {
      return posted.call(this, path, kind, seq, pages).reverse();
    };
  });
});

test('a completion that is taken as delivery to the guest is caught, by each who looks', () => {
  const plant = (checker: string, words: RegExp): void =>
    assertCaught(checker, words, RdmaSource.prototype, 'completed', (completed) => {
      return function (this: RdmaSource, input, effects) {
        completed.call(this, input, effects);
        if (input.isOk) this.landed(input.seq);
      };
    });
  plant('rdma-credits', /slots are free/);
  muted(RdmaCredits.prototype, 'stepped', () => {
    plant('rdma-paths', /is under way in chunk/);
    muted(RdmaPaths.prototype, 'did', () => plant('rdma-landings', /counts as landed/));
  });
});

test('a region that is given back while its card has work is caught', () => {
  assertCaught('rdma-regions', /given back/, RdmaSource.prototype, 'isWorking', () => () => false);
});

test('slots that are not given back when a queue pair is flushed are caught', () => {
  assertCaught('rdma-credits', /after drained/, RdmaSource.prototype, 'reinject', (reinject) => {
    return function (this: RdmaSource, path, seq) {
      reinject.call(this, path, seq);
      this.freeSlots -= 1;
    };
  });
});

test('a chunk that goes another way at once when its own end failed is caught', () => {
  const words = /is under way in chunk/;
  assertCaught('rdma-paths', words, RdmaSource.prototype, 'broken', (broken) => {
    return function (this: RdmaSource, path, effects) {
      broken.call(this, path, effects);
      for (const seq of this.chunksOf(path)) this.reinject(path, seq);
    };
  });
});

test('a late write after a re-injection is caught: its destination had said drained too early', () => {
  const plant = (checker: string, words: RegExp): void =>
    assertCaught(checker, words, RdmaDestination.prototype, 'askedToDrain', () => {
      return (path, effects) => {
        effects.push({ type: 'tellDrained', path });
      };
    });
  plant('rdma-paths', /came after chunk/);
  muted(RdmaPaths.prototype, 'placed', () => plant('rdma-writes', /over something newer/));
});

test('a late write is caught in a later session, and after its guest resumed', () => {
  const plant = (words: RegExp): void =>
    assertCaught('rdma-writes', words, RdmaDestination.prototype, 'revoke', () => {
      return function (this: RdmaDestination, effects) {
        if (this.isRevoked) return;
        this.isRevoked = true;
        effects.push({ type: 'revoked' });
      };
    });
  plant(/came in session/);
  muted(RdmaWrites.prototype, 'opens', () => plant(/after the guest resumed/));
});
