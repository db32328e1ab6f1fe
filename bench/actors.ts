/**
 * What our wrapper around nact costs: the same conversations on `createNactHost` and on raw nact.
 * In one process by nature; every message is counted by the actor that received it.
 */
import { createNactHost } from '../src/actors/nact-host.ts';
import type { ActorHost, ActorRef, Behavior } from '../src/actors/system.ts';
import { systemClock } from '../src/system/clock.ts';
import { assert } from '../src/util/assert.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument, type Contender, measureCase } from './harness.ts';
import { type RawSystem, rawTell, startRawNact } from './raw-nact.ts';
import { atLeast, atMost } from './statistics.ts';

/** The wrapper may cost a fifth: bounds, incarnations and death watch are worth that much. */
const SHARE_MIN = 0.8;
const SENDERS = 100;
const CHILDREN = 512;
/** Messages ahead of the one whose latency is asked. */
const BACKLOG = 10_000;

export const actorsBench: Bench = {
  name: 'actors',
  describe: 'wrapped against raw nact: ping-pong, fan-in, many children, a death behind a queue',
  run: async (options) => runActorsBench(options),
};

async function runActorsBench(options: BenchRunOptions): Promise<BenchDocument> {
  const scale = options.quick ? 0.02 : 1;
  const exchanges = Math.round(100_000 * scale);
  const each = Math.round(2_000 * scale);
  const common = { repetitions: options.quick ? 2 : 7, warmups: options.quick ? 0 : 1 };
  const rate = (name: string, ours: () => Promise<number>, raw: () => Promise<number>) =>
    measureCase({
      ...common,
      case: name,
      unit: 'messages/s',
      higherIsBetter: true,
      ours: { name: 'dwcp', run: ours },
      peers: [{ name: 'nact 7.6.2', run: raw }],
      floor: null,
      targets: (_ours, [peer]) => [
        atLeast('ratio to raw nact', SHARE_MIN, peer?.ratio.median ?? 0),
      ],
      onProgress: options.onProgress,
    });
  const latency: { ours: Contender; raw: Contender } = {
    ours: { name: 'dwcp: terminated', run: () => terminatedBehindQueue() },
    raw: { name: 'nact 7.6.2: a plain message', run: () => rawMessageBehindQueue() },
  };
  const results: BenchResult[] = [
    await rate(
      `ping-pong exchanges=${exchanges}`,
      () => pingPong(exchanges),
      () => rawPingPong(exchanges),
    ),
    await rate(
      `${SENDERS} senders to 1, ${each} each`,
      () => fanIn(each),
      () => rawFanIn(each),
    ),
    await rate(
      `${CHILDREN} children under one parent: spawn, one question, one answer`,
      () => manyChildren(),
      () => rawManyChildren(),
    ),
    await measureCase({
      ...common,
      case: `terminated behind ${BACKLOG} queued messages`,
      unit: 'ms',
      higherIsBetter: false,
      ours: latency.ours,
      peers: [latency.raw],
      floor: null,
      targets: (_ours, [peer]) => [
        atMost('ratio to a plain message of raw nact', 1 / SHARE_MIN, peer?.ratio.median ?? 0),
      ],
      onProgress: options.onProgress,
    }),
  ];
  return benchDocument('actors', results);
}

// ---- wrapped ------------------------------------------------------------------------------------

type Finish = (value: number) => void;

async function onHost(body: (host: ActorHost, finish: Finish) => void): Promise<number> {
  let crash: unknown = null;
  const host = createNactHost({
    clock: systemClock(),
    onCrash: (error) => {
      crash = error;
    },
  });
  const value = await new Promise<number>((resolve) => body(host, resolve));
  await new Promise<void>((resolve) => host.shutdown(resolve));
  assert(crash === null, `an actor of the benchmark crashed: ${JSON.stringify(crash)}`);
  return value;
}

function stateless<M>(
  host: Pick<ActorHost, 'spawn'>,
  name: string,
  behavior: Behavior<null, M>,
  mailboxLimit = 1024,
): ActorRef<M> {
  return host.spawn({ name, behavior, initialState: () => null, mailboxLimit });
}

function pingPong(exchanges: number): Promise<number> {
  return onHost((host, finish) => {
    type Ball = { readonly from: ActorRef<Ball>; readonly left: number };
    const bounce: Behavior<null, Ball> = (state, { from, left }, { self }) => {
      if (left === 0) finish(ratePerSecond(2 * exchanges, startedAt));
      else from.tell({ from: self, left: left - 1 });
      return state;
    };
    const ping = stateless(host, 'ping', bounce);
    const pong = stateless(host, 'pong', bounce);
    const startedAt = performance.now();
    pong.tell({ from: ping, left: 2 * exchanges - 1 });
  });
}

