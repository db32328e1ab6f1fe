/**
 * What the files of a log amount to when it is opened. Whatever is refused is refused before anything is
 * written; what a crash left half-done and nobody was told about is tidied away at the end.
 */
import type { Disk, DiskFile } from '../../ports/disk.ts';
import type { RaftLogIdentity, SnapshotDigest } from '../../ports/raft-log.ts';
import { reaches } from '../../protocols/raft/damage.ts';
import type { LogPosition } from '../../protocols/raft/log.ts';
import type { Entry, Snapshot } from '../../protocols/raft/types.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { inTurn } from '../../util/in-turn.ts';
import { corrupt } from './log-error.ts';
import {
  FOLDER,
  isSnapshotFile,
  PARTIAL_FILE,
  STATE_FILE,
  segmentFile,
  segmentOf,
  snapshotFile,
  TEMPORARY_SUFFIX,
} from './names.ts';
import { Replay } from './replay.ts';
import { type LogSummary, readSegmentHeader, type SegmentHeader } from './segment-header.ts';
import { scanSegment, type TailDamage } from './segment-scan.ts';
import type { SegmentEnd } from './segment-writer.ts';
import type { PartialFile } from './snapshot-files.ts';
import { readReceived, readSnapshotHeader } from './snapshot-format.ts';
import { readVote, type StoredVote, VOTE_FILE_BYTES } from './vote-file.ts';

export interface Recovered {
  readonly vote: StoredVote;
  readonly summary: LogSummary;
  readonly entries: readonly Entry[];
  /** Oldest first; the highest index that each speaks of. */
  readonly segments: readonly SegmentSpan[];
  readonly end: SegmentEnd;
  /** The newest segment's: whether its sync went well is not known. Null where there is none. */
  readonly lastBatch: { readonly offset: number; readonly bytes: Uint8Array } | null;
  /** The newest segment ends in damage: what comes next goes to a new one, and nothing is overwritten. */
  readonly isTailDamaged: boolean;
  readonly partial: PartialFile | null;
}

export interface SegmentSpan {
  readonly sequence: number;
  readonly lastIndex: number;
}

interface Read {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly header: SegmentHeader;
  readonly from: number;
}

/** Enough for the header of a snapshot of any group. */
const SNAPSHOT_HEADER_BYTES_MAX = 256 * 1024;

/** Null when there is no log yet. */
export function recover(
  disk: Disk,
  identity: RaftLogIdentity,
  digest: SnapshotDigest,
  done: Completion<Recovered | null>,
): void {
  disk.list(FOLDER, (listed) => {
    if (!listed.ok) return done(listed);
    const files = listed.value;
    disk.readAt(STATE_FILE, 0, VOTE_FILE_BYTES, (state) => {
      if (!state.ok) return done(state);
      const found = attempt(() => segmentsAndVote(files, state.value, identity));
      if (!found.ok) return done(found);
      if (found.value === null) return done(succeeded(null));
      const { vote, sequences } = found.value;
      readSegments(disk, identity, files, sequences, (read) => {
        if (!read.ok) return done(read);
        const replayed = attempt(() => replay(read.value, vote));
        if (!replayed.ok) return done(replayed);
        const { summary } = replayed.value;
        checkSnapshot(disk, identity, digest, summary.snapshot, (checked) => {
          if (!checked.ok) return done(checked);
          readPartial(disk, identity, summary.snapshot, (partial) => {
            if (!partial.ok) return done(partial);
            const recovered = { ...replayed.value, partial: partial.value };
            tidy(disk, files, recovered, done);
          });
        });
      });
    });
  });
}

function attempt<T>(work: () => T): Outcome<T> {
  try {
    return succeeded(work());
  } catch (error) {
    if (error instanceof DwcpError) return failed(error);
    throw error;
  }
}

