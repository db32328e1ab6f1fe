/**
 * The newest segment: batches are appended and synced one at a time. It grows ahead of them by zeros that
 * are synced before a batch relies on them, so a file that is shorter than its headers say was cut.
 */
import type { Disk } from '../../ports/disk.ts';
import type { RaftLogIdentity } from '../../ports/raft-log.ts';
import { type Completion, failed } from '../../util/errors.ts';
import { inTurn } from '../../util/in-turn.ts';
import { SECTOR_BYTES, sectorEnd, writeBatch } from './batch-format.ts';
import { ByteWriter } from './byte-writer.ts';
import { createDurably } from './durable-file.ts';
import { atPlace } from './log-error.ts';
import { segmentFile } from './names.ts';
import type { RaftLogOptions } from './options.ts';
import type { LogRecord } from './record-format.ts';
import { type LogSummary, writeSegmentHeader } from './segment-header.ts';
import { type Step, steps } from './steps.ts';

export interface SegmentEnd {
  readonly sequence: number;
  /** Where the next batch goes. */
  readonly offset: number;
  readonly fileBytes: number;
  readonly nextBatch: number;
}

export class SegmentWriter {
  readonly #disk: Disk;
  readonly #identity: RaftLogIdentity;
  readonly #options: RaftLogOptions;
  readonly #buffer = new ByteWriter(64 * 1024);
  readonly #zeros: Uint8Array;
  #end: SegmentEnd;

  constructor(disk: Disk, identity: RaftLogIdentity, options: RaftLogOptions, end: SegmentEnd) {
    this.#disk = disk;
    this.#identity = identity;
    this.#options = options;
    this.#zeros = new Uint8Array(options.growthBytesMax + SECTOR_BYTES);
    this.#end = end;
  }

  get end(): SegmentEnd {
    return this.#end;
  }
  get sequence(): number {
    return this.#end.sequence;
  }
  get isFull(): boolean {
    return this.#end.offset >= this.#options.segmentBytes;
  }

  /** The next segment, whole and under its name before anything is written to it. */
  begin(summary: LogSummary, done: Completion<void>): void {
    const { sequence, offset, nextBatch } = this.#end;
    const next = sequence + 1;
    const header = { ...summary, sequence: next, previousEnd: offset, nextBatch };
    const { growthBytesMin } = this.#options;
    const { length } = writeSegmentHeader(this.#identity, { ...header, fileBytes: 0 });
    const fileBytes = sectorEnd(length + growthBytesMin);
    const file = new Uint8Array(fileBytes);
    file.set(writeSegmentHeader(this.#identity, { ...header, fileBytes }));
    const name = segmentFile(next);
    this.#end = { sequence: next, offset: length, fileBytes, nextBatch };
    createDurably(this.#disk, name, file, done);
  }

  /** One batch and its sync. `last` is the end of the log after it. */
  append(
    records: readonly LogRecord[],
    { last, commit }: Pick<LogSummary, 'last' | 'commit'>,
    done: Completion<void>,
  ): void {
    const { sequence, offset, nextBatch } = this.#end;
    this.#buffer.reset();
    const { end, fileBytes } = writeBatch(
      this.#buffer,
      sequence,
      offset,
      records,
      { sequence: nextBatch, last, commit },
      (batchEnd) => this.#fileBytesFor(batchEnd),
    );
    const bytes = this.#buffer.written;
    const write: Step = (next) => this.#writeAndSync(offset, bytes, next);
    const grown = this.#end.fileBytes;
    this.#end = { sequence, offset: end, fileBytes, nextBatch: nextBatch + 1 };
    if (fileBytes === grown) return write(done);
    steps([(next) => this.#grow(grown, fileBytes, next), write], done);
  }

  /** What is there already, once more. */
  repeat(offset: number, bytes: Uint8Array, done: Completion<void>): void {
    this.#writeAndSync(offset, bytes, done);
  }

  /** At least one sector stays free behind a batch, so that a cut at its end shows. */
  #fileBytesFor(end: number): number {
    const { fileBytes } = this.#end;
    if (end + SECTOR_BYTES <= fileBytes) return fileBytes;
    const { growthBytesMin, growthBytesMax } = this.#options;
    const growth = Math.min(Math.max(fileBytes, growthBytesMin), growthBytesMax);
    return sectorEnd(end + growth);
  }

  #grow(from: number, to: number, done: Completion<void>): void {
    const pieces: (readonly [number, Uint8Array])[] = [];
    for (let at = from; at < to; at += this.#zeros.length) {
      pieces.push([at, this.#zeros.subarray(0, Math.min(this.#zeros.length, to - at))]);
    }
    const last = pieces.pop();
    if (last === undefined) return done({ ok: true, value: undefined });
    const write = ([at, bytes]: readonly [number, Uint8Array], next: Completion<void>): void =>
      this.#disk.writeAt(segmentFile(this.sequence), at, bytes, next);
    inTurn(pieces, write, (outcome) => {
      if (!outcome.ok)
        return done(failed(atPlace(segmentFile(this.sequence), from, outcome.error)));
      this.#writeAndSync(last[0], last[1], done);
    });
  }

  /** Both are asked at once: the disk does them in order. */
  #writeAndSync(offset: number, bytes: Uint8Array, done: Completion<void>): void {
    const name = segmentFile(this.sequence);
    let written: Parameters<Completion<void>>[0] | null = null;
    this.#disk.writeAt(name, offset, bytes, (outcome) => {
      written = outcome;
    });
    this.#disk.fdatasync(name, (synced) => {
      const outcome = written?.ok === false ? written : synced;
      done(outcome.ok ? outcome : failed(atPlace(name, offset, outcome.error)));
    });
  }
}
