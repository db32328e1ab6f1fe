import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import type { DoctorHost, Program, ProgramEnd } from '../../src/cli/doctor/host.ts';
import { thisHost } from '../../src/cli/doctor/host.ts';
import { examine, formatReport } from '../../src/cli/doctor/report.ts';
import type { KernelTracking } from '../../src/ports/memory.ts';
import { DwcpError } from '../../src/util/errors.ts';

const QEMU = {
  binary: '/opt/qemu',
  version: '10.0.2',
  args: ['-L', '/opt/share'],
  env: { L: 'x' },
};
const TRIED_KVM: ProgramEnd = {
  succeeded: true,
  output: '{"return": {"enabled": true, "present": true}}',
  errors: '',
};

/** What a good machine answers; a test says how its own differs. */
const FILES: Readonly<Record<string, string>> = {
  '/proc/cpuinfo': 'flags\t\t: fpu sse4_2 avx2 pclmulqdq aes',
  '/proc/meminfo': 'MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nHugePages_Total: 0\n',
  '/proc/self/limits':
    'Max open files            20000                20000                files\n' +
    'Max locked memory         8388608              8388608              bytes',
  '/proc/self/cgroup': '0::/',
  '/proc/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0',
  '/sys/devices/system/clocksource/clocksource0/current_clocksource': 'tsc',
  '/sys/devices/system/clocksource/clocksource0/available_clocksource': 'tsc hpet acpi_pm',
  '/sys/kernel/mm/transparent_hugepage/shmem_enabled': 'always within_size [advise] never',
  '/proc/sys/net/ipv4/tcp_available_congestion_control': 'reno cubic bbr',
  '/proc/sys/net/ipv4/tcp_allowed_congestion_control': 'reno cubic bbr',
  '/proc/sys/net/ipv4/tcp_congestion_control': 'cubic',
  '/proc/sys/net/ipv4/tcp_wmem': '4096\t16384\t4194304',
  '/proc/sys/net/ipv4/tcp_rmem': '4096\t131072\t6291456',
  '/proc/sys/net/mptcp/enabled': '1',
  '/sys/class/infiniband/mlx5_0/ports/1/state': '4: ACTIVE',
};
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  '/sys/class/infiniband': ['mlx5_0'],
};

const RDMA_PORT = {
  device: 'mlx5_0',
  port: 1,
  state: 'active',
  mtuBytes: 4096,
  queuePairsMax: 1024,
  addresses: ['10.0.0.1'],
};

type Differences = Partial<Omit<DoctorHost, 'readText' | 'names'>> & {
  readonly files?: Readonly<Record<string, string>>;
  readonly folders?: Readonly<Record<string, readonly string[]>>;
  readonly qemu?: typeof QEMU | null;
  readonly kvm?: ProgramEnd;
  readonly programs?: (program: Program) => void;
};

function fakeHost(differences: Differences = {}): DoctorHost {
  const { files, folders, qemu = QEMU, kvm = TRIED_KVM, programs, ...rest } = differences;
  return {
    nodeVersion: 'v20.1.0',
    kernelRelease: '6.12.1',
    isRoot: true,
    cpuModels: ['Fast', 'Fast'],
    readText: (path) => ({ ...FILES, ...files })[path] ?? null,
    names: (path) => ({ ...FOLDERS, ...folders })[path] ?? [],
    access: () => 'usable',
    run: (program) => {
      programs?.(program);
      if (program.command === 'iperf3') return { ...TRIED_KVM, output: 'iperf 3.12\nLinux' };
      if (program.command === qemu?.binary) return kvm;
      return { succeeded: true, output: JSON.stringify(qemu), errors: '' };
    },
    fileSystem: () => ({ freeBytes: 2 ** 40, type: 0xef53 }),
    tryWriteTracking: () => {},
    tryFreezer: () => null,
    rdmaPorts: () => ({ ports: [RDMA_PORT], why: '' }),
    ...rest,
  };
}

function diagnose(differences: Differences): ReadonlyMap<string, Finding> {
  const { findings } = examine(fakeHost(differences), { dataDir: '/var/lib/dwcp' });
  return new Map(findings.map((finding) => [finding.name, finding]));
}

const OFF = { succeeded: false, output: '', errors: '' };
const WITHOUT_RDMA = {
  folders: { '/sys/class/infiniband': [] },
  rdmaPorts: () => ({ ports: [], why: 'this machine has no RDMA device' }),
};

function withoutLibrary(why: string): Differences {
  return { rdmaPorts: () => ({ ports: [], why }) };
}

