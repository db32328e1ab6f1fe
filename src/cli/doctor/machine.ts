/** Kernel, processor, clock, process limits and the cgroup freezer. */
import { type Finding, fine, missing, warning } from './finding.ts';
import type { DoctorHost } from './host.ts';

/** Instructions that the native page kernels pick at run time; each has a slower twin. */
const WANTED_FLAGS = ['sse4_2', 'avx2', 'pclmulqdq', 'aes', 'avx512vl', 'vpclmulqdq'] as const;
/** 512 streams to each of a few peers, and what Node itself holds. */
const OPEN_FILES_WANTED = 4096;
/** Read without leaving the process; others cost a device access for each reading. */
const FAST_CLOCKS: ReadonlySet<string> = new Set([
  'tsc',
  'kvm-clock',
  'hyperv_clocksource_tsc_page',
]);
const CLOCK_SOURCE = '/sys/devices/system/clocksource/clocksource0';

export function probeMachine(host: DoctorHost): readonly Finding[] {
  return [
    probeNode(host),
    probeKernel(host),
    probeCores(host),
    probeFlags(host),
    probeClock(host),
    probeOpenFiles(host),
    probeFreezer(host),
  ];
}

function probeNode(host: DoctorHost): Finding {
  const major = Number(/^v?(\d+)/.exec(host.nodeVersion)?.[1]);
  return major >= 20
    ? fine('node', host.nodeVersion)
    : missing('node', host.nodeVersion, 'Install Node.js 20 or newer.', true);
}

function probeKernel(host: DoctorHost): Finding {
  const [major = 0, minor = 0] = host.kernelRelease.split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 7)
    ? fine('kernel', host.kernelRelease)
    : warning(
        'kernel',
        host.kernelRelease,
        'Linux 6.7 or newer brings PAGEMAP_SCAN, the cheapest dirty tracking.',
      );
}

function probeCores(host: DoctorHost): Finding {
  return fine('cores', `${host.cpuModels.length} x ${host.cpuModels[0] ?? 'unknown'}`);
}

function probeFlags(host: DoctorHost): Finding {
  const line = /^flags\s*:\s*(.*)$/m.exec(host.readText('/proc/cpuinfo') ?? '')?.[1] ?? '';
  const flags = new Set(line.split(' '));
  const has = WANTED_FLAGS.filter((flag) => flags.has(flag));
  const value = has.length === 0 ? 'none of those used' : has.join(' ');
  return has.includes('sse4_2')
    ? fine('cpu flags', value)
    : warning(
        'cpu flags',
        value,
        'Without sse4_2 CRC32C runs in software; expose it to this machine if it is a VM.',
      );
}

function probeClock(host: DoctorHost): Finding {
  const name = 'clock source';
  const current = host.readText(`${CLOCK_SOURCE}/current_clocksource`);
  const available = host.readText(`${CLOCK_SOURCE}/available_clocksource`)?.split(/\s+/) ?? [];
  if (current === null)
    return warning(name, 'the kernel does not say', 'mount -t sysfs sysfs /sys');
  if (FAST_CLOCKS.has(current)) return fine(name, current);
  const better = available.find((each) => FAST_CLOCKS.has(each));
  const fix =
    better === undefined
      ? 'Expose an invariant TSC to this machine if it is a VM.'
      : `echo ${better} > ${CLOCK_SOURCE}/current_clocksource`;
  return warning(name, `${current}: slow to read, and every chunk is timed`, fix);
}

function probeOpenFiles(host: DoctorHost): Finding {
  const text = host.readText('/proc/self/limits') ?? '';
  const files = /^Max open files\s+(\S+)/m.exec(text)?.[1] ?? 'unknown';
  return files === 'unlimited' || Number(files) >= OPEN_FILES_WANTED
    ? fine('open files', files)
    : warning('open files', files, `ulimit -n ${OPEN_FILES_WANTED}`);
}

/** Fencing prefers the freezer to SIGSTOP; only making and freezing a real group shows that it works. */
function probeFreezer(host: DoctorHost): Finding {
  const name = 'cgroup v2 freezer';
  const fix =
    'Run as root in a writable cgroup v2, or: systemd-run --scope -p Delegate=yes dwcp agent ...';
  const own = /^0::(.*)$/m.exec(host.readText('/proc/self/cgroup') ?? '')?.[1];
  if (own === undefined) return warning(name, 'no cgroup v2; SIGSTOP is used', fix);
  const mount = /^\S+ (\S+) cgroup2 /m.exec(host.readText('/proc/mounts') ?? '')?.[1];
  if (mount === undefined) return warning(name, 'cgroup v2 not mounted; SIGSTOP is used', fix);
  const refused = host.tryFreezer(`${mount}${own === '/' ? '' : own}`);
  return refused === null
    ? fine(name, 'a group was made and frozen')
    : warning(name, `refused (${refused}); SIGSTOP is used`, fix);
}
