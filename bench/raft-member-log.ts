/** The shipped durable log of a bench's member, in a directory of its own. */
import { createHash } from 'node:crypto';
import type { OpenedRaftLog, RaftLogIdentity, SnapshotDigest } from '../src/ports/raft-log.ts';
import type { Restored } from '../src/protocols/raft/types.ts';
import { NodeDisk } from '../src/storage/node-disk.ts';
import { openRaftLog } from '../src/storage/raft-log/open.ts';
import { promised } from '../src/util/promised.ts';

export const sha256: SnapshotDigest = (data) => createHash('sha256').update(data).digest('hex');

/** `voters` is how many members found the group, numbered from 1. */
export function openMemberLog(
  dataDir: string,
  identity: RaftLogIdentity,
  voters: number,
): Promise<OpenedRaftLog> {
  const disk = new NodeDisk(dataDir);
  return promised((done) => openRaftLog(disk, identity, founding(voters), sha256, done));
}

function founding(count: number): Restored {
  const none: ReadonlySet<number> = new Set();
  const voters = new Set(Array.from({ length: count }, (_, index) => index + 1));
  const others = { votersOutgoing: none, learners: none, learnersNext: none, autoLeave: false };
  const configuration = { voters, ...others };
  return {
    hardState: { term: 0, vote: null, commit: 0 },
    snapshot: { index: 0, term: 0, configuration, sizeBytes: 0, digest: '' },
    ...{ entries: [], compacted: null, appliedIndex: 0, partialSnapshot: null },
    ...{ damagedIndex: null, voteDamaged: false },
  };
}
