/**
 * Every byte of a small log, flipped and cut. Whatever happens, entries are never invented or reordered,
 * and what was synced is never missed in silence.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Restored } from '../../src/protocols/raft/types.ts';
import { DwcpError } from '../../src/util/errors.ts';
import {
  ask,
  command,
  identity,
  type OpenLog,
  open,
  opened,
  persist,
  print,
  type Result,
  small,
  snapshotOf,
} from './log-rig.ts';
import { TestDisk } from './test-disk.ts';

const tiny = { ...small, segmentBytes: 1536, growthBytesMin: 512 };

function openOn(disk: TestDisk, who: typeof identity = identity): Result<OpenLog> {
  return open(disk, () => disk.run(), tiny, who);
}

/** Some segments, a snapshot, a kept tail, a part of another snapshot. */
function written(): TestDisk {
  const disk = new TestDisk();
  const log = opened(openOn(disk));
  const vote = { term: 2, vote: 3 };
  const write = (from: number, to: number, term: number): void => {
    const entries = [];
    for (let index = from; index <= to; index += 1) entries.push(command(index, term));
    log.write(persist({ ...vote, commit: from - 1 }, entries));
  };
  for (let index = 1; index <= 5; index += 1) write(index, index, 1);
  const data = new TextEncoder().encode('what the machine knew');
  ask<void>(
    () => disk.run(),
    (done) => log.log.saveSnapshot(snapshotOf(4, 1, data), data, done),
  );
  log.write({ type: 'compact', throughIndex: 2, throughTerm: 1, snapshotIndex: 4 });
  write(5, 6, 2);
  const later = new Uint8Array(40).fill(7);
  const snapshot = snapshotOf(90, 2, later);
  for (const offset of [0, 20]) {
    const piece = later.slice(offset, offset + 20);
    log.write({ type: 'persistSnapshotChunk', token: 9, snapshot, offset, data: piece });
  }
  write(7, 9, 2);
  return disk;
}

/** What may come of a damaged copy; says which it was. */
function judged(disk: TestDisk, whole: Restored, what: string): string {
  const before = new Map([...disk.files].map(([name, bytes]) => [name, bytes.slice()]));
  const result = openOn(disk);
  if (result instanceof Error) {
    assert.ok(result instanceof DwcpError);
    assert.match(result.code, /^ERR_DWCP_(?:CORRUPT|VERSION|STORAGE)$/, what);
    assert.match(result.message, /raft\/.*offset \d+/, what);
    assert.deepEqual(disk.files, before, `${what}: nothing was overwritten`);
    return 'refused';
  }
  const { restored } = result;
  const { entries, damagedIndex, damagedTerm, hardState } = restored;
  assert.deepEqual(entries, whole.entries.slice(0, entries.length), what);
  const last = whole.entries.at(-1);
  assert.ok(last);
  const isMissing = entries.length < whole.entries.length;
  if (isMissing) {
    assert.ok(damagedIndex !== null && damagedIndex >= last.index, `${what}: lost in silence`);
    assert.equal(damagedTerm, last.term, what);
  }
  assert.deepEqual(restored.snapshot, whole.snapshot, what);
  if (!restored.voteDamaged) {
    const { term, vote } = whole.hardState;
    assert.deepEqual([hardState.term, hardState.vote], [term, vote], what);
  }
  for (const [name, bytes] of before) {
    // The vote is written again with every new segment.
    const isOfUse = name !== 'raft/state' && name !== 'raft/partial';
    if (isOfUse) assert.deepEqual(disk.files.get(name), bytes, `${what}: ${name} is as it was`);
  }
  // What was found is not forgotten by the next start.
  const next = opened(openOn(disk)).restored;
  assert.equal(print(next.entries), print(entries), what);
  assert.equal(next.damagedIndex, damagedIndex, what);
  if (restored.voteDamaged) {
    assert.equal(next.voteDamaged, true, what);
    return 'vote damaged';
  }
  return isMissing ? 'ambiguous' : damagedIndex === null ? 'whole' : 'whole, suspicious';
}

