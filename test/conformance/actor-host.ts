import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type {
  ActorContext,
  ActorHost,
  ActorRef,
  Behavior,
  DeadLetter,
  Terminated,
} from '../../src/actors/system.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import type { ManualClock } from './manual-clock.ts';

/** What a test needs of one host under test. */
export interface ActorHostArm {
  readonly host: ActorHost;
  readonly clock: Pick<ManualClock, 'armed' | 'advance'>;
  readonly fatals: readonly Error[];
  readonly crashes: readonly unknown[];
  readonly deadLetters: readonly DeadLetter[];
  /** Resolves when no message waits. */
  settle(): Promise<void>;
}

function ignore<S, M>(state: S, _message: M): S {
  return state;
}

/** The rules of an actor host; every implementation passes the same ones. */
export function actorHostConformance(name: string, makeArm: () => ActorHostArm): void {
  const on = (title: string, body: (arm: ActorHostArm) => Promise<void>): void => {
    test(title, async () => {
      const arm = makeArm();
      try {
        await body(arm);
      } finally {
        await new Promise<void>((resolve) => arm.host.shutdown(resolve));
      }
      assert.equal(arm.host.counters().actors, 0, 'an actor survived the shutdown');
      assert.equal(arm.clock.armed, 0, 'a timer survived the shutdown');
    });
  };
  /** Spawns an actor whose state nobody looks at. */
  const spawn = <M>(
    arm: ActorHostArm,
    behavior: (message: M, context: ActorContext<M>) => void,
    options: { name?: string; mailboxLimit?: number; onStop?: () => void } = {},
  ): ActorRef<M> =>
    arm.host.spawn<null, M>({
      name: options.name ?? 'subject',
      mailboxLimit: options.mailboxLimit ?? 1000,
      initialState: () => null,
      behavior: (_state, message, context) => {
        behavior(message, context);
        return null;
      },
      ...(options.onStop === undefined ? {} : { onStop: options.onStop }),
    });

  describe(name, () => {
    on(
      'a behaviour never runs inside the tell that caused it, and never re-enters',
      async (arm) => {
        const log: string[] = [];
        const ref: ActorRef<number> = spawn<number>(arm, (message) => {
          log.push(`in ${message}`);
          if (message < 3) ref.tell(message + 1);
          log.push(`out ${message}`);
        });
        ref.tell(1);
        assert.deepEqual(log, []);
        await arm.settle();
        assert.deepEqual(log, ['in 1', 'out 1', 'in 2', 'out 2', 'in 3', 'out 3']);
      },
    );

    on(
      'messages of one sender arrive in order, and state flows from one to the next',
      async (arm) => {
        const seen: number[] = [];
        const ref = arm.host.spawn<number, number>({
          name: 'sum',
          mailboxLimit: 500,
          initialState: () => 0,
          behavior: (sum, message) => {
            seen.push(sum + message);
            return sum + message;
          },
        });
        for (let count = 0; count < 200; count += 1) assert.equal(ref.tell(1), 'accepted');
        await arm.settle();
        assert.deepEqual(
          seen,
          Array.from({ length: 200 }, (_, index) => index + 1),
        );
        assert.equal(arm.host.counters().messages, 200);
      },
    );

    on('effects run after the state was stored, in the order asked for', async (arm) => {
      const log: string[] = [];
      const ref = arm.host.spawn<string, string>({
        name: 'subject',
        mailboxLimit: 10,
        initialState: (context) => {
          context.effect(() => log.push('effect of the start'));
          return 'start';
        },
        behavior: (state, message, context) => {
          context.effect(() => log.push(`first ${message}`));
          context.effect(() => log.push(`second ${message}`));
          log.push(`${state} -> ${message}`);
          return message;
        },
      });
      ref.tell('a');
      ref.tell('b');
      await arm.settle();
      assert.deepEqual(log, [
        'effect of the start',
        ...['start -> a', 'first a', 'second a'],
        ...['a -> b', 'first b', 'second b'],
      ]);
    });

    on('a returned promise is an assertion failure and stops the actor', async (arm) => {
      const behavior = (async () => null) as unknown as Behavior<null, string>;
      const ref = arm.host.spawn<null, string>({
        ...{ name: 'async', mailboxLimit: 1, initialState: () => null, behavior },
      });
      ref.tell('go');
      await arm.settle();
      assert.match(arm.fatals[0]?.message ?? '', /promise/);
      assert.equal(ref.tell('again'), 'dead');
    });

    on('a full mailbox answers full and loses only that message, counted', async (arm) => {
      const seen: number[] = [];
      const ref = spawn<number>(arm, (message) => seen.push(message), { mailboxLimit: 2 });
      assert.deepEqual(
        [1, 2, 3].map((message) => ref.tell(message)),
        ['accepted', 'accepted', 'full'],
      );
      await arm.settle();
      assert.deepEqual(seen, [1, 2]);
      assert.equal(ref.tell(4), 'accepted');
      await arm.settle();
      assert.deepEqual(seen, [1, 2, 4]);
      assert.deepEqual(
        arm.deadLetters.map(({ message, reason }) => [message, reason]),
        [[3, 'full']],
      );
    });

    on('completions, timers and terminated are never refused, however full it is', async (arm) => {
      const seen: unknown[] = [];
      let complete: Completion<string> | null = null;
      const child: ActorRef<string> = spawn<string>(arm, () => {}, { name: 'watched' });
      const ref = spawn<unknown>(
        arm,
        (message, context) => {
          seen.push(message);
          if (message !== 'start') return;
          complete = context.completion((outcome) => outcome);
          context.setTimer('t', 5, 'timer');
          context.watch(child, ({ reason }) => reason);
        },
        { mailboxLimit: 1 },
      );
      ref.tell('start');
      await arm.settle();
      assert.equal(ref.tell('filler'), 'accepted');
      assert.equal(ref.tell('too much'), 'full');
      (complete as Completion<string> | null)?.(succeeded('answer'));
      arm.clock.advance(5);
      arm.host.stop(child);
      await arm.settle();
      assert.deepEqual(seen, ['start', 'filler', succeeded('answer'), 'timer', 'stopped']);
    });

    on('a completion called twice is an assertion failure', async (arm) => {
      const completions: Completion<number>[] = [];
      const ref = spawn<unknown>(arm, (message, context) => {
        if (message === 'go') completions.push(context.completion((outcome) => outcome));
      });
      ref.tell('go');
      await arm.settle();
      for (let count = 0; count < 2; count += 1) completions[0]?.(succeeded(1));
      assert.match(arm.fatals[0]?.message ?? '', /twice/);
    });

    on(
      'messages, completions and timers of an earlier incarnation never reach a namesake',
      async (arm) => {
        const seen: unknown[] = [];
        const completions: Completion<number>[] = [];
        const first = spawn<unknown>(arm, (message, context) => {
          seen.push(['first', message]);
          completions.push(context.completion((outcome) => outcome));
          context.setTimer('t', 10, 'late timer');
        });
        first.tell('go');
        await arm.settle();
        arm.host.stop(first);
        const second = spawn<unknown>(arm, (message) => seen.push(['second', message]));
        assert.equal(second.path, first.path);
        assert.notEqual(second.incarnation, first.incarnation);
        assert.equal(first.tell('stale'), 'dead');
        completions[0]?.(failed(new DwcpError('ERR_DWCP_CLOSED', 'late')));
        arm.clock.advance(10);
        second.tell('hello');
        await arm.settle();
        assert.deepEqual(seen, [
          ['first', 'go'],
          ['second', 'hello'],
        ]);
        assert.deepEqual(
          arm.deadLetters.map(({ incarnation, reason }) => [incarnation, reason]),
          [
            [first.incarnation, 'dead'],
            [first.incarnation, 'dead'],
          ],
        );
      },
    );

    on('a cancelled or replaced timer never fires, even when its expiry is queued', async (arm) => {
      const seen: string[] = [];
      const ref = spawn<string>(arm, (message, context) => {
        seen.push(message);
        if (message === 'arm') {
          context.setTimer('a', 10, 'a expired');
          context.setTimer('b', 10, 'b expired');
        }
        if (message === 'cancel') {
          context.cancelTimer('a');
          context.setTimer('b', 20, 'b replaced');
        }
      });
      ref.tell('arm');
      await arm.settle();
      ref.tell('cancel');
      arm.clock.advance(10);
      await arm.settle();
      assert.deepEqual(seen, ['arm', 'cancel']);
      arm.clock.advance(10);
      await arm.settle();
      assert.deepEqual(seen, ['arm', 'cancel', 'b replaced']);
    });

    on(
      'a throw stops the actor and tells its watchers; nothing is resumed or reset',
      async (arm) => {
        const seen: unknown[] = [];
        let starts = 0;
        const faulty = arm.host.spawn<number, string>({
          name: 'faulty',
          mailboxLimit: 10,
          initialState: () => {
            starts += 1;
            return 0;
          },
          behavior: () => {
            throw new Error('broken');
          },
        });
        const watcher = spawn<Terminated | 'watch'>(
          arm,
          (message, context) => {
            if (message === 'watch') context.watch(faulty, (terminated) => terminated);
            else seen.push(message);
          },
          { name: 'watcher' },
        );
        watcher.tell('watch');
        await arm.settle();
        faulty.tell('go');
        faulty.tell('never handled');
        await arm.settle();
        const { path, incarnation } = faulty;
        assert.deepEqual(seen, [{ path, incarnation, reason: 'crashed' }]);
        assert.equal(starts, 1);
        assert.equal(arm.fatals.length, 0);
        assert.equal(arm.crashes.length, 1);
        assert.deepEqual(
          arm.deadLetters.map(({ message, reason }) => [message, reason]),
          [['never handled', 'stopped']],
        );
      },
    );

    on('watching an actor that is already gone is answered at once', async (arm) => {
      const seen: unknown[] = [];
      const gone = spawn<string>(arm, () => {}, { name: 'gone' });
      arm.host.stop(gone);
      const watcher = spawn<unknown>(arm, (message, context) => {
        if (message === 'watch') context.watch(gone, ({ reason }) => reason);
        else seen.push(message);
      });
      watcher.tell('watch');
      await arm.settle();
      assert.deepEqual(seen, ['stopped']);
    });

    on('a stop ends children first, and the queue goes to counted dead letters', async (arm) => {
      const log: string[] = [];
      const parent = spawn<string>(
        arm,
        (message, context) => {
          if (message === 'stop') {
            context.effect(() => log.push('last effect'));
            context.stop(context.self);
            return;
          }
          context.spawn<null, string>({
            name: 'child',
            mailboxLimit: 1,
            initialState: () => null,
            behavior: ignore,
            onStop: () => log.push('child stopped'),
          });
        },
        { onStop: () => log.push('parent stopped') },
      );
      parent.tell('spawn');
      await arm.settle();
      assert.equal(arm.host.counters().actors, 2);
      for (const message of ['stop', 'a', 'b']) parent.tell(message);
      await arm.settle();
      assert.deepEqual(log, ['last effect', 'child stopped', 'parent stopped']);
      assert.equal(arm.host.counters().deadLetters, 2);
      assert.equal(parent.tell('c'), 'dead');
      assert.deepEqual(
        arm.deadLetters.map(({ message, reason }) => [message, reason]),
        [
          ['a', 'stopped'],
          ['b', 'stopped'],
          ['c', 'dead'],
        ],
      );
    });

    on('nothing is printed when an actor crashes', async (arm) => {
      const printed: unknown[] = [];
      const log = console.log;
      console.log = (...words: unknown[]) => printed.push(words);
      try {
        const ref = spawn<string>(arm, () => {
          throw new Error('quiet');
        });
        ref.tell('go');
        await arm.settle();
      } finally {
        console.log = log;
      }
      assert.deepEqual(printed, []);
    });

    on('no actor keeps the others from their turn', async (arm) => {
      let greedyTurns = 0;
      let doneAfter = 0;
      const greedy: ActorRef<string> = spawn<string>(
        arm,
        () => {
          greedyTurns += 1;
          if (doneAfter === 0 && greedyTurns < 10_000) greedy.tell('more');
        },
        { name: 'greedy' },
      );
      const modest = spawn<string>(arm, () => (doneAfter = greedyTurns), { name: 'modest' });
      for (let count = 0; count < 100; count += 1) greedy.tell('start');
      modest.tell('once');
      await arm.settle();
      assert.ok(doneAfter > 0 && doneAfter < 1000, `modest ran after ${doneAfter} turns`);
    });
  });
}