/** A machine, the finding that must tell, its status, and what its value and its fix must say. */
const CASES: readonly [string, Differences, string, Finding['status'], RegExp, RegExp][] = [
  ['an old Node', { nodeVersion: 'v18.20.0' }, 'node', 'missing', /v18/, /Node\.js 20/],
  ['an old kernel', { kernelRelease: '6.1.0-56' }, 'kernel', 'warn', /6\.1/, /6\.7/],
  [
    'no SSE 4.2',
    { files: { '/proc/cpuinfo': 'flags : fpu' } },
    'cpu flags',
    'warn',
    /none/,
    /software/,
  ],
  [
    'a slow clock',
    { files: { [`${clock()}/current_clocksource`]: 'hpet' } },
    'clock source',
    'warn',
    /hpet/,
    /echo tsc > /,
  ],
  [
    'few descriptors',
    { files: { '/proc/self/limits': 'Max open files   1024  1024 files' } },
    'open files',
    'warn',
    /1024/,
    /ulimit -n 4096/,
  ],
  [
    'a freezer that refuses',
    { tryFreezer: () => 'EROFS' },
    'cgroup v2 freezer',
    'warn',
    /EROFS.*SIGSTOP/,
    /Delegate=yes/,
  ],
  [
    'userfaultfd refused',
    refusing('EPERM'),
    'dirty tracking',
    'warn',
    /rehash.*step/,
    /sysctl -w vm/,
  ],
  [
    'PAGEMAP_SCAN refused and soft-dirty bits',
    refusing('ENOTTY', ['pagemap-scan']),
    'dirty tracking',
    'warn',
    /soft-dirty.*step/,
    /Linux 6\.7/,
  ],
  ['no userfaultfd', refusing('ENOSYS'), 'dirty tracking', 'warn', /rehash/, /CONFIG_USERFAULTFD/],
  ['no PAGEMAP_SCAN', refusing('ENOTTY'), 'dirty tracking', 'warn', /rehash/, /Linux 6\.7/],
  ['a scan that loses writes', refusing('EIO'), 'dirty tracking', 'warn', /rehash/, /Report/],
  [
    'little memory',
    { files: { '/proc/meminfo': 'MemTotal: 2097152 kB\nMemAvailable: 1048576 kB' } },
    'memory',
    'warn',
    /1\.0 GiB available of 2\.0 GiB/,
    /--size 256MiB/,
  ],
  [
    'small pages only',
    { files: { '/sys/kernel/mm/transparent_hugepage/shmem_enabled': 'always [never]' } },
    'huge pages',
    'warn',
    /never/,
    /echo advise > /,
  ],
  ['pinning refused', { isRoot: false }, 'locked memory', 'warn', /8\.0 MiB/, /ulimit -l/],
  [
    'a data directory that cannot be written',
    { access: (path) => (path.startsWith('/var') ? 'denied' : 'usable') },
    'data directory',
    'missing',
    /not ours/,
    /install -d/,
  ],
  [
    'a data directory in memory',
    { fileSystem: () => ({ freeBytes: 2 ** 40, type: 0x01021994 }) },
    'data directory',
    'warn',
    /in memory/,
    /Use a disk/,
  ],
  [
    'a full disk',
    { fileSystem: () => ({ freeBytes: 2 ** 20, type: 0xef53 }) },
    'data directory',
    'warn',
    /1\.0 MiB free/,
    /1\.0 GiB/,
  ],
  [
    'bbr not loaded',
    { files: { '/proc/sys/net/ipv4/tcp_available_congestion_control': 'reno cubic' } },
    'congestion control',
    'warn',
    /no bbr/,
    /modprobe tcp_bbr/,
  ],
  [
    'cubic for root only',
    {
      isRoot: false,
      files: { '/proc/sys/net/ipv4/tcp_allowed_congestion_control': 'reno bbr' },
    },
    'congestion control',
    'warn',
    /only root may set cubic/,
    /tcp_allowed_congestion_control="reno bbr cubic"/,
  ],
  [
    'a small send buffer',
    { files: { '/proc/sys/net/ipv4/tcp_wmem': '4096 16384 131072' } },
    'send buffer',
    'warn',
    /128 KiB/,
    /tcp_wmem="4096 16384 4194304"/,
  ],
  [
    'a small receive buffer',
    { files: { '/proc/sys/net/ipv4/tcp_rmem': '4096 87380 131072' } },
    'receive buffer',
    'warn',
    /128 KiB/,
    /tcp_rmem="4096 87380 4194304"/,
  ],
  [
    'MPTCP off',
    { files: { '/proc/sys/net/mptcp/enabled': '0' } },
    'MPTCP',
    'warn',
    /off/,
    /sysctl -w net\.mptcp/,
  ],
  [
    'an RDMA device and no library',
    withoutLibrary('libibverbs.so.1 is not installed: apt-get install libibverbs1'),
    'RDMA devices',
    'warn',
    /mlx5_0.*ACTIVE.*not installed.*TCP/,
    /^apt-get install libibverbs1$/,
  ],
  [
    'a build without the headers',
    {
      ...WITHOUT_RDMA,
      ...withoutLibrary('built without RDMA: apt-get install libibverbs-dev, and build it anew'),
    },
    'RDMA devices',
    'missing',
    /built without/,
    /^apt-get install libibverbs-dev$/,
  ],
  [
    'an RDMA device without an address',
    { rdmaPorts: () => ({ ports: [{ ...RDMA_PORT, addresses: [] }], why: '' }) },
    'RDMA devices',
    'warn',
    /without an address/,
    /ip address add/,
  ],
  ['no RDMA and no modules', WITHOUT_RDMA, 'RDMA devices', 'missing', /TCP/, /CONFIG_INFINIBAND/],
  [
    'no RDMA but modules',
    {
      folders: { ...WITHOUT_RDMA.folders, '/lib/modules/6.12.1': ['kernel'] },
    },
    'RDMA devices',
    'missing',
    /TCP/,
    /rdma link add/,
  ],
  ['no /dev/kvm', { access: absent('/dev/kvm') }, 'kvm', 'missing', /TCG/, /modprobe kvm/],
  [
    'a /dev/kvm of others',
    { access: (path) => (path === '/dev/kvm' ? 'denied' : 'usable') },
    'kvm',
    'missing',
    /not ours/,
    /usermod/,
  ],
  [
    'a KVM that makes no CPU',
    { kvm: { ...OFF, errors: 'qemu: error: failed to set MSR 0x10a\naborted' } },
    'kvm',
    'warn',
    /no virtual CPU: qemu: error: failed to set MSR 0x10a$/,
    /nested/,
  ],
  [
    'a QEMU that quietly emulates',
    { kvm: { ...TRIED_KVM, output: '{"return": {"enabled": false, "present": true}}' } },
    'kvm',
    'warn',
    /no virtual CPU/,
    /TCG/,
  ],
  ['no QEMU', { qemu: null }, 'qemu', 'missing', /none/, /node \S*scripts\/qemu\.mjs$/],
  ['KVM without QEMU', { qemu: null }, 'kvm', 'warn', /untried/, /scripts\/qemu\.mjs$/],
  [
    'QEMU 7.2 under emulation',
    { qemu: { ...QEMU, version: '7.2.13' }, access: absent('/dev/kvm') },
    'qemu',
    'warn',
    /7\.2.*loses/,
    /scripts\/qemu\.mjs$/,
  ],
];

