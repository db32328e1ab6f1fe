/**
 * A member of a consensus group on this host's kernel, without guests around it: real links, the
 * durable log in a directory of its own, and whatever application the embedder replicates.
 */
import { mkdir } from 'node:fs/promises';
import type { NodeIdentity } from '../identity/authority.ts';
import { NODE_DEFAULTS } from '../node.ts';
import type { OpenedRaftLog } from '../ports/raft-log.ts';
import type { HostPort } from '../ports/transport.ts';
import { founder } from '../protocols/raft/fresh.ts';
import type { Application } from '../protocols/raft/sessions/machine.ts';
import type { ReadGuarantee } from '../protocols/raft/types.ts';
import { lockDataDirectory } from '../storage/data-directory-lock.ts';
import { NodeDisk } from '../storage/node-disk.ts';
import { openRaftLog } from '../storage/raft-log/open.ts';
import { systemClock } from '../system/clock.ts';
import { systemRandom } from '../system/random.ts';
import { sha256Hex } from '../system/sha256.ts';
import { createNativeBulkTransport } from '../transports/native-bulk.ts';
import { createTlsControlTransport } from '../transports/tls-control.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
import { promised } from '../util/promised.ts';
import { LinkSwitch, PeerLinks } from './link-switch.ts';
import type { LinkReport } from './messages.ts';
import { createNactHost } from './nact-host.ts';
import { spawnReplica } from './replica.ts';
import type { ReadPoint, ReplicaMessage, ReplicaStatus } from './replica-messages.ts';
import { type ReplicaOptions, replicaIds } from './replica-options.ts';
import { type ListeningPorts, type PeerOptions, spawnLinks } from './spawn-links.ts';
import type { ActorHost, ActorRef } from './system.ts';

type Passed = 'group' | 'timing' | 'limits' | 'proposals' | 'onStatus' | 'onApplied' | 'report';

export interface StartReplicaOptions extends Pick<ReplicaOptions, Passed> {
  readonly identity: NodeIdentity;
  /** The other members. */
  readonly peers: readonly PeerOptions[];
  /** Port 0 for any. */
  readonly listen: HostPort;
  /** Made when it is missing; one process at a time. */
  readonly dataDir: string;
  /** Empty. Executed by this replica alone; read it when a read was answered. */
  readonly application: Application;
  readonly onFatal?: (error: Error) => void;
}

export interface StartedReplica {
  readonly ports: ListeningPorts;
  /** See `ReplicaMessage` for what each of them is refused with. */
  propose(command: Uint8Array, patienceMs: number | null): Promise<Uint8Array>;
  read(guarantee: ReadGuarantee, patienceMs: number | null): Promise<ReadPoint>;
  transferLeadership(to: string): Promise<void>;
  status(): Promise<ReplicaStatus>;
  stop(): Promise<void>;
}

export async function startReplica(options: StartReplicaOptions): Promise<StartedReplica> {
  const { dataDir, onFatal } = options;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const lock = await lockDataDirectory(dataDir);
  const disk = new NodeDisk(dataDir);
  const host = createNactHost({
    clock: systemClock(),
    ...(onFatal === undefined ? {} : { onFatal }),
  });
  const close = async (): Promise<void> => {
    await new Promise<void>((resolve) => host.shutdown(resolve));
    await promised<void>((done) => disk.close(done));
    await lock.release();
  };
  try {
    const log = await openLog(options, disk);
    const links = new PeerLinks();
    const replica = spawnMember(host, options, log, links);
    const ports = await connect(host, options, new LinkSwitch(nobody(), replica, links));
    return new RunningReplica(replica, ports, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function membersOf({ identity, peers }: StartReplicaOptions): readonly string[] {
  return [identity.nodeId, ...peers.map(({ id }) => id)];
}

function openLog(options: StartReplicaOptions, disk: NodeDisk): Promise<OpenedRaftLog> {
  const ids = replicaIds(membersOf(options));
  const replica = ids.get(options.identity.nodeId) ?? 0;
  const identity = { group: options.group, replica };
  return promised((done) => openRaftLog(disk, identity, founder(ids.values()), sha256Hex, done));
}

function spawnMember(
  host: ActorHost,
  options: StartReplicaOptions,
  log: OpenedRaftLog,
  links: PeerLinks,
): ActorRef<ReplicaMessage> {
  const {
    identity,
    peers: _peers,
    listen: _listen,
    dataDir: _dataDir,
    onFatal: _fatal,
    ...rest
  } = options;
  return spawnReplica(host, {
    ...rest,
    self: identity.nodeId,
    members: membersOf(options),
    ...{ log, digest: sha256Hex, random: systemRandom() },
    send: (peer, envelope) => links.send(peer, envelope),
  });
}

/** There is no node behind the replica: what is not for it is for nobody. */
function nobody(): ActorRef<LinkReport> {
  return { path: '/nobody', incarnation: 0, tell: () => 'accepted' };
}

function connect(
  host: ActorHost,
  options: StartReplicaOptions,
  report: ActorRef<LinkReport>,
): Promise<ListeningPorts> {
  const { identity, peers, listen } = options;
  return promised((done) => {
    spawnLinks(host, {
      ...{ nodeId: identity.nodeId, peers, report, random: systemRandom() },
      control: createTlsControlTransport({ identity }),
      bulk: createNativeBulkTransport(),
      ...{ controlListen: listen, bulkListen: { host: listen.host, port: 0 } },
      ...{ streams: 1, congestionControl: 'cubic', mode: 'datacenter' },
      windowBytes: NODE_DEFAULTS.windowBytes,
      chunkBytes: NODE_DEFAULTS.chunkBytes,
      onListening: done,
    });
  });
}

class RunningReplica implements StartedReplica {
  readonly ports: ListeningPorts;
  readonly #replica: ActorRef<ReplicaMessage>;
  readonly #close: () => Promise<void>;
  #stopped: Promise<void> | null = null;

  constructor(
    replica: ActorRef<ReplicaMessage>,
    ports: ListeningPorts,
    close: () => Promise<void>,
  ) {
    this.#replica = replica;
    this.ports = ports;
    this.#close = close;
  }

  propose(command: Uint8Array, patienceMs: number | null): Promise<Uint8Array> {
    return this.#ask<Uint8Array>((done) => ({ type: 'propose', command, patienceMs, done }));
  }

  read(guarantee: ReadGuarantee, patienceMs: number | null): Promise<ReadPoint> {
    return this.#ask<ReadPoint>((done) => ({ type: 'read', guarantee, patienceMs, done }));
  }

  transferLeadership(to: string): Promise<void> {
    return this.#ask<void>((done) => ({ type: 'transferLeadership', to, done }));
  }

  status(): Promise<ReplicaStatus> {
    return this.#ask<ReplicaStatus>((done) => ({ type: 'status', done }));
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  #ask<T>(message: (done: Completion<T>) => ReplicaMessage): Promise<T> {
    return promised<T>((done) => {
      const told = this.#replica.tell(message(done));
      if (told === 'accepted') return;
      const code = told === 'full' ? 'ERR_DWCP_LIMIT' : 'ERR_DWCP_CLOSED';
      done({ ok: false, error: new DwcpError(code, `the replica is ${told}`) });
    });
  }
}
