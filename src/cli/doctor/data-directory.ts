/** Where an agent keeps what must outlive it: fences, decisions, the names of its guests. */
import { dirname, resolve } from 'node:path';
import { formatBytes } from '../../util/units.ts';
import { type Finding, fine, missing, warning } from './finding.ts';
import type { DoctorHost } from './host.ts';

/** Records are small; logs and a crashed guest's output share the disk. */
const FREE_WANTED_BYTES = 2 ** 30;
/** TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h. */
const FORGETFUL: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

export function probeDataDirectory(host: DoctorHost, dataDir: string): Finding {
  const name = 'data directory';
  const place = existingPart(host, resolve(dataDir));
  const value = place === resolve(dataDir) ? place : `${dataDir} (to be made in ${place})`;
  const system = host.fileSystem(place);
  if (system === null || host.access(place) !== 'usable') {
    return missing(
      name,
      `${value}: not ours to write`,
      `install -d -m 700 -o "$USER" ${dataDir} (as root), or name another with --data-dir`,
    );
  }
  const free = `${value}: ${formatBytes(system.freeBytes)} free`;
  if (FORGETFUL.has(system.type)) {
    return warning(
      name,
      `${free}, in memory: a reboot forgets who owns which guest`,
      'Use a disk: name a directory on one with dataDir.',
    );
  }
  return system.freeBytes >= FREE_WANTED_BYTES
    ? fine(name, free)
    : warning(name, free, `Free at least ${formatBytes(FREE_WANTED_BYTES)} there, or use another.`);
}

function existingPart(host: DoctorHost, path: string): string {
  return host.fileSystem(path) !== null || dirname(path) === path
    ? path
    : existingPart(host, dirname(path));
}
