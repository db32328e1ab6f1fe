/** Kernel, processor, memory, process limits and the cgroup freezer. */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { formatBytes } from '../../util/units.ts';
import { type Finding, fine, missing, warning } from './finding.ts';

/** Instructions that the native page kernels pick at run time; each has a slower twin. */
const WANTED_FLAGS = ['sse4_2', 'avx2', 'pclmulqdq', 'aes', 'avx512vl', 'vpclmulqdq'] as const;
const OPEN_FILES_WANTED = 4096;

export function probeMachine(): readonly Finding[] {
  return [
    probeNode(),
    probeKernel(),
    probeCores(),
    ...probeFlags(),
    probeRoom(),
    probeLimits(),
  ].concat(probeFreezer());
}

function probeNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= 20
    ? fine('node', process.version)
    : missing('node', process.version, 'Install Node.js 20 or newer.', true);
}

function probeKernel(): Finding {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 7)
    ? fine('kernel', release())
    : warning(
        'kernel',
        release(),
        'Linux 6.7 or newer brings PAGEMAP_SCAN, the cheapest dirty tracking.',
      );
}

function probeCores(): Finding {
  const all = cpus();
  return fine('cores', `${all.length} x ${all[0]?.model ?? 'unknown'}`);
}

function probeFlags(): readonly Finding[] {
  const line = /^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  const flags = new Set(line.split(' '));
  const has = WANTED_FLAGS.filter((flag) => flags.has(flag));
  const value = has.length === 0 ? 'none of those used' : has.join(' ');
  return has.includes('sse4_2')
    ? [fine('cpu flags', value)]
    : [
        warning(
          'cpu flags',
          value,
          'Without sse4_2 CRC32C runs in software; expose it to this VM.',
        ),
      ];
}

function probeRoom(): Finding {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const bytesOf = (key: string) => {
    const kib = new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1];
    return Number(kib ?? 0) * 1024;
  };
  const available = bytesOf('MemAvailable');
  const value = `${formatBytes(available)} available of ${formatBytes(bytesOf('MemTotal'))}`;
  return available >= 3 * 2 ** 30
    ? fine('memory', value)
    : warning('memory', value, 'The default demo holds 1 GiB twice; try: dwcp demo --size 256MiB');
}

function probeLimits(): Finding {
  const text = readFileSync('/proc/self/limits', 'utf8');
  const soft = (title: string) => new RegExp(`^${title}\\s+(\\S+)`, 'm').exec(text)?.[1] ?? '0';
  const files = soft('Max open files');
  const value = `open files ${files}, locked memory ${soft('Max locked memory')} bytes`;
  return files === 'unlimited' || Number(files) >= OPEN_FILES_WANTED
    ? fine('limits', value)
    : warning('limits', value, `ulimit -n ${OPEN_FILES_WANTED}`);
}

/** Fencing prefers the freezer to SIGSTOP; only making and freezing a real group shows that it works. */
function probeFreezer(): Finding {
  const name = 'cgroup v2 freezer';
  const fix =
    'Run as root in a writable cgroup v2, or: systemd-run --scope -p Delegate=yes dwcp agent ...';
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  if (own === undefined) return warning(name, 'no cgroup v2; SIGSTOP is used', fix);
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1];
  if (mount === undefined) return warning(name, 'cgroup v2 not mounted; SIGSTOP is used', fix);
  const parent = `${mount}${own === '/' ? '' : own}`;
  const group = `${parent}/dwcp-doctor-${process.pid}`;
  try {
    mkdirSync(group);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'error';
    return warning(name, `not writable (${code}); SIGSTOP is used`, fix);
  }
  try {
    writeFileSync(`${group}/cgroup.freeze`, '1');
    return fine(name, 'writable');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'error';
    return warning(name, `cgroup.freeze refused (${code}); SIGSTOP is used`, fix);
  } finally {
    rmdirSync(group);
  }
}
