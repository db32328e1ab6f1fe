/**
 * The network of a guest that moves between the two hosts of a WAN: a bridge on each of them with a TAP for
 * QEMU, both joined to a bridge on a third host, that of the guest's client. It is not the link that is
 * measured; like the switches of a data centre, its bridges learn where the guest is now from what it, and
 * QEMU for it, send after the move.
 */
import { execFileSync } from 'node:child_process';
import { DwcpError } from '../src/util/errors.ts';
import { cleanedUp } from './interruption.ts';
import type { Wan } from './lab/wan.ts';

export interface GuestLan {
  /** Words before a command that make it run on the client's host. */
  readonly enterClient: readonly string[];
}

/** The same on both hosts, so that both QEMUs have the same command line. */
export const GUEST_TAP = 'guest0';
export const GUEST_ADDRESS = '10.214.0.2';
export const GUEST_PORT = 6000;
export const GUEST_MAC = '52:54:00:0d:5c:70';
const CLIENT_ADDRESS = '10.214.0.1/24';

/** Removed in every case. The namespaces of the WAN take what is in them along. */
export async function withGuestLan<T>(wan: Wan, work: (lan: GuestLan) => Promise<T>): Promise<T> {
  const client = `dwcp-client-${process.pid}`;
  const remove = (): void => {
    try {
      ip('netns', 'delete', client);
    } catch {
      // It was never made.
    }
  };
  return await cleanedUp(remove, async () => {
    ip('netns', 'add', client);
    ip('-n', client, 'link', 'set', 'lo', 'up');
    bridge(client, 'lan');
    ip('-n', client, 'address', 'add', CLIENT_ADDRESS, 'dev', 'lan');
    for (const [port, host] of [
      ['to-a', wan.a],
      ['to-b', wan.b],
    ] as const) {
      bridge(host, 'lan');
      const peer = ['peer', 'name', 'uplink', 'netns', host];
      ip('-n', client, 'link', 'add', port, 'type', 'veth', ...peer);
      join(client, port);
      join(host, 'uplink');
      ip('-n', host, 'tuntap', 'add', GUEST_TAP, 'mode', 'tap');
      join(host, GUEST_TAP);
    }
    return await work({ enterClient: ['nsenter', `--net=/run/netns/${client}`, '--'] });
  });
}

/** Without spanning tree a port forwards at once. */
function bridge(host: string, name: string): void {
  ip('-n', host, 'link', 'add', name, 'type', 'bridge', 'stp_state', '0');
  ip('-n', host, 'link', 'set', name, 'up');
}

function join(host: string, port: string): void {
  ip('-n', host, 'link', 'set', 'dev', port, 'master', 'lan');
  ip('-n', host, 'link', 'set', 'dev', port, 'up');
}

function ip(...args: readonly string[]): void {
  try {
    execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (cause) {
    const said = (cause as { readonly stderr?: string }).stderr?.trim() || String(cause);
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', `ip ${args.join(' ')}: ${said}`, {
      hint: "A guest's network needs root, network namespaces, and: apt-get install -y iproute2",
      cause,
    });
  }
}
