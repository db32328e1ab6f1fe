/** The guest's own memory, shared with this process. */
import { closeSync, constants, openSync } from 'node:fs';
import { mapRegion, type NativeRegion } from '../../native.ts';
import type { GuestProcess } from './control.ts';

export const PAGE_BYTES = 4096;

/** Opened through /proc, for which we must be its user or root. */
export function mapGuestMemory(process: GuestProcess): NativeRegion {
  const fd = openSync(`/proc/${process.pid}/fd/${process.memoryFd}`, constants.O_RDWR);
  try {
    return mapRegion({ fd, sizeBytes: process.sizeBytes, offsetBytes: 0 });
  } finally {
    closeSync(fd);
  }
}