/** The vote is made durable before the first segment, so a vote alone may be a founding cut short. */
function segmentsAndVote(
  files: readonly DiskFile[],
  state: Uint8Array,
  identity: RaftLogIdentity,
): { readonly vote: StoredVote | null; readonly sequences: readonly number[] } | null {
  const all = files.flatMap(({ name }) => segmentOf(name) ?? []).sort((a, b) => a - b);
  const hasState = files.some(({ name }) => name === STATE_FILE);
  const vote = hasState ? readVote(state, identity, STATE_FILE) : null;
  if (all.length === 0) {
    if (!hasState || vote?.newestSegment === 0) return null;
    throw corrupt(FOLDER, 0, 'a vote is here, and no segment of the log');
  }
  const newest = vote?.newestSegment ?? 0;
  if (!all.some((sequence) => sequence >= newest)) {
    throw corrupt(segmentFile(newest), 0, 'the newest segment is gone');
  }
  // A removal that did not last leaves old segments behind a gap.
  let first = all.length - 1;
  while (first > 0 && all[first - 1] === (all[first] ?? 0) - 1) first -= 1;
  return { vote, sequences: all.slice(first) };
}

function readSegments(
  disk: Disk,
  identity: RaftLogIdentity,
  files: readonly DiskFile[],
  sequences: readonly number[],
  done: Completion<readonly Read[]>,
): void {
  const sizes = new Map(files.map(({ name, size }) => [name, size]));
  inTurn<number, Read>(
    sequences,
    (sequence, next) => {
      const file = segmentFile(sequence);
      disk.readAt(file, 0, sizes.get(file) ?? 0, (outcome) => {
        if (!outcome.ok) return next(outcome);
        next(attempt(() => segmentRead(file, outcome.value, sequence, identity)));
      });
    },
    done,
  );
}

function segmentRead(
  file: string,
  bytes: Uint8Array,
  sequence: number,
  identity: RaftLogIdentity,
): Read {
  const { header, end } = readSegmentHeader(bytes, identity, file);
  if (header.sequence !== sequence) {
    throw corrupt(file, 0, `it is segment ${header.sequence} under another name`);
  }
  return { file, bytes, header, from: end };
}

function replay(segments: readonly Read[], stored: StoredVote | null): Omit<Recovered, 'partial'> {
  const [oldest] = segments;
  const newest = segments.at(-1);
  if (oldest === undefined || newest === undefined) throw corrupt(FOLDER, 0, 'no segment');
  const log = new Replay(oldest.header);
  const spans: SegmentSpan[] = [];
  let end: SegmentEnd | null = null;
  let damage: TailDamage | null = null;
  let lastBatch: Recovered['lastBatch'] = null;
  for (const [at, { file, bytes, header, from }] of segments.entries()) {
    if (end !== null && end.nextBatch !== header.nextBatch) {
      throw corrupt(file, 0, 'it does not follow the segment before it');
    }
    const { sequence, nextBatch } = header;
    const syncedEnd = segments[at + 1]?.header.previousEnd ?? null;
    const { fileBytes } = header;
    const scan = scanSegment(bytes, { file, sequence, from, nextBatch, fileBytes, syncedEnd });
    let lastIndex = header.last.index;
    for (const batch of scan.batches) {
      log.take(batch, file);
      lastIndex = Math.max(lastIndex, batch.header.last.index, log.last.index);
    }
    spans.push({ sequence, lastIndex });
    end = {
      sequence,
      offset: scan.end,
      fileBytes: scan.fileBytes,
      nextBatch: nextBatch + scan.batches.length,
    };
    damage = scan.damage;
    const offset = scan.batches.at(-1)?.header.syncedEnd ?? null;
    lastBatch = offset === null ? null : { offset, bytes: bytes.subarray(offset, scan.end) };
  }
  if (end === null) throw corrupt(FOLDER, 0, 'no segment');
  const { last, commit, snapshot, compacted } = log;
  const vote = voteOf(stored, last);
  const lostEnd = lostEndOf(newest.header.lostEnd, damage, last, vote.term);
  const summary: LogSummary = { last, commit, snapshot, compacted, lostEnd };
  const entries = log.entries(oldest.file);
  const isTailDamaged = damage !== null;
  return { vote, summary, entries, segments: spans, end, lastBatch, isTailDamaged };
}

