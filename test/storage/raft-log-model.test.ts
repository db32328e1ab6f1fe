/** Random writes and restarts of a log, against a model that cannot be wrong: an array. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { calmPlan, World } from '../../sim/index.ts';
import type { Disk } from '../../src/ports/disk.ts';
import type { OpenedRaftLog, RaftWrite } from '../../src/ports/raft-log.ts';
import type { Entry, HardState, Restored, Snapshot } from '../../src/protocols/raft/types.ts';
import { NodeDisk } from '../../src/storage/node-disk.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import type { Completion } from '../../src/util/errors.ts';
import { command, digestOf, founding, identity, persist, small, snapshotOf } from './log-rig.ts';

/** Each is a number or two, so that shrinking makes it small. */
type Act =
  | { readonly act: 'append'; readonly count: number; readonly bytes: number }
  | { readonly act: 'overwrite'; readonly back: number }
  | { readonly act: 'term' }
  | { readonly act: 'snapshot'; readonly kept: number }
  | { readonly act: 'install'; readonly ahead: number }
  | { readonly act: 'reopen' };

const acts: fc.Arbitrary<readonly Act[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        act: fc.constant('append' as const),
        count: fc.integer({ min: 1, max: 4 }),
        bytes: fc.nat(900),
      }),
    },
    fc.record({ act: fc.constant('overwrite' as const), back: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ act: fc.constant('term' as const) }),
    fc.record({ act: fc.constant('snapshot' as const), kept: fc.nat(3) }),
    fc.record({ act: fc.constant('install' as const), ahead: fc.nat(5) }),
    fc.record({ act: fc.constant('reopen' as const) }),
  ),
  { maxLength: 25 },
);

class Model {
  hardState: HardState = { term: 1, vote: null, commit: 0 };
  entries: Entry[] = [];
  snapshot: Snapshot = founding.snapshot;
  compacted: Restored['compacted'] = null;

  get last(): { readonly index: number; readonly term: number } {
    return this.entries.at(-1) ?? this.compacted ?? this.snapshot;
  }

  /** Of what a replica would have had in memory, what a restart brings back. */
  get restored(): readonly Entry[] {
    const base = (this.compacted ?? this.snapshot).index;
    return this.entries.filter(({ index }) => index > base);
  }
}

type Ask = <T>(work: (done: Completion<T>) => void) => Promise<T>;

async function play(
  disk: Disk,
  ask: Ask,
  list: readonly Act[],
  powerLoss: () => void = () => {},
): Promise<void> {
  const model = new Model();
  let opened: OpenedRaftLog | null = null;
  const open = async (): Promise<OpenedRaftLog> => {
    opened ??= await ask<OpenedRaftLog>((done) =>
      openRaftLog(disk, identity, founding, digestOf, done, small),
    );
    return opened;
  };
  const write = async (each: RaftWrite): Promise<void> => {
    const { log } = await open();
    await ask<void>((done) => log.write(each, done));
  };
  const append = async (from: number, count: number, bytes: number): Promise<void> => {
    const { term } = model.hardState;
    const text = 'x'.repeat(bytes);
    const added = Array.from({ length: count }, (_, at) => command(from + at, term, text + at));
    model.entries = [...model.entries.filter(({ index }) => index < from), ...added];
    await write(persist(model.hardState, added));
  };
  for (const each of list) {
    const { last, snapshot } = model;
    switch (each.act) {
      case 'append':
        await append(last.index + 1, each.count, each.bytes);
        break;
      case 'overwrite': {
        const from = last.index + 1 - each.back;
        if (from <= Math.max(snapshot.index, model.compacted?.index ?? 0)) break;
        model.hardState = { ...model.hardState, term: model.hardState.term + 1 };
        await append(from, 1, 5);
        break;
      }
      case 'term':
        model.hardState = { ...model.hardState, term: model.hardState.term + 1, vote: 3 };
        await write(persist(model.hardState));
        break;
      case 'snapshot': {
        if (last.index <= snapshot.index || model.entries.length === 0) break;
        const data = new TextEncoder().encode(`state ${last.index}`);
        const cut = snapshotOf(last.index, last.term, data);
        const { log } = await open();
        await ask<void>((done) => log.saveSnapshot(cut, data, done));
        model.snapshot = cut;
        const through = model.entries.at(-1 - each.kept);
        if (through === undefined) break;
        const { index, term } = through;
        model.compacted = { index, term };
        await write({
          type: 'compact',
          ...{ throughIndex: index, throughTerm: term, snapshotIndex: cut.index },
        });
        break;
      }
      case 'install': {
        const data = new Uint8Array(1500).fill(each.ahead);
        const got = snapshotOf(last.index + 1 + each.ahead, model.hardState.term, data);
        for (const offset of [0, 1000]) {
          const piece = data.slice(offset, offset + 1000);
          await write({
            type: 'persistSnapshotChunk',
            ...{ token: 1, snapshot: got, offset, data: piece },
          });
        }
        await write(persist(model.hardState, [], got));
        model.snapshot = got;
        model.compacted = null;
        model.entries = [];
        break;
      }
      case 'reopen': {
        const { log } = await open();
        await ask<void>((done) => log.close(done));
        opened = null;
        powerLoss();
        const { restored } = await open();
        assert.deepEqual(restored.entries, model.restored);
        model.entries = [...model.restored];
        assert.deepEqual(restored.snapshot, model.snapshot);
        assert.deepEqual(restored.compacted, model.compacted);
        assert.equal(restored.damagedIndex, null);
        assert.equal(restored.voteDamaged, false);
        if (list[0]?.act === 'term') assert.equal(restored.hardState.vote, 3);
      }
    }
  }
}

const withReopen = acts.map((list): readonly Act[] => [
  { act: 'term' },
  ...list,
  { act: 'reopen' },
]);

test('a log on the simulated disk gives back what a dumb model has', async () => {
  await fc.assert(
    fc.asyncProperty(withReopen, fc.nat(), async (list, seed) => {
      const world = new World({ seed, plan: calmPlan, hosts: ['h'], clients: [] });
      const [host] = world.hosts;
      assert.ok(host);
      const ask: Ask = (work) =>
        new Promise((resolve, reject) => {
          work((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error)));
          world.run(world.nowUs + 1_000_000);
        });
      // Power is lost between close and open: all was acknowledged.
      const powerLoss = (): void => {
        host.crash();
        host.restart();
      };
      await play(host.disk, ask, list, powerLoss);
    }),
    { numRuns: 60 },
  );
});

test('a log on files gives back what a dumb model has', async () => {
  await fc.assert(
    fc.asyncProperty(withReopen, async (list) => {
      const directory = mkdtempSync(join(tmpdir(), 'dwcp-log-'));
      const disk = new NodeDisk(directory);
      try {
        const ask: Ask = (work) =>
          new Promise((resolve, reject) => {
            work((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error)));
          });
        await play(disk, ask, list);
      } finally {
        await new Promise((resolve) => disk.close(resolve));
        rmSync(directory, { recursive: true });
      }
    }),
    { numRuns: 15 },
  );
});
