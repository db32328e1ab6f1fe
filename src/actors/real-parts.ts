/** The ports of a node on this host's kernel: files, TLS, native streams and real guests. */
import { memoryHypervisor } from '../hypervisors/memory-guest.ts';
import { qemuHypervisor } from '../hypervisors/qemu-guest.ts';
import type { StartNodeOptions } from '../node.ts';
import type { GuestKind, Hypervisor } from '../ports/hypervisor.ts';
import { FileStorage } from '../storage/file-storage.ts';
import { systemClock } from '../system/clock.ts';
import { systemRandom } from '../system/random.ts';
import { createNativeBulkTransport } from '../transports/native-bulk.ts';
import { createTlsControlTransport } from '../transports/tls-control.ts';
import type { NodeParts } from './node-start.ts';

export function realParts(options: StartNodeOptions): NodeParts {
  const { dataDir, qemu } = options;
  return {
    clock: systemClock(),
    random: systemRandom(),
    bulk: createNativeBulkTransport(),
    hypervisors: new Map<GuestKind, Hypervisor>([
      ['memory', memoryHypervisor({ dataDir })],
      ['qemu', qemuHypervisor({ dataDir, ...(qemu === undefined ? {} : { qemu }) })],
    ]),
    openStorage: FileStorage.open,
    makeControl: (identity) => createTlsControlTransport({ identity }),
  };
}
