/**
 * One replica's durable log. Writes wait in one queue; a round takes those at its head that can share a
 * sync, and what comes meanwhile is the next round.
 *
 *   term or vote changed   the vote's file, synced before the batch that may rest on the term
 *   entries, compactions   one batch in the newest segment, one sync
 *   snapshot chunks        the partial file, one sync
 *   an installed snapshot  alone: its name first, then the batch that lets the log go
 */
import type { Disk } from '../../ports/disk.ts';
import type { RaftLog, RaftLogIdentity, RaftWrite } from '../../ports/raft-log.ts';
import { reaches } from '../../protocols/raft/damage.ts';
import { entryBytes } from '../../protocols/raft/entry-size.ts';
import type { LogPosition } from '../../protocols/raft/log.ts';
import type { HardState, PersistSnapshotChunk, Snapshot } from '../../protocols/raft/types.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';
import { atPlace } from './log-error.ts';
import { PARTIAL_FILE, STATE_FILE, segmentFile } from './names.ts';
import type { RaftLogOptions } from './options.ts';
import type { LogRecord } from './record-format.ts';
import type { Recovered, SegmentSpan } from './recovery.ts';
import type { LogSummary } from './segment-header.ts';
import { SegmentWriter } from './segment-writer.ts';
import type { SnapshotFiles } from './snapshot-files.ts';
import { type Step, steps } from './steps.ts';
import { type StoredVote, writeVote } from './vote-file.ts';

type Waiting = Work & { readonly done: Completion<void> };

type Work =
  | { readonly kind: 'write'; readonly write: Exclude<RaftWrite, PersistSnapshotChunk> }
  | { readonly kind: 'chunk'; readonly chunk: PersistSnapshotChunk }
  | { readonly kind: 'saved'; readonly snapshot: Snapshot }
  | { readonly kind: 'close' };

export class DurableRaftLog implements RaftLog {
  readonly #disk: Disk;
  readonly #identity: RaftLogIdentity;
  readonly #options: RaftLogOptions;
  readonly #files: SnapshotFiles;
  readonly #segment: SegmentWriter;
  #vote: StoredVote;
  #summary: LogSummary;
  /** Oldest first, without the newest. */
  readonly #older: SegmentSpan[];
  /** The highest index that the newest segment speaks of. */
  #newestIndex: number;
  readonly #queue: Waiting[] = [];
  #busy = false;
  #over: DwcpError | null = null;

  constructor(
    disk: Disk,
    identity: RaftLogIdentity,
    options: RaftLogOptions,
    files: SnapshotFiles,
    recovered: Recovered,
  ) {
    this.#disk = disk;
    this.#identity = identity;
    this.#options = options;
    this.#files = files;
    this.#segment = new SegmentWriter(disk, identity, options, recovered.end);
    this.#vote = recovered.vote;
    this.#summary = recovered.summary;
    this.#older = recovered.segments.slice(0, -1);
    this.#newestIndex = recovered.segments.at(-1)?.lastIndex ?? 0;
  }

