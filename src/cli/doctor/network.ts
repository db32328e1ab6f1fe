/** Congestion controls, RDMA devices and the peer that benchmarks compare with. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { runForText } from './command.ts';
import { type Finding, fine, missing, warning } from './finding.ts';

const TCP = '/proc/sys/net/ipv4';
const INFINIBAND = '/sys/class/infiniband';

export function probeNetwork(): readonly Finding[] {
  return [probeCongestionControl(), probeSendBuffer(), probeRdma(), probeIperf()];
}

function probeCongestionControl(): Finding {
  const available = readFileSync(`${TCP}/tcp_available_congestion_control`, 'utf8').trim();
  const current = readFileSync(`${TCP}/tcp_congestion_control`, 'utf8').trim();
  const value = `${available} (default ${current})`;
  const absent = ['cubic', 'bbr'].filter((name) => !available.split(' ').includes(name));
  const load = absent.map((name) => `modprobe tcp_${name}`).join(' && ');
  return absent.length === 0
    ? fine('congestion control', value)
    : warning('congestion control', value, load);
}

function probeSendBuffer(): Finding {
  const bytes = Number(readFileSync('/proc/sys/net/core/wmem_max', 'utf8'));
  return bytes >= 2 ** 20
    ? fine('net.core.wmem_max', `${bytes} bytes`)
    : warning('net.core.wmem_max', `${bytes} bytes`, 'sysctl -w net.core.wmem_max=4194304');
}

function probeRdma(): Finding {
  const devices = existsSync(INFINIBAND) ? readdirSync(INFINIBAND) : [];
  if (devices.length > 0) {
    const states = devices.map((device) => `${device} ${portState(device)}`);
    return fine('RDMA devices', states.join(', '));
  }
  return missing(
    'RDMA devices',
    'none; TCP is used',
    'apt-get install rdma-core && modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0',
  );
}

function portState(device: string): string {
  try {
    return readFileSync(`${INFINIBAND}/${device}/ports/1/state`, 'utf8').trim();
  } catch {
    return 'port 1 unreadable';
  }
}

function probeIperf(): Finding {
  const text = runForText('iperf3', ['--version']);
  return text === null
    ? missing('iperf3', 'not installed; only benchmarks want it', 'apt-get install iperf3')
    : fine('iperf3', text.split('\n')[0] ?? text);
}