for (const [machine, differences, name, status, value, fix] of CASES) {
  test(`the doctor tells of ${machine} and what to do`, () => {
    const finding = diagnose(differences).get(name);
    assert.equal(finding?.status, status);
    assert.match(finding.value, value);
    assert.match(finding.fix ?? '', fix);
  });
}

test('a good machine gets no advice', () => {
  for (const finding of diagnose({}).values()) {
    assert.deepEqual([finding.name, finding.status, finding.fix], [finding.name, 'ok', null]);
  }
});

test('QEMU 7.2 under a KVM that works gets no warning', () => {
  assert.equal(diagnose({ qemu: { ...QEMU, version: '7.2.13' } }).get('qemu')?.status, 'ok');
});

test('KVM is tried with the QEMU that was found, its arguments and its environment', () => {
  const tried: Program[] = [];
  diagnose({ programs: (program) => tried.push(program) });
  const trial = tried.find((program) => program.command === QEMU.binary);
  assert.deepEqual(trial?.args.slice(0, 2), QEMU.args);
  assert.ok(trial.args.join(' ').includes('-accel kvm'));
  assert.deepEqual(trial.environment, QEMU.env);
});

test('only what dwcp cannot do without makes the report fail', () => {
  const bare = { qemu: null, ...refusing('ENOSYS'), access: () => 'denied' as const };
  assert.equal(examine(fakeHost(bare), { dataDir: '/x' }).ok, true);
  assert.equal(examine(fakeHost({ nodeVersion: 'v18.0.0' }), { dataDir: '/x' }).ok, false);
});

test('the text has a line per finding and an arrow before each piece of advice', () => {
  const report = examine(fakeHost(refusing('ENOSYS')), { dataDir: '/x' });
  const lines = formatReport(report).split('\n');
  assert.equal(lines.length, report.findings.length + 1);
  assert.match(lines.find((line) => line.includes('->')) ?? '', /-> Boot a kernel/);
});

test('on this machine the doctor and the kernel agree about dirty tracking', () => {
  const host = thisHost();
  let tracks = true;
  try {
    host.tryWriteTracking('pagemap-scan');
  } catch (error) {
    assert.ok(error instanceof DwcpError && error.errno !== null, String(error));
    tracks = false;
  }
  const { findings } = examine(host, { dataDir: '/var/lib/dwcp' });
  const finding = findings.find(({ name }) => name === 'dirty tracking');
  assert.equal(finding?.status, tracks ? 'ok' : 'warn');
});

function refusing(
  errno: string,
  backends: readonly KernelTracking[] = ['pagemap-scan', 'soft-dirty'],
): Differences {
  return {
    tryWriteTracking: (backend) => {
      if (!backends.includes(backend)) return;
      throw new DwcpError('ERR_DWCP_NATIVE', 'this step: refused', { errno });
    },
  };
}

function absent(gone: string): DoctorHost['access'] {
  return (path) => (path === gone ? 'absent' : 'usable');
}

function clock(): string {
  return '/sys/devices/system/clocksource/clocksource0';
}