  /**
   * Makes durable what was read. It may be in the kernel's memory only: a process that died did not sync
   * it, and after a failed sync the kernel takes it for written. So it is written again, the same bytes.
   * Where the newest segment ends in damage a new one follows, and nothing of it is overwritten.
   */
  beginLife({ lastBatch, isTailDamaged, partial }: Recovered, done: Completion<void>): void {
    const { term, vote } = this.#vote;
    const work: Step[] = [...this.#voteSteps({ term, vote })];
    if (lastBatch !== null) {
      const { offset, bytes } = lastBatch;
      work.push((next) => this.#segment.repeat(offset, bytes, next));
    }
    if (partial !== null) work.push((next) => this.#disk.fdatasync(PARTIAL_FILE, next));
    work.push((next) => this.#disk.syncDir(next));
    if (isTailDamaged) work.push((next) => this.#beginSegment(next));
    steps(work, done);
  }

  #beginSegment(done: Completion<void>): void {
    const { sequence } = this.#segment;
    this.#older.push({ sequence, lastIndex: this.#newestIndex });
    this.#newestIndex = this.#summary.last.index;
    const named: Step = (next) => this.#segment.begin(this.#summary, next);
    const { term, vote } = this.#vote;
    steps([named, (next) => steps(this.#voteSteps({ term, vote }), next)], done);
  }

  write(write: RaftWrite, done: Completion<void>): void {
    if (write.type === 'persistSnapshotChunk') this.#ask({ kind: 'chunk', chunk: write, done });
    else this.#ask({ kind: 'write', write, done });
  }

  saveSnapshot(snapshot: Snapshot, data: Uint8Array, done: Completion<void>): void {
    this.#files.save(snapshot, data, (outcome) => {
      if (!outcome.ok) return done(outcome);
      this.#ask({ kind: 'saved', snapshot, done });
    });
  }

  readSnapshot(
    snapshot: Snapshot,
    offset: number,
    lengthBytes: number,
    done: Completion<Uint8Array>,
  ): void {
    this.#files.read(snapshot, offset, lengthBytes, done);
  }

  verifySnapshot(snapshot: Snapshot, done: Completion<boolean>): void {
    this.#files.verify(snapshot, done);
  }

  /** After all that was asked before; the disk is its owner's. */
  close(done: Completion<void>): void {
    this.#ask({ kind: 'close', done });
  }

  #ask(waiting: Waiting): void {
    this.#queue.push(waiting);
    if (this.#busy) return;
    this.#busy = true;
    this.#round();
  }

  #round(): void {
    const round = this.#take();
    const [head] = round;
    if (head === undefined) {
      this.#busy = false;
      return;
    }
    const over = this.#over;
    // The disk is asked even then: nothing completes inside the call that asked.
    const work = over === null ? this.#stepsOf(round, head) : [this.#look];
    steps(work, (outcome) => this.#finish(round, over === null ? outcome : failed(over)));
  }

  readonly #look: Step = (next) =>
    this.#disk.readAt(STATE_FILE, 0, 0, (outcome) =>
      next(outcome.ok ? succeeded(undefined) : outcome),
    );

  #finish(round: readonly Waiting[], outcome: Outcome<void>): void {
    if (!outcome.ok) this.#over ??= outcome.error;
    const closes = round[0]?.kind === 'close';
    if (closes) this.#over ??= new DwcpError('ERR_DWCP_CLOSED', 'the log is closed');
    for (const { done } of round) done(closes ? succeeded(undefined) : outcome);
    this.#round();
  }

  /** What shares the next sync. */
  #take(): readonly Waiting[] {
    const [head] = this.#queue;
    if (head === undefined) return [];
    let count = 1;
    let bytes = bytesOf(head);
    for (; count < this.#queue.length; count += 1) {
      const next = this.#queue[count];
      if (next === undefined || isAlone(head) || isAlone(next)) break;
      if ((next.kind === 'chunk') !== (head.kind === 'chunk')) break;
      bytes += bytesOf(next);
      if (bytes > this.#options.batchBytes) break;
    }
    return this.#queue.splice(0, count);
  }

  #stepsOf(round: readonly Waiting[], head: Waiting): readonly Step[] {
    if (head.kind === 'close') return [this.#look];
    if (head.kind === 'chunk') {
      const chunks = round.flatMap((each) => (each.kind === 'chunk' ? [each.chunk] : []));
      return [(next) => this.#files.receive(chunks, next)];
    }
    if (head.kind === 'write' && head.write.type === 'discardSnapshot') {
      const { snapshot, received } = head.write;
      return [
        (next) =>
          received
            ? this.#files.discardReceived(snapshot, next)
            : this.#files.discard(snapshot, next),
      ];
    }
    return this.#batchSteps(round);
  }

  #batchSteps(round: readonly Waiting[]): readonly Step[] {
    const work: Step[] = [];
    const records: LogRecord[] = [];
    let hardState: HardState | null = null;
    let { last, commit, snapshot, compacted } = this.#summary;
    let droppable = 0;
    for (const each of round) {
      if (each.kind === 'saved') {
        records.push({ type: 'snapshot', snapshot: each.snapshot, replacesLog: false });
        if (each.snapshot.index > snapshot.index) snapshot = each.snapshot;
      } else if (each.kind === 'write' && each.write.type === 'compact') {
        const { throughIndex: index, throughTerm: term } = each.write;
        records.push({ type: 'compact', through: { index, term } });
        compacted = { index, term };
        droppable = index;
      } else if (each.kind === 'write' && each.write.type === 'persist') {
        const { write } = each;
        ({ hardState } = write);
        commit = hardState.commit;
        if (write.snapshot !== null) {
          const installed = write.snapshot;
          work.push((next) => this.#files.install(installed, next));
          records.push({ type: 'snapshot', snapshot: installed, replacesLog: true });
          snapshot = installed;
          compacted = null;
          last = { index: installed.index, term: installed.term };
          droppable = Number.POSITIVE_INFINITY;
        }
        for (const entry of write.entries) records.push({ type: 'entry', entry });
        last = write.entries.at(-1) ?? last;
      }
    }
    const { term, vote } = hardState ?? this.#vote;
    const isNew = term !== this.#vote.term || vote !== this.#vote.vote;
    // Something is always asked of the disk: nothing completes inside the call that asked.
    if (isNew || records.length === 0) work.push(...this.#voteSteps({ term, vote }));
    if (records.length === 0) return work;
    if (this.#segment.isFull) work.push((next) => this.#beginSegment(next));
    const { lostEnd } = this.#summary;
    const after: LogSummary = {
      last: { index: last.index, term: last.term },
      commit,
      snapshot,
      compacted,
      lostEnd: stillLost(lostEnd, last),
    };
    work.push((next) => {
      for (const record of records) {
        if (record.type !== 'entry') continue;
        this.#newestIndex = Math.max(this.#newestIndex, record.entry.index);
      }
      this.#summary = after;
      this.#segment.append(records, after, next);
    });
    if (droppable > 0) work.push((next) => this.#drop(droppable, next));
    return work;
  }

  /** Both copies at once: they are in blocks that a disk writes one by one. */
  #voteSteps({ term, vote }: Pick<HardState, 'term' | 'vote'>): readonly Step[] {
    const { damaged, sequence } = this.#vote;
    const newestSegment = this.#segment.sequence;
    const stored = { sequence: sequence + 1, term, vote, newestSegment, damaged };
    this.#vote = stored;
    const bytes = writeVote(this.#identity, stored);
    const place = (next: Completion<void>): Completion<void> => {
      return (outcome) =>
        next(outcome.ok ? outcome : failed(atPlace(STATE_FILE, 0, outcome.error)));
    };
    return [
      (next) => this.#disk.writeAt(STATE_FILE, 0, bytes, place(next)),
      (next) => this.#disk.fdatasync(STATE_FILE, place(next)),
    ];
  }

  /** Oldest first, so that what a crash leaves of them is without a gap. */
  #drop(throughIndex: number, done: Completion<void>): void {
    const work: Step[] = [];
    while ((this.#older[0]?.lastIndex ?? Number.POSITIVE_INFINITY) <= throughIndex) {
      const dropped = this.#older.shift();
      if (dropped === undefined) break;
      work.push((next) => this.#disk.remove(segmentFile(dropped.sequence), next));
    }
    steps(work, done);
  }
}

function stillLost(lost: LogPosition | null, last: LogPosition): LogPosition | null {
  return lost === null || reaches(last, lost) ? null : lost;
}

function isAlone(waiting: Waiting): boolean {
  if (waiting.kind === 'close') return true;
  if (waiting.kind !== 'write') return false;
  const { write } = waiting;
  return write.type === 'discardSnapshot' || (write.type === 'persist' && write.snapshot !== null);
}

function bytesOf(waiting: Waiting): number {
  if (waiting.kind === 'chunk') return waiting.chunk.data.length;
  if (waiting.kind !== 'write' || waiting.write.type !== 'persist') return 64;
  let bytes = 0;
  for (const entry of waiting.write.entries) bytes += entryBytes(entry);
  return bytes;
}
