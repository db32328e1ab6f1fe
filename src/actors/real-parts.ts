/** The ports of a node on this host's kernel: files, TLS, native streams and real guests. */
import { memoryHypervisor } from '../hypervisors/memory-guest.ts';
import { qemuHypervisor } from '../hypervisors/qemu-guest.ts';
import type { StartNodeOptions } from '../node.ts';
import type { GuestKind, Hypervisor } from '../ports/hypervisor.ts';
import type { RaftLog } from '../ports/raft-log.ts';
import { FileStorage } from '../storage/file-storage.ts';
import { NodeDisk } from '../storage/node-disk.ts';
import { openRaftLog } from '../storage/raft-log/open.ts';
import { systemClock } from '../system/clock.ts';
import { systemRandom } from '../system/random.ts';
import { sha256Hex } from '../system/sha256.ts';
import { openContentCache } from '../transports/content-cache.ts';
import { createNativeBulkTransport } from '../transports/native-bulk.ts';
import { rdmaAbsent } from '../transports/rdma-ability.ts';
import { createTlsControlTransport } from '../transports/tls-control.ts';
import { succeeded } from '../util/errors.ts';
import { promised } from '../util/promised.ts';
import type { NodeParts, NodeRaftLog } from './node-start.ts';

export function realParts(options: StartNodeOptions): NodeParts {
  const { dataDir, qemu, contentCache } = options;
  return {
    clock: systemClock(),
    random: systemRandom(),
    bulk: createNativeBulkTransport(
      contentCache === undefined ? {} : { contentCache: openContentCache(contentCache) },
    ),
    hypervisors: new Map<GuestKind, Hypervisor>([
      ['memory', memoryHypervisor({ dataDir })],
      ['qemu', qemuHypervisor({ dataDir, ...(qemu === undefined ? {} : { qemu }) })],
    ]),
    openStorage: FileStorage.open,
    makeControl: (identity) => createTlsControlTransport({ identity }),
    makeRaftLog: raftLogIn,
    digest: sha256Hex,
    rdmaAbsent,
  };
}

function raftLogIn(dataDir: string): NodeRaftLog {
  const disk = new NodeDisk(dataDir);
  let log: RaftLog | null = null;
  return {
    open: (identity, founding, done) => {
      openRaftLog(disk, identity, founding, sha256Hex, (opened) => {
        if (opened.ok) ({ log } = opened.value);
        done(opened);
      });
    },
    close: async () => {
      await promised<void>((done) => (log === null ? done(succeeded(undefined)) : log.close(done)));
      await promised<void>((done) => disk.close(done));
    },
  };
}
