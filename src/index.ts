/**
 * dwcp, for host agents that embed it.
 *
 *   await using node = await startNode({ id: 'host-a', listen, peers, dataDir, identity });
 *   const name = await node.adopt(memoryGuest({ name: 'vm1', memoryBytes: 2 ** 30 }));
 *   const receipt = await node.migrate(name, { to: 'host-b' }).done;
 */
import { startNodeFrom } from './actors/node-start.ts';
import { memoryHypervisor } from './hypervisors/memory-guest.ts';
import { qemuHypervisor } from './hypervisors/qemu-guest.ts';
import type { DwcpNode, StartNodeOptions } from './node.ts';
import type { GuestKind, Hypervisor } from './ports/hypervisor.ts';
import { systemClock } from './system/clock.ts';
import { systemRandom } from './system/random.ts';
import { createNativeBulkTransport } from './transports/native-bulk.ts';

export { type MemoryGuestOptions, memoryGuest } from './hypervisors/memory-guest.ts';
export { type QemuGuestOptions, qemuGuest } from './hypervisors/qemu-guest.ts';
export type {
  DwcpNode,
  GuestHandle,
  GuestStatus,
  MigrateOptions,
  MigrationProgress,
  MigrationReceipt,
  MigrationSession,
  MigrationStatus,
  NodeEvent,
  PeerStatus,
  QemuBinary,
  StartNodeOptions,
} from './node.ts';
export { DwcpError, type ErrorCode } from './util/errors.ts';

/** Starts a node on this host's kernel; rejects with a coded error and leaves nothing running. */
export function startNode(options: StartNodeOptions): Promise<DwcpNode> {
  const { dataDir, qemu } = options;
  return startNodeFrom(options, {
    clock: systemClock(),
    random: systemRandom(),
    bulk: createNativeBulkTransport(),
    hypervisors: new Map<GuestKind, Hypervisor>([
      ['memory', memoryHypervisor({ dataDir })],
      ['qemu', qemuHypervisor({ dataDir, ...(qemu === undefined ? {} : { qemu }) })],
    ]),
  });
}
