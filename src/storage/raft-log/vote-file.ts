/**
 * Term and vote, apart from the log: a damaged last batch is ambiguous, a forgotten vote must not be.
 * The file holds them twice, in blocks that a disk writes one by one. Both are written before one sync,
 * so whatever was told to anybody is in both, and one of them may be damaged without a doubt.
 */
import type { RaftLogIdentity } from '../../ports/raft-log.ts';
import type { ReplicaId, Term } from '../../protocols/raft/types.ts';
import { DwcpError } from '../../util/errors.ts';
import { MAGIC_STATE, readFileHeader, writeFileHeader } from './file-header.ts';

/** What no disk writes in two halves, and no two copies share. */
const COPY_BYTES = 4096;
export const VOTE_FILE_BYTES: number = 2 * COPY_BYTES;

export interface StoredVote {
  /** Higher with every write. */
  readonly sequence: number;
  readonly term: Term;
  readonly vote: ReplicaId | null;
  /** This segment is there, or a newer one: a lost file must not look like a shorter log. */
  readonly newestSegment: number;
  /** Both copies were damaged once: under this identity it is never voted again. */
  readonly damaged: boolean;
}

/** The whole file: both copies. */
export function writeVote(identity: RaftLogIdentity, stored: StoredVote): Uint8Array<ArrayBuffer> {
  const copy = writeFileHeader(MAGIC_STATE, identity, (to) => {
    to.u64(stored.sequence);
    to.u64(stored.term);
    to.u64(stored.vote ?? 0);
    to.u64(stored.newestSegment);
    to.u8(stored.damaged ? 1 : 0);
  });
  const file = new Uint8Array(VOTE_FILE_BYTES);
  file.set(copy);
  file.set(copy, COPY_BYTES);
  return file;
}

/** The newer good copy; null when both are damaged. Throws when it is another replica's, or newer. */
export function readVote(
  file: Uint8Array,
  identity: RaftLogIdentity,
  name: string,
): StoredVote | null {
  const first = readCopy(file, 0, identity, name);
  const second = readCopy(file, COPY_BYTES, identity, name);
  if (first === null || second === null) return first ?? second;
  return first.sequence >= second.sequence ? first : second;
}

function readCopy(
  file: Uint8Array,
  at: number,
  identity: RaftLogIdentity,
  name: string,
): StoredVote | null {
  try {
    const { body } = readFileHeader(file, at, MAGIC_STATE, identity, name);
    const sequence = body.u64();
    const term = body.u64();
    const vote = body.u64();
    const newestSegment = body.u64();
    const damaged = body.u8();
    if (!body.isDone || damaged > 1) return null;
    return {
      ...{ sequence, term, newestSegment },
      vote: vote === 0 ? null : vote,
      damaged: damaged === 1,
    };
  } catch (error) {
    if (error instanceof DwcpError && error.code === 'ERR_DWCP_CORRUPT') return null;
    throw error;
  }
}
