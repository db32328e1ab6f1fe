export interface RaftLogOptions {
  /** A segment that holds so much is followed by a new one; compaction drops whole ones. */
  readonly segmentBytes: number;
  /** So many bytes of waiting writes share one sync, and at least one write. */
  readonly batchBytes: number;
  /**
   * The newest segment is made longer by its own length, within these bounds, and that is synced before
   * it is used: a sync of bytes that are there already does not touch the file system's journal.
   */
  readonly growthBytesMin: number;
  readonly growthBytesMax: number;
}

export const defaultRaftLogOptions: RaftLogOptions = {
  segmentBytes: 16 * 2 ** 20,
  batchBytes: 2 ** 20,
  growthBytesMin: 4096,
  growthBytesMax: 2 ** 20,
};
