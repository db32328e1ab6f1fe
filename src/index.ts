/**
 * dwcp, for host agents that embed it.
 *
 *   await using node = await startNode({ id: 'host-a', listen, peers, dataDir, identity });
 *   const name = await node.adopt(memoryGuest({ name: 'vm1', memoryBytes: 2 ** 30 }));
 *   const receipt = await node.migrate(name, { to: 'host-b' }).done;
 */
import { startNodeFrom } from './actors/node-start.ts';
import { realParts } from './actors/real-parts.ts';
import type { DwcpNode, StartNodeOptions } from './node.ts';

export { type MemoryGuestOptions, memoryGuest } from './hypervisors/memory-guest.ts';
export { type QemuGuestOptions, qemuGuest } from './hypervisors/qemu-guest.ts';
export type {
  DwcpNode,
  GroupView,
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
  VmOwner,
} from './node.ts';
export { DwcpError, type ErrorCode } from './util/errors.ts';

/** Starts a node on this host's kernel; rejects with a coded error and leaves nothing running. */
export function startNode(options: StartNodeOptions): Promise<DwcpNode> {
  return startNodeFrom(options, realParts(options));
}
