/**
 * The datacenter mode's algorithm; iperf3 and the landing peer get the same. Read back from the kernel, so that
 * no figure hides another one.
 */
import { readFileSync } from 'node:fs';
import type { CongestionControl } from '../src/ports/transport.ts';

const ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';

/** Without root only the allowed ones can be set; reno always can. */
export const CONGESTION_CONTROL: CongestionControl = chosen();

function chosen(): CongestionControl {
  if (process.getuid?.() === 0) return 'cubic';
  return readFileSync(ALLOWED, 'utf8').trim().split(/\s+/).includes('cubic') ? 'cubic' : 'reno';
}
