/** A QEMU guest's RAM, mapped here to compare it; only memory that QEMU shares by memfd can be. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { mapRegion, type NativeRegion } from '../../native.ts';
import { DwcpError } from '../../util/errors.ts';

export const PAGE_BYTES = 4096;

/** Throws `ERR_DWCP_UNSUPPORTED` when the guest's RAM is not one shared memfd. */
export function mapQemuMemory(pid: number, memoryBytes: number): NativeRegion {
  const path = memoryFile(pid, memoryBytes);
  if (path === null) {
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', `the RAM of QEMU process ${pid} is not shared`, {
      hint: 'Give it -object memory-backend-memfd,share=on as its memory-backend, or migrate with --verify off.',
    });
  }
  const fd = openSync(path, constants.O_RDWR);
  try {
    return mapRegion({ fd, sizeBytes: memoryBytes, offsetBytes: 0 });
  } finally {
    closeSync(fd);
  }
}

/** Null unless exactly one memfd has the size: two could not be told apart. */
export function memoryFile(pid: number, memoryBytes: number): string | null {
  const folder = `/proc/${pid}/fd`;
  const matches = readdirSync(folder)
    .map((fd) => `${folder}/${fd}`)
    .filter((path) => isMemfd(path) && sizeOf(path) === memoryBytes);
  return matches.length === 1 ? (matches[0] ?? null) : null;
}

function isMemfd(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('/memfd:');
  } catch {
    return false; // Closed meanwhile.
  }
}

function sizeOf(path: string): number {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    return fstatSync(fd).size;
  } finally {
    closeSync(fd);
  }
}