/** An entry is written after its term, so a term below the log's is a lost one too. */
function voteOf(stored: StoredVote | null, last: LogPosition): StoredVote {
  if (stored !== null && stored.term >= last.term) return stored;
  const sequence = (stored?.sequence ?? 0) + 1;
  const newestSegment = stored?.newestSegment ?? 0;
  return { sequence, term: last.term, vote: null, newestSegment, damaged: true };
}

/** The furthest place that the log may have reached; null when it is there again. */
function lostEndOf(
  known: LogPosition | null,
  damage: TailDamage | null,
  last: LogPosition,
  term: number,
): LogPosition | null {
  let lost = known;
  if (damage !== null) {
    const now = 'last' in damage ? damage.last : { index: last.index + damage.entriesMax, term };
    if (lost === null || reaches(now, lost)) lost = now;
  }
  return lost === null || reaches(last, lost) ? null : lost;
}

function checkSnapshot(
  disk: Disk,
  identity: RaftLogIdentity,
  digest: SnapshotDigest,
  snapshot: Snapshot,
  done: Completion<void>,
): void {
  if (snapshot.index === 0) return done(succeeded(undefined));
  const name = attempt(() => snapshotFile(snapshot));
  if (!name.ok) return done(name);
  const file = name.value;
  const length = snapshot.sizeBytes + SNAPSHOT_HEADER_BYTES_MAX;
  disk.readAt(file, 0, length, (outcome) => {
    if (!outcome.ok) return done(outcome);
    done(
      attempt(() => {
        const bytes = outcome.value;
        if (bytes.length === 0)
          throw corrupt(file, 0, 'the snapshot that the log begins with is gone');
        const { dataAt, snapshot: stored } = readSnapshotHeader(bytes, identity, file);
        const data = bytes.subarray(dataAt, dataAt + snapshot.sizeBytes);
        const isIt = stored.index === snapshot.index && stored.digest === snapshot.digest;
        if (!isIt || data.length !== snapshot.sizeBytes || digest(data) !== snapshot.digest) {
          throw corrupt(file, dataAt, 'the snapshot is not what its name says');
        }
      }),
    );
  });
}

/** What is damaged of a transfer, or useless by now, is as if it had not begun. */
function readPartial(
  disk: Disk,
  identity: RaftLogIdentity,
  current: Snapshot,
  done: Completion<PartialFile | null>,
): void {
  disk.readAt(PARTIAL_FILE, 0, SNAPSHOT_HEADER_BYTES_MAX, (outcome) => {
    if (!outcome.ok) return done(outcome);
    const read = attempt(() => readSnapshotHeader(outcome.value, identity, PARTIAL_FILE));
    if (!read.ok) return done(succeeded(null));
    const layout = read.value;
    const { index, sizeBytes } = layout.snapshot;
    const receivedBytes = Math.min(readReceived(outcome.value, layout), sizeBytes);
    const isUseful = receivedBytes > 0 && index > current.index;
    done(succeeded(isUseful ? { layout, receivedBytes } : null));
  });
}

/** What nothing refers to: a crash came before it was named, or before its removal lasted. */
function tidy(
  disk: Disk,
  files: readonly DiskFile[],
  recovered: Recovered,
  done: Completion<Recovered>,
): void {
  const { summary, segments, partial } = recovered;
  const oldest = segments[0]?.sequence ?? 0;
  const inUse = summary.snapshot.index === 0 ? null : snapshotFile(summary.snapshot);
  const useless = files
    .map(({ name }) => name)
    .filter((name) => {
      if (name.endsWith(TEMPORARY_SUFFIX)) return true;
      if (name === PARTIAL_FILE) return partial === null;
      if (isSnapshotFile(name)) return name !== inUse;
      const sequence = segmentOf(name);
      return sequence !== null && sequence < oldest;
    });
  inTurn<string, void>(
    useless,
    (name, next) => disk.remove(name, next),
    (outcome) => done(outcome.ok ? succeeded(recovered) : outcome),
  );
}
