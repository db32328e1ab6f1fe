/** A node whose every figure a test sets: what is exported must come from there. */
import { Subject } from 'rxjs';
import type {
  ClaimReceipt,
  ContentCacheCounters,
  DwcpNode,
  GroupView,
  GuestHandle,
  GuestStatus,
  LinkModeChange,
  MigrateOptions,
  MigrationProgress,
  MigrationReceipt,
  MigrationSession,
  MigrationStatus,
  NodeEvent,
  PeerStatus,
  VmOwner,
} from '../../src/node.ts';
import { DwcpError } from '../../src/util/errors.ts';

export const RECEIPT: MigrationReceipt = {
  migrationId: 'm1',
  guest: 'vm1',
  from: 'a',
  to: 'b',
  rounds: 3,
  steps: ['encode harder'],
  postcopy: true,
  totalMs: 1234.5,
  stoppedMs: 41.5,
  wireBytes: 5_000,
  rawBytes: 4_096,
  ...{ zeroPages: 7, duplicatePages: 2, deltaPages: 3, compressedPages: 4 },
  rawPages: 1,
  comparedPages: 8,
  differentPages: 0,
  cuts: 2,
  restarts: 1,
  heldPages: 5,
  transport: 'rdma',
  transportFallback: null,
  verified: true,
};

export const STATUS: MigrationStatus = {
  migrationId: 'm1',
  phase: 'precopy',
  round: 2,
  totalBytes: 1 << 20,
  goodputBytesPerSec: 12.5,
  etaMs: { low: 10.5, high: 20.5 },
  reason: 'converging',
  ...{ zeroPages: 1, duplicatePages: 5, deltaPages: 6, compressedPages: 7 },
  rawPages: 2,
  rawBytes: 8192,
  wireBytes: 9000,
  ackedBytes: 8192,
  remainingBytes: 4096,
  dirtyBytesPerSec: 99.5,
  maxBandwidth: 5e6,
  guest: 'vm1',
  from: 'a',
  to: 'b',
  side: 'source',
  error: null,
  receipt: null,
};

export const MODE_CHANGE: LinkModeChange = {
  ...{ number: 1, from: 'internet', to: 'datacenter', forced: true, reason: 'forced' },
  ...{ outcome: 'agreed', problem: null, detectedMs: null, appliedMs: 1.5 },
  ...{ effectiveMs: 2.5, stallMs: 3.5 },
};

export class FakeNode implements DwcpNode {
  readonly id = 'a';
  readonly address = { controlPort: 7000, bulkPort: 7001 };
  readonly events$: Subject<NodeEvent> = new Subject();
  readonly calls: unknown[][] = [];
  guestList: GuestStatus[] = [
    {
      name: 'vm1',
      kind: 'memory',
      state: 'running',
      memoryBytes: 1 << 30,
      pid: 42,
      migrationId: null,
      epoch: 5,
      workload: {
        operations: 777,
        longestGapMs: 12.5,
        invariantHeld: true,
        dirtyBytesPerSec: 1.5,
        askedDirtyBytesPerSec: 2.5,
      },
    },
  ];
  peerList: PeerStatus[] = [
    {
      id: 'b',
      connected: true,
      streams: 6,
      mode: 'datacenter',
      modePolicy: 'datacenter',
      modeChange: MODE_CHANGE,
      wireBytesSent: 111,
      wireBytesReceived: 222,
      chunksReinjected: 3,
      chunksCorrupt: 2,
      encryption: 'aes-128-gcm',
      framesForged: 3,
      framesReplayed: 4,
      congestionControl: 'cubic',
      transport: 'rdma',
      transportFallback: 'one stream has none',
      rdma: {
        ...{ streams: 3, workRequests: 100, doorbells: 40, completions: 13, arrivals: 25 },
        ...{ writtenBytes: 2 ** 20, copiedBytes: 4096, fallbacks: 1 },
        fallback: 'one stream has none',
      },
      maxBandwidth: 5e6,
      problem: { code: 'ERR_DWCP_PEER_UNREACHABLE', message: 'no bulk stream', hint: 'Open it.' },
    },
  ];
  groupView: GroupView = {
    ...{ voters: ['a', 'b', 'c'], leader: 'b', term: 4, commitIndex: 90, appliedIndex: 89 },
    problem: null,
  };
  ownerList: VmOwner[] = [{ vm: 'vm1', owner: 'a', epoch: 5, movingTo: 'b' }];
  cache: ContentCacheCounters | null = {
    ...{
      pages: 12,
      bytes: 5e4,
      bytesMax: 1e6,
      segments: 3,
      hits: 40,
      misses: 6,
      savedBytes: 162560,
    },
    ...{ corruptPages: 2, storedPages: 14, evictedPages: 9, damagedSegments: 1, writeErrors: 8 },
    isFilling: true,
  };
  migrationList: MigrationStatus[] = [STATUS];
  refusal: DwcpError | null = null;

  adopt(guest: GuestHandle): Promise<string> {
    this.calls.push(['adopt', guest.name]);
    return Promise.resolve(guest.name);
  }
  guests(): readonly GuestStatus[] {
    return this.guestList;
  }
  peers(): readonly PeerStatus[] {
    return this.peerList;
  }
  group(): GroupView {
    return this.groupView;
  }
  contentCache(): ContentCacheCounters | null {
    return this.cache;
  }
  owners(): readonly VmOwner[] {
    return this.ownerList;
  }
  migrate(guestName: string, options: MigrateOptions): MigrationSession {
    this.calls.push(['migrate', guestName, options]);
    const progress$ = new Subject<MigrationProgress>();
    const done = new Promise<MigrationReceipt>((resolve, reject) => {
      setImmediate(() => {
        progress$.next(STATUS);
        if (this.refusal === null) resolve(RECEIPT);
        else reject(this.refusal);
      });
    });
    return { id: 'm1', progress$, done, cancel: () => {} };
  }
  migrations(): readonly MigrationStatus[] {
    return this.migrationList;
  }
  cancel(migrationId: string): Promise<void> {
    this.calls.push(['cancel', migrationId]);
    if (migrationId === 'm1') return Promise.resolve();
    return Promise.reject(
      new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', `no migration ${migrationId}`, { hint: 'List.' }),
    );
  }
  claim(guestName: string, operator: string): Promise<ClaimReceipt> {
    this.calls.push(['claim', guestName, operator]);
    return Promise.resolve({ guest: guestName, epoch: 2, resumed: true });
  }
  setLinkMode(peer: string, policy: string): Promise<void> {
    this.calls.push(['setLinkMode', peer, policy]);
    return Promise.resolve();
  }
  setMaxBandwidth(peer: string, bytesPerSec: number): void {
    this.calls.push(['setMaxBandwidth', peer, bytesPerSec]);
  }
  setMigrationBandwidth(migrationId: string, bytesPerSec: number): Promise<void> {
    this.calls.push(['setMigrationBandwidth', migrationId, bytesPerSec]);
    return Promise.resolve();
  }
  reloadIdentity(): void {}

  stop(): Promise<void> {
    return Promise.resolve();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
