/** Memory that was registered with a card: at one end it may be read, at the other it may be written by a key. */
import type { VersionedMemory } from './memory.ts';

export interface RdmaRegion {
  readonly memory: VersionedMemory;
  /** Counts the sessions of its memory. */
  readonly session: number;
  isRegistered: boolean;
}
