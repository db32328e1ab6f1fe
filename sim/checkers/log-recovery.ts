/** What a log said is durable it has when it is opened again, or it says what it may have lost. */
import type { RaftLog, RaftWrite } from '../../src/ports/raft-log.ts';
import type { LogPosition } from '../../src/protocols/raft/log.ts';
import type { Restored } from '../../src/protocols/raft/types.ts';

export class LogRecovery {
  /** What the log of each host ended in when it last said that all is durable. */
  readonly #durable = new Map<string, LogPosition>();

  /** Answers what is missing. An end of a later term may be shorter: a leader wrote it over the old one. */
  opened(host: string, restored: Restored): string | null {
    const durable = this.#durable.get(host);
    const end = restored.entries.at(-1) ?? restored.compacted ?? restored.snapshot;
    if (durable === undefined || restored.damagedIndex !== null) return null;
    if (end.term > durable.term) return null;
    if (end.term === durable.term && end.index >= durable.index) return null;
    const had = `${durable.index}:${durable.term}`;
    return `the log of ${host} had ${had} on its disk, ends in ${end.index}:${end.term} and misses nothing`;
  }

  /** The same log, whose answers are heard. */
  watched(host: string, log: RaftLog): RaftLog {
    return {
      write: (write, done) =>
        log.write(write, (outcome) => {
          if (outcome.ok) this.#wrote(host, write);
          done(outcome);
        }),
      saveSnapshot: (snapshot, data, done) => log.saveSnapshot(snapshot, data, done),
      readSnapshot: (snapshot, offset, lengthBytes, done) =>
        log.readSnapshot(snapshot, offset, lengthBytes, done),
      verifySnapshot: (snapshot, done) => log.verifySnapshot(snapshot, done),
      close: (done) => log.close(done),
    };
  }

  #wrote(host: string, write: RaftWrite): void {
    if (write.type !== 'persist') return;
    const last = write.entries.at(-1) ?? write.snapshot;
    if (last !== null) this.#durable.set(host, { index: last.index, term: last.term });
  }
}
