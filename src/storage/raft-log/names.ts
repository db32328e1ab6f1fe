/** The files of one log on its disk. */
import type { Snapshot } from '../../protocols/raft/types.ts';
import { DwcpError } from '../../util/errors.ts';

export const FOLDER = 'raft/';
export const STATE_FILE = 'raft/state';
/** What was received of a snapshot so far. */
export const PARTIAL_FILE = 'raft/partial';
/** Not yet under its name: nobody counts on it after a crash. */
export const TEMPORARY_SUFFIX = '.tmp~';

const SEGMENT = /^raft\/(\d{12})\.log$/;
const DIGEST = /^[A-Za-z0-9-]{1,128}$/;

export function segmentFile(sequence: number): string {
  return `${FOLDER}${String(sequence).padStart(12, '0')}.log`;
}

export function segmentOf(name: string): number | null {
  const digits = SEGMENT.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** The digest comes from a peer and becomes part of a name. */
export function snapshotFile({ index, digest }: Snapshot): string {
  if (!DIGEST.test(digest)) {
    throw new DwcpError(
      'ERR_DWCP_PROTOCOL',
      `not the digest of a snapshot: ${JSON.stringify(digest.slice(0, 80))}`,
      {
        hint: 'A digest is letters, digits and dashes, at most 128: the peer that sent it is faulty.',
      },
    );
  }
  return `${FOLDER}${index}-${digest}.snapshot`;
}

export function isSnapshotFile(name: string): boolean {
  return name.endsWith('.snapshot');
}
