/** Opens a replica's log, or founds it: see `recovery.ts` for what is refused. */
import type { Disk } from '../../ports/disk.ts';
import type { OpenedRaftLog, RaftLogIdentity, SnapshotDigest } from '../../ports/raft-log.ts';
import type { Restored } from '../../protocols/raft/types.ts';
import { assert } from '../../util/assert.ts';
import { type Completion, succeeded } from '../../util/errors.ts';
import { createDurably } from './durable-file.ts';
import { DurableRaftLog } from './durable-raft-log.ts';
import { STATE_FILE } from './names.ts';
import { defaultRaftLogOptions, type RaftLogOptions } from './options.ts';
import { type Recovered, recover } from './recovery.ts';
import { SegmentWriter } from './segment-writer.ts';
import { SnapshotFiles } from './snapshot-files.ts';
import { steps } from './steps.ts';
import { type StoredVote, writeVote } from './vote-file.ts';

/** `founding` is what a replica without a log starts from. */
export function openRaftLog(
  disk: Disk,
  identity: RaftLogIdentity,
  founding: Restored,
  digest: SnapshotDigest,
  done: Completion<OpenedRaftLog>,
  options: Partial<RaftLogOptions> = {},
): void {
  const chosen = { ...defaultRaftLogOptions, ...options };
  assert(/^[A-Za-z0-9._-]{1,64}$/.test(identity.group), 'a group has a short, plain name');
  recover(disk, identity, digest, (outcome) => {
    if (!outcome.ok) return done(outcome);
    const recovered = outcome.value;
    if (recovered === null) return found(disk, identity, founding, digest, chosen, done);
    const log = logOf(disk, identity, digest, chosen, recovered);
    const opened = { log, restored: restoredOf(recovered) };
    log.beginLife(recovered, (ready) => done(ready.ok ? succeeded(opened) : ready));
  });
}

/** The vote first: a segment without it is a lost vote. */
function found(
  disk: Disk,
  identity: RaftLogIdentity,
  founding: Restored,
  digest: SnapshotDigest,
  options: RaftLogOptions,
  done: Completion<OpenedRaftLog>,
): void {
  const { term, vote, commit } = founding.hardState;
  assert(founding.entries.length === 0 && term === 0, 'a log is founded empty');
  const stored: StoredVote = { sequence: 1, term, vote, newestSegment: 0, damaged: false };
  const { snapshot } = founding;
  const last = { index: snapshot.index, term: snapshot.term };
  const summary = { last, commit, snapshot, compacted: null, lostEnd: null };
  const before = { sequence: 0, offset: 0, fileBytes: 0, nextBatch: 1 };
  const writer = new SegmentWriter(disk, identity, options, before);
  steps(
    [
      (next) => createDurably(disk, STATE_FILE, writeVote(identity, stored), next),
      (next) => writer.begin(summary, next),
    ],
    (outcome) => {
      if (!outcome.ok) return done(outcome);
      const recovered: Recovered = {
        ...{ vote: stored, summary, entries: [], end: writer.end, lastBatch: null },
        segments: [{ sequence: writer.sequence, lastIndex: snapshot.index }],
        isTailDamaged: false,
        partial: null,
      };
      const log = logOf(disk, identity, digest, options, recovered);
      done(succeeded({ log, restored: restoredOf(recovered) }));
    },
  );
}

function logOf(
  disk: Disk,
  identity: RaftLogIdentity,
  digest: SnapshotDigest,
  options: RaftLogOptions,
  recovered: Recovered,
): DurableRaftLog {
  const files = new SnapshotFiles(disk, identity, digest, recovered.partial);
  return new DurableRaftLog(disk, identity, options, files, recovered);
}

function restoredOf({ vote, summary, entries, partial }: Recovered): Restored {
  const { snapshot, compacted, commit, lostEnd } = summary;
  return {
    hardState: { term: vote.term, vote: vote.vote, commit },
    snapshot,
    entries,
    compacted,
    appliedIndex: snapshot.index,
    partialSnapshot:
      partial === null
        ? null
        : { snapshot: partial.layout.snapshot, receivedBytes: partial.receivedBytes },
    damagedIndex: lostEnd?.index ?? null,
    ...(lostEnd === null ? {} : { damagedTerm: lostEnd.term }),
    voteDamaged: vote.damaged,
  };
}