function fanIn(each: number): Promise<number> {
  return onHost((host, finish) => {
    let received = 0;
    const total = SENDERS * each;
    const sink = stateless<number>(
      host,
      'sink',
      (state) => {
        received += 1;
        if (received === total) finish(ratePerSecond(total, startedAt));
        return state;
      },
      total,
    );
    const senders = Array.from({ length: SENDERS }, (_, index) =>
      stateless<number>(host, `sender-${index}`, (state, left, { self }) => {
        assert(sink.tell(left) === 'accepted', 'the sink holds every message');
        if (left > 1) self.tell(left - 1);
        return state;
      }),
    );
    const startedAt = performance.now();
    for (const sender of senders) sender.tell(each);
  });
}

function manyChildren(): Promise<number> {
  return onHost((host, finish) => {
    const startedAt = performance.now();
    let answers = 0;
    const parent = stateless<'go' | 'answer'>(host, 'parent', (state, message, context) => {
      if (message === 'go') {
        for (let index = 0; index < CHILDREN; index += 1) {
          const child = stateless<'question'>(context as never, `child-${index}`, (childState) => {
            parent.tell('answer');
            return childState;
          });
          child.tell('question');
        }
      } else {
        answers += 1;
        if (answers === CHILDREN) finish(ratePerSecond(2 * CHILDREN, startedAt));
      }
      return state;
    });
    parent.tell('go');
  });
}

function terminatedBehindQueue(): Promise<number> {
  return onHost((host, finish) => {
    let stoppedAt = 0;
    let handled = 0;
    type Message = 'watch' | 'work' | 'terminated';
    const mortal = stateless<'die'>(host, 'mortal', (state, _message, context) => {
      context.stop(context.self);
      return state;
    });
    const watcher = stateless<Message>(
      host,
      'watcher',
      (state, message, context) => {
        if (message === 'watch') {
          context.watch(mortal, () => 'terminated');
          for (let index = 0; index < BACKLOG; index += 1) context.self.tell('work');
          context.effect(() => {
            stoppedAt = performance.now();
            mortal.tell('die');
          });
        } else if (message === 'work') {
          handled += 1;
        } else {
          assert(handled === BACKLOG, `terminated overtook ${BACKLOG - handled} queued messages`);
          finish(performance.now() - stoppedAt);
        }
        return state;
      },
      BACKLOG + 1,
    );
    watcher.tell('watch');
  });
}

// ---- raw ----------------------------------------------------------------------------------------

async function onRawNact(body: (system: RawSystem, finish: Finish) => void): Promise<number> {
  const system = startRawNact();
  const value = await new Promise<number>((resolve) => body(system, resolve));
  system.stop();
  return value;
}

function rawPingPong(exchanges: number): Promise<number> {
  return onRawNact((system, finish) => {
    const bounce = (message: unknown, self: Parameters<typeof rawTell>[0]): void => {
      const { from, left } = message as { from: typeof self; left: number };
      if (left === 0) finish(ratePerSecond(2 * exchanges, startedAt));
      else rawTell(from, { from: self, left: left - 1 });
    };
    const ping = system.spawn(null, 'ping', bounce);
    const pong = system.spawn(null, 'pong', bounce);
    const startedAt = performance.now();
    rawTell(pong, { from: ping, left: 2 * exchanges - 1 });
  });
}

function rawFanIn(each: number): Promise<number> {
  return onRawNact((system, finish) => {
    let received = 0;
    const total = SENDERS * each;
    const sink = system.spawn(null, 'sink', () => {
      received += 1;
      if (received === total) finish(ratePerSecond(total, startedAt));
    });
    const senders = Array.from({ length: SENDERS }, (_, index) =>
      system.spawn(null, `sender-${index}`, (message, self) => {
        const left = message as number;
        rawTell(sink, left);
        if (left > 1) rawTell(self, left - 1);
      }),
    );
    const startedAt = performance.now();
    for (const sender of senders) rawTell(sender, each);
  });
}

function rawManyChildren(): Promise<number> {
  return onRawNact((system, finish) => {
    const startedAt = performance.now();
    let answers = 0;
    const parent = system.spawn(null, 'parent', (message, self) => {
      if (message === 'go') {
        for (let index = 0; index < CHILDREN; index += 1) {
          const child = system.spawn(self, `child-${index}`, () => rawTell(self, 'answer'));
          rawTell(child, 'question');
        }
      } else {
        answers += 1;
        if (answers === CHILDREN) finish(ratePerSecond(2 * CHILDREN, startedAt));
      }
    });
    rawTell(parent, 'go');
  });
}

function rawMessageBehindQueue(): Promise<number> {
  return onRawNact((system, finish) => {
    let sentAt = 0;
    const watcher = system.spawn(null, 'watcher', (message, self) => {
      if (message === 'watch') {
        for (let index = 0; index < BACKLOG; index += 1) rawTell(self, 'work');
        sentAt = performance.now();
        rawTell(self, 'terminated');
      } else if (message === 'terminated') {
        finish(performance.now() - sentAt);
      }
    });
    rawTell(watcher, 'watch');
  });
}

function ratePerSecond(count: number, startedAt: number): number {
  return (count * 1000) / (performance.now() - startedAt);
}