describe('a log of which every byte was damaged', () => {
  let disk = new TestDisk();
  let whole: Restored;
  before(() => {
    disk = written();
    whole = opened(openOn(disk.copy())).restored;
    assert.equal(print(whole.entries), '3@1 4@1 5@2 6@2 7@2 8@2 9@2');
    assert.equal(whole.partialSnapshot?.receivedBytes, 20);
  });

  const outcomes = (damage: (bytes: Uint8Array, at: number) => Uint8Array): Map<string, number> => {
    const seen = new Map<string, number>();
    for (const [name, bytes] of disk.files) {
      for (let at = 0; at < bytes.length; at += 1) {
        // Between the copies of the vote, and behind them, is nothing that is ever read.
        if (name === 'raft/state' && at % 4096 >= 96 && at % 64 !== 0) continue;
        const copy = disk.copy();
        copy.files.set(name, damage(bytes.slice(), at));
        const outcome = judged(copy, whole, `${name} at ${at}`);
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      }
    }
    return seen;
  };

  it('flipped: refused, ambiguous at the last batch, or whole', () => {
    const seen = outcomes((bytes, at) => {
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      return bytes;
    });
    assert.deepEqual([...seen.keys()].sort(), [
      'ambiguous',
      'refused',
      'whole',
      'whole, suspicious',
    ]);
    // The last batch: its header and three entries.
    assert.ok((seen.get('ambiguous') ?? 0) > 100, `${seen.get('ambiguous')}`);
    assert.ok((seen.get('refused') ?? 0) > 500, `${seen.get('refused')}`);
  });

  it('cut: refused, whatever was cut away', () => {
    const seen = outcomes((bytes, at) => bytes.slice(0, at));
    assert.deepEqual([...seen.keys()].sort(), ['refused', 'vote damaged', 'whole']);
  });

  it('removed: no file is missed in silence', () => {
    const seen = [...disk.files.keys()].map((name) => {
      const copy = disk.copy();
      copy.files.delete(name);
      return `${name.replace(/-[0-9a-f]{64}/, '')}: ${judged(copy, whole, name)}`;
    });
    assert.deepEqual(seen.sort(), [
      'raft/000000000002.log: refused',
      'raft/000000000003.log: refused',
      'raft/000000000004.log: refused',
      'raft/000000000005.log: refused',
      'raft/4.snapshot: refused',
      'raft/partial: whole',
      'raft/state: vote damaged',
    ]);
  });

  it('a vote whose both copies are damaged is never trusted again, though it is written anew', () => {
    const copy = disk.copy();
    for (const at of [40, 4096 + 40]) {
      const file = copy.files.get('raft/state');
      assert.ok(file);
      file[at] = (file[at] ?? 0) ^ 1;
    }
    const log = opened(openOn(copy));
    assert.equal(log.restored.voteDamaged, true);
    assert.equal(log.write(persist({ term: 5, vote: null, commit: 9 })), undefined);
    const { hardState, voteDamaged } = opened(openOn(copy)).restored;
    assert.equal(hardState.term, 5);
    assert.equal(voteDamaged, true);
  });

  it('is refused to another replica and another group, by name and offset', () => {
    for (const who of [
      { ...identity, replica: 1 },
      { ...identity, group: 'others' },
    ]) {
      const copy = disk.copy();
      const result = openOn(copy, who);
      assert.ok(result instanceof DwcpError);
      assert.equal(result.code, 'ERR_DWCP_STORAGE');
      assert.match(result.message, /offset 16: the log of replica 2 of group "owners"/);
      assert.deepEqual(copy.files, disk.files);
    }
  });
});

it('without room a log is neither opened nor damaged', () => {
  const disk = new TestDisk();
  disk.errno = 'ENOSPC';
  const refused = openOn(disk);
  assert.ok(refused instanceof DwcpError && refused.errno === 'ENOSPC');
  assert.match(refused.message, /raft\/state, offset 0/);
  disk.errno = null;
  opened(openOn(disk)).write(persist({ term: 1, vote: 1, commit: 0 }, [command(1, 1)]));
  const log = opened(openOn(disk));
  disk.errno = 'ENOSPC';
  assert.ok(openOn(disk) instanceof DwcpError);
  assert.ok(log.write(persist({ term: 1, vote: 1, commit: 0 }, [command(2, 1)])) instanceof Error);
  disk.errno = null;
  assert.equal(print(opened(openOn(disk)).restored.entries), '1@1');
});
