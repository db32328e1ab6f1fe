/** Dirty tracking, tried on a few pages since a version number promises nothing; memory and its pages. */

import type { KernelTracking } from '../../ports/memory.ts';
import { DwcpError } from '../../util/errors.ts';
import { formatBytes } from '../../util/units.ts';
import { type Finding, fine, warning } from './finding.ts';
import type { DoctorHost } from './host.ts';

/** The default demo holds 1 GiB at the source and 1 GiB at the destination. */
const MEMORY_WANTED_BYTES = 3 * 2 ** 30;
const SHMEM_PAGES = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';

export function probeMemory(host: DoctorHost): readonly Finding[] {
  return [probeDirtyTracking(host), probeRoom(host), probeHugePages(host), probeLockedMemory(host)];
}

function probeDirtyTracking(host: DoctorHost): Finding {
  const name = 'dirty tracking';
  const best = refusalOf(host, 'pagemap-scan');
  if (best === null) {
    return fine(name, 'pagemap-scan: tracked, wrote and found exactly what was written');
  }
  const second = refusalOf(host, 'soft-dirty');
  return second === null
    ? warning(
        name,
        `soft-dirty, holds a guest for an instant every round: ${best.message}`,
        trackingFix(best),
      )
    : warning(
        name,
        `rehash, all memory every round: ${best.message}; ${second.message}`,
        trackingFix(best),
      );
}

function refusalOf(host: DoctorHost, backend: KernelTracking): Error | null {
  try {
    host.tryWriteTracking(backend);
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function trackingFix(error: unknown): string {
  const errno = error instanceof DwcpError ? error.errno : null;
  if (errno === 'EPERM' || errno === 'EACCES') return 'sysctl -w vm.unprivileged_userfaultfd=1';
  if (errno === 'ENOSYS') return 'Boot a kernel with CONFIG_USERFAULTFD=y.';
  if (errno === 'EIO') return 'Report this kernel: its tracking loses writes, so it is not used.';
  return 'Boot Linux 6.7 or newer.';
}

function probeRoom(host: DoctorHost): Finding {
  const available = meminfoBytes(host, 'MemAvailable');
  const value = `${formatBytes(available)} available of ${formatBytes(meminfoBytes(host, 'MemTotal'))}`;
  return available >= MEMORY_WANTED_BYTES
    ? fine('memory', value)
    : warning('memory', value, 'The default demo holds 1 GiB twice; try: dwcp demo --size 256MiB');
}

/** Guests' memory is a memfd, so shmem's setting decides; the pool only serves a QEMU that asks for it. */
function probeHugePages(host: DoctorHost): Finding {
  const setting = /\[(\w+)\]/.exec(host.readText(SHMEM_PAGES) ?? '')?.[1] ?? 'unsupported';
  const pool = Math.round(meminfoBytes(host, 'HugePages_Total') / 1024);
  const free = Math.round(meminfoBytes(host, 'HugePages_Free') / 1024);
  const value = `shared memory ${setting}, pool ${free} free of ${pool}`;
  if (setting !== 'never' && setting !== 'unsupported') return fine('huge pages', value);
  return pool > 0
    ? fine('huge pages', value)
    : warning(
        'huge pages',
        `${value}: guests get 4 KiB pages, which work and fault more often`,
        `echo advise > ${SHMEM_PAGES}`,
      );
}

/** TCP pins nothing; RDMA pins what it registers. */
function probeLockedMemory(host: DoctorHost): Finding {
  const text = host.readText('/proc/self/limits') ?? '';
  const limit = /^Max locked memory\s+(\S+)/m.exec(text)?.[1] ?? 'unknown';
  const bytes = Number(limit);
  const value = Number.isFinite(bytes) ? formatBytes(bytes) : limit;
  const isEnough = limit === 'unlimited' || host.isRoot;
  if (isEnough || host.names('/sys/class/infiniband').length === 0) {
    return fine('locked memory', isEnough ? value : `${value}; enough for TCP`);
  }
  return warning(
    'locked memory',
    `${value}: RDMA pins what it sends`,
    'ulimit -l unlimited (a systemd unit: LimitMEMLOCK=infinity)',
  );
}

function meminfoBytes(host: DoctorHost, key: string): number {
  const line = new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(host.readText('/proc/meminfo') ?? '');
  return Number(line?.[1] ?? 0) * 1024;
}
