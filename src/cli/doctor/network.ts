/** What TCP may use here, MPTCP, RDMA devices and the peer that benchmarks compare with. */
import { formatBytes } from '../../util/units.ts';
import { type Finding, fine, missing, warning } from './finding.ts';
import type { DoctorHost } from './host.ts';

const TCP = '/proc/sys/net/ipv4';
const INFINIBAND = '/sys/class/infiniband';
/** Of links inside a datacenter, and of those that lose packets. */
const CONGESTION_CONTROLS = ['cubic', 'bbr'] as const;
/** One stream's window on a link of 10 Gbit/s and 3 ms. */
const BUFFER_WANTED_BYTES = 4 * 2 ** 20;

export function probeNetwork(host: DoctorHost): readonly Finding[] {
  return [
    probeCongestionControl(host),
    probeBuffer(host, 'tcp_wmem', 'send'),
    probeBuffer(host, 'tcp_rmem', 'receive'),
    probeMptcp(host),
    probeRdma(host),
    probeIperf(host),
  ];
}

/** Without root only the allowed ones can be set, whatever is loaded. */
function probeCongestionControl(host: DoctorHost): Finding {
  const name = 'congestion control';
  const available = words(host.readText(`${TCP}/tcp_available_congestion_control`));
  const allowed = words(host.readText(`${TCP}/tcp_allowed_congestion_control`));
  const current = host.readText(`${TCP}/tcp_congestion_control`) ?? 'unknown';
  const value = `${available.join(' ')} (default ${current})`;
  const absent = CONGESTION_CONTROLS.filter((each) => !available.includes(each));
  if (absent.length > 0) {
    const load = absent.map((each) => `modprobe tcp_${each}`).join(' && ');
    return warning(name, `${value}: no ${absent.join(', ')}`, load);
  }
  const refused = CONGESTION_CONTROLS.filter((each) => !allowed.includes(each));
  if (host.isRoot || refused.length === 0) return fine(name, value);
  const all = [...new Set([...allowed, ...CONGESTION_CONTROLS])].join(' ');
  return warning(
    name,
    `${value}: only root may set ${refused.join(', ')}`,
    `sysctl -w net.ipv4.tcp_allowed_congestion_control="${all}"`,
  );
}

/** The kernel sizes buffers by itself, up to this limit. */
function probeBuffer(host: DoctorHost, knob: 'tcp_wmem' | 'tcp_rmem', what: string): Finding {
  const name = `${what} buffer`;
  const [least = '4096', usual = '131072', most = '0'] = words(host.readText(`${TCP}/${knob}`));
  const value = `net.ipv4.${knob} up to ${formatBytes(Number(most))}`;
  return Number(most) >= BUFFER_WANTED_BYTES
    ? fine(name, value)
    : warning(
        name,
        `${value}: slow on long links`,
        `sysctl -w net.ipv4.${knob}="${least} ${usual} ${BUFFER_WANTED_BYTES}"`,
      );
}

/** Nothing here needs it: a link has many streams of its own. Said because hosts with two networks ask. */
function probeMptcp(host: DoctorHost): Finding {
  const enabled = host.readText('/proc/sys/net/mptcp/enabled');
  if (enabled === '1') return fine('MPTCP', 'enabled');
  return enabled === '0'
    ? warning('MPTCP', 'switched off; plain TCP is used', 'sysctl -w net.mptcp.enabled=1')
    : missing(
        'MPTCP',
        'this kernel has none; plain TCP is used',
        'Boot a kernel with CONFIG_MPTCP=y.',
      );
}

function probeRdma(host: DoctorHost): Finding {
  const name = 'RDMA devices';
  const devices = host.names(INFINIBAND);
  const { ports, why } = host.rdmaPorts();
  const library = installLine(why);
  if (devices.length > 0) {
    const state = (device: string) => host.readText(`${INFINIBAND}/${device}/ports/1/state`);
    const states = devices.map((device) => `${device} ${state(device) ?? 'port 1 unreadable'}`);
    if (ports.length === 0) {
      const value = `${states.join(', ')}, but ${why}; TCP is used`;
      return warning(name, value, library ?? 'apt-get install -y rdma-core ibverbs-providers');
    }
    const addresses = ports.flatMap((port) => port.addresses);
    if (addresses.length > 0) return fine(name, `${states.join(', ')} at ${addresses.join(', ')}`);
    const value = `${states.join(', ')}, without an address; TCP is used`;
    return warning(name, value, 'ip address add ADDRESS/PREFIX dev INTERFACE');
  }
  if (library !== null) return missing(name, `none; TCP is used. ${why}`, library);
  const hasModules = host.names(`/lib/modules/${host.kernelRelease}`).length > 0;
  return missing(
    name,
    'none; TCP is used',
    hasModules
      ? 'apt-get install rdma-core && modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0'
      : 'This kernel has no modules to load; boot one that has CONFIG_INFINIBAND.',
  );
}

/** What is missing of libraries or of our own build says itself what gets it. */
function installLine(why: string): string | null {
  return /apt-get install [^:,]*/.exec(why)?.[0] ?? null;
}

function probeIperf(host: DoctorHost): Finding {
  const { succeeded, output } = host.run({ command: 'iperf3', args: ['--version'] });
  return succeeded
    ? fine('iperf3', output.split('\n')[0] ?? output)
    : missing('iperf3', 'not installed; only benchmarks want it', 'apt-get install -y iperf3');
}

function words(text: string | null): readonly string[] {
  return text === null ? [] : text.split(/\s+/);
}
