/** The decoders of the log, given what no writer wrote; and the sums they rest on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Configuration, Entry } from '../../src/protocols/raft/types.ts';
import {
  readBatchHeader,
  readBatchRecords,
  writeBatch,
} from '../../src/storage/raft-log/batch-format.ts';
import { ByteReader } from '../../src/storage/raft-log/byte-reader.ts';
import { ByteWriter } from '../../src/storage/raft-log/byte-writer.ts';
import { crc32c } from '../../src/storage/raft-log/crc32c.ts';
import { MAGIC_SEGMENT, writeFileHeader } from '../../src/storage/raft-log/file-header.ts';
import {
  type LogRecord,
  readRecord,
  readSnapshot,
  writeRecord,
} from '../../src/storage/raft-log/record-format.ts';
import { readSegmentHeader } from '../../src/storage/raft-log/segment-header.ts';
import { scanSegment } from '../../src/storage/raft-log/segment-scan.ts';
import { readSnapshotHeader } from '../../src/storage/raft-log/snapshot-format.ts';
import { readVote } from '../../src/storage/raft-log/vote-file.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { identity, snapshotOf } from './log-rig.ts';

const position = fc
  .tuple(fc.integer({ min: 1, max: 2 ** 50 }), fc.maxSafeNat())
  .map(([index, term]) => ({ index, term }));
const members = fc.uniqueArray(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), {
  maxLength: 5,
});
const configuration: fc.Arbitrary<Configuration> = fc
  .tuple(members, members, members, members, fc.boolean())
  .map(([voters, outgoing, learners, next, autoLeave]) => ({
    voters: new Set(voters.sort((a, b) => a - b)),
    votersOutgoing: new Set(outgoing.sort((a, b) => a - b)),
    learners: new Set(learners.sort((a, b) => a - b)),
    learnersNext: new Set(next.sort((a, b) => a - b)),
    autoLeave,
  }));
const entry: fc.Arbitrary<Entry> = fc.oneof(
  position.map((at) => ({ kind: 'noop' as const, ...at })),
  fc
    .tuple(position, fc.uint8Array({ maxLength: 300 }))
    .map(([at, data]) => ({ kind: 'command' as const, ...at, data })),
  fc
    .tuple(position, configuration)
    .map(([at, whole]) => ({ kind: 'configuration' as const, ...at, configuration: whole })),
);
const record: fc.Arbitrary<LogRecord> = fc.oneof(
  entry.map((each) => ({ type: 'entry' as const, entry: each })),
  position.map((through) => ({ type: 'compact' as const, through })),
  fc.tuple(position, configuration, fc.boolean()).map(([at, whole, replacesLog]) => ({
    type: 'snapshot' as const,
    snapshot: { ...snapshotOf(1, 1, new Uint8Array(3)), ...at, configuration: whole },
    replacesLog,
  })),
);

test('the sum is CRC32C, whole, in parts and at any place', () => {
  // RFC 3720, B.4.
  const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
  assert.equal(crc32c(new Uint8Array(32), 0, 32), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(255), 0, 32), 0x62a8ab43);
  assert.equal(crc32c(ascending, 0, 32), 0x46dd794e);
  assert.equal(crc32c(new TextEncoder().encode('123456789'), 0, 9), 0xe3069283);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      const parts = crc32c(bytes, at, bytes.length, crc32c(bytes, 0, at));
      assert.equal(parts, crc32c(bytes, 0, bytes.length));
    }),
  );
});

test('what is written is read, wherever it stands, and nowhere else', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 6 }), fc.nat(2 ** 20), (records, sector) => {
      const offset = sector * 512;
      const to = new ByteWriter(16);
      const last = { index: 9, term: 2 };
      const header = { sequence: 5, last, commit: 3 };
      const { end, fileBytes } = writeBatch(to, 7, offset, records, header, (at) => at + 512);
      assert.equal(end % 512, 0);
      const bytes = new Uint8Array(to.length);
      bytes.set(to.written);
      // Sums start from the place: the same bytes at another one are not a batch.
      if (offset > 0) assert.equal(readBatchHeader(bytes, 7, 0), null);
      const { length } = bytes;
      assert.equal(fileBytes, offset + length + 512);
      for (const each of records) {
        const one = new ByteWriter(16);
        writeRecord(one, each, 77);
        const read = readRecord(one.written, 0, one.length, 77);
        assert.deepEqual(read, { record: each, end: one.length });
        assert.equal(readRecord(one.written, 0, one.length, 78), null);
        assert.equal(readRecord(one.written, 0, one.length - 1, 77), null);
      }
    }),
  );
});

test('a batch is read back in its place', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 6 }), (records) => {
      const to = new ByteWriter(16);
      const header = { sequence: 5, last: { index: 9, term: 2 }, commit: 3 };
      writeBatch(to, 7, 0, records, header, (at) => at + 512);
      const read = readBatchHeader(to.written, 7, 0);
      assert.ok(read);
      assert.deepEqual(readBatchRecords(to.written, 7, 0, read), { records });
      assert.equal(readBatchHeader(to.written, 8, 0), null);
    }),
  );
});

/** Nothing but an answer or a coded error may come of any bytes. */
function survives(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof DwcpError, String(error));
  }
}

test('no bytes make a decoder do anything but answer or refuse', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat(2000), (bytes, at) => {
      const options = { file: 'f', sequence: 1, from: 0, nextBatch: 1, fileBytes: 0 };
      survives(() => readRecord(bytes, at, bytes.length, 0));
      survives(() => readBatchHeader(bytes, 1, at));
      survives(() => readSegmentHeader(bytes, identity, 'f'));
      survives(() => readSnapshotHeader(bytes, identity, 'f'));
      survives(() => readVote(bytes, identity, 'f'));
      survives(() => scanSegment(bytes, { ...options, syncedEnd: null }));
      survives(() => scanSegment(bytes, { ...options, syncedEnd: 512 }));
    }),
    { numRuns: 500 },
  );
});

test('no content behind a good sum does either', () => {
  const body = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(body, fc.nat(8), (bytes, kind) => {
      const to = new ByteWriter(16);
      to.u32(0);
      to.u32(bytes.length + 1);
      to.u8(kind);
      to.raw(bytes);
      to.putU32(0, crc32c(to.written, 4, to.length, 0));
      survives(() => readRecord(to.written, 0, to.length, 0));
      survives(() => readSnapshot(new ByteReader(bytes)));
      const segment = writeFileHeader(MAGIC_SEGMENT, identity, (header) => header.raw(bytes));
      survives(() => readSegmentHeader(segment, identity, 'f'));
    }),
    { numRuns: 1000 },
  );
});

test('a newer version is told from damage', () => {
  const header = writeFileHeader(MAGIC_SEGMENT, identity, (to) => to.u64(1));
  header[4] = 2;
  const to = new ByteWriter(16);
  to.raw(header);
  to.putU32(12, crc32c(header, 16, header.length, crc32c(header, 0, 12)));
  assert.throws(
    () => readSegmentHeader(to.written, identity, 'raft/7.log'),
    (error: unknown) =>
      error instanceof DwcpError &&
      error.code === 'ERR_DWCP_VERSION' &&
      /raft\/7\.log, offset 4: format 2/.test(error.message),
  );
  assert.throws(
    () => readSegmentHeader(header, identity, 'raft/7.log'),
    (error: unknown) => error instanceof DwcpError && error.code === 'ERR_DWCP_CORRUPT',
  );
});
