/** Between the node's own types and the Admin messages. Absent on the wire is null here. */
import type { dwcp } from '#wire';
import type {
  ContentCacheCounters,
  GroupView,
  GuestStatus,
  LinkModeChange,
  MigrationProgress,
  MigrationReceipt,
  MigrationStatus,
  PeerStatus,
  Problem,
  VmOwner,
} from '../node.ts';
import { LINK_MODES, type LinkMode } from '../ports/link-mode.ts';
import type { DirtyTrackingBackend } from '../ports/memory.ts';
import type { PageClasses } from '../ports/transport.ts';

/** What `Status` answers. */
export interface AgentStatus {
  readonly node: string;
  readonly controlPort: number;
  readonly bulkPort: number;
  readonly uptimeMs: number;
  readonly guests: readonly GuestStatus[];
  readonly peers: readonly PeerStatus[];
  readonly group: GroupView;
  readonly owners: readonly VmOwner[];
  /** Null where it has none. */
  readonly contentCache: ContentCacheCounters | null;
  /** How pages that memory guests wrote are found on this host. */
  readonly dirtyTracking: DirtyTrackingBackend;
}

export function statusToWire(status: AgentStatus): dwcp.AdminStatus.$Properties {
  const peers = status.peers.map((peer) => ({
    ...peer,
    modeChange: peer.modeChange && { ...peer.modeChange, problem: peer.modeChange.problem ?? '' },
    congestionControl: peer.congestionControl ?? '',
    transport: peer.transport ?? '',
    transportFallback: peer.transportFallback ?? '',
  }));
  const { group, owners } = status;
  return {
    ...status,
    guests: [...status.guests],
    peers,
    group: {
      ...group,
      voters: [...group.voters],
      leader: group.leader ?? '',
      problem: group.problem ?? '',
    },
    owners: owners.map((owner) => ({ ...owner, movingTo: owner.movingTo ?? '' })),
  };
}

export function statusFromWire(wire: dwcp.AdminStatus): AgentStatus {
  return {
    node: wire.node,
    controlPort: wire.controlPort,
    bulkPort: wire.bulkPort,
    uptimeMs: wire.uptimeMs,
    guests: wire.guests.map(guestFromWire),
    peers: wire.peers.map(peerFromWire),
    group: groupFromWire(wire.group ?? {}),
    owners: wire.owners.map(ownerFromWire),
    contentCache: wire.contentCache ? cacheFromWire(wire.contentCache) : null,
    dirtyTracking: (wire.dirtyTracking || 'rehash') as DirtyTrackingBackend,
  };
}

function cacheFromWire(wire: dwcp.AdminContentCache.$Properties): ContentCacheCounters {
  return {
    pages: wire.pages ?? 0,
    bytes: wire.bytes ?? 0,
    bytesMax: wire.bytesMax ?? 0,
    segments: wire.segments ?? 0,
    hits: wire.hits ?? 0,
    misses: wire.misses ?? 0,
    savedBytes: wire.savedBytes ?? 0,
    corruptPages: wire.corruptPages ?? 0,
    storedPages: wire.storedPages ?? 0,
    evictedPages: wire.evictedPages ?? 0,
    damagedSegments: wire.damagedSegments ?? 0,
    writeErrors: wire.writeErrors ?? 0,
    isFilling: wire.isFilling ?? false,
  };
}

function groupFromWire(wire: dwcp.AdminGroup.$Properties): GroupView {
  return {
    voters: wire.voters ?? [],
    leader: wire.leader || null,
    term: wire.term ?? 0,
    commitIndex: wire.commitIndex ?? 0,
    appliedIndex: wire.appliedIndex ?? 0,
    problem: wire.problem || null,
  };
}

function ownerFromWire(wire: dwcp.AdminOwner.$Properties): VmOwner {
  return {
    vm: wire.vm ?? '',
    owner: wire.owner ?? '',
    epoch: wire.epoch ?? 0,
    movingTo: wire.movingTo || null,
  };
}

export function guestFromWire(wire: dwcp.AdminGuest.$Properties): GuestStatus {
  const workload = wire.workload ?? null;
  return {
    name: wire.name ?? '',
    kind: wire.kind === 'qemu' ? 'qemu' : 'memory',
    state: (wire.state ?? 'outcomeUnknown') as GuestStatus['state'],
    memoryBytes: wire.memoryBytes ?? 0,
    pid: wire.pid ?? 0,
    migrationId: wire.migrationId || null,
    epoch: wire.epoch ?? 0,
    workload: workload && {
      operations: workload.operations ?? 0,
      longestGapMs: workload.longestGapMs ?? 0,
      invariantHeld: workload.invariantHeld ?? false,
      dirtyBytesPerSec: workload.dirtyBytesPerSec ?? 0,
      askedDirtyBytesPerSec: workload.askedDirtyBytesPerSec ?? 0,
    },
  };
}

function peerFromWire(wire: dwcp.AdminPeer.$Properties): PeerStatus {
  return {
    id: wire.id ?? '',
    connected: wire.connected ?? false,
    streams: wire.streams ?? 0,
    mode: modeFromWire(wire.mode) ?? 'datacenter',
    modePolicy: modeFromWire(wire.modePolicy) ?? 'auto',
    modeChange: wire.modeChange ? modeChangeFromWire(wire.modeChange) : null,
    wireBytesSent: wire.wireBytesSent ?? 0,
    wireBytesReceived: wire.wireBytesReceived ?? 0,
    chunksReinjected: wire.chunksReinjected ?? 0,
    chunksCorrupt: wire.chunksCorrupt ?? 0,
    encryption: (wire.encryption || null) as PeerStatus['encryption'],
    framesForged: wire.framesForged ?? 0,
    framesReplayed: wire.framesReplayed ?? 0,
    transport: (wire.transport || null) as PeerStatus['transport'],
    transportFallback: wire.transportFallback || null,
    rdma: {
      streams: wire.rdma?.streams ?? 0,
      workRequests: wire.rdma?.workRequests ?? 0,
      doorbells: wire.rdma?.doorbells ?? 0,
      completions: wire.rdma?.completions ?? 0,
      arrivals: wire.rdma?.arrivals ?? 0,
      writtenBytes: wire.rdma?.writtenBytes ?? 0,
      copiedBytes: wire.rdma?.copiedBytes ?? 0,
      fallbacks: wire.rdma?.fallbacks ?? 0,
      fallback: wire.transportFallback ?? '',
    },
    congestionControl: wire.congestionControl || null,
    maxBandwidth: wire.maxBandwidth ?? 0,
    problem: wire.problem ? problemFromWire(wire.problem) : null,
  };
}

function modeFromWire(text: string | null | undefined): LinkMode | null {
  return LINK_MODES.find((mode) => mode === text) ?? null;
}

function modeChangeFromWire(wire: dwcp.AdminModeChange.$Properties): LinkModeChange {
  return {
    number: wire.number ?? 0,
    from: modeFromWire(wire.from) ?? 'datacenter',
    to: modeFromWire(wire.to) ?? 'datacenter',
    forced: wire.forced ?? false,
    reason: wire.reason ?? '',
    outcome: (wire.outcome ?? 'rolledBack') as LinkModeChange['outcome'],
    problem: wire.problem || null,
    detectedMs: wire.detectedMs ?? null,
    appliedMs: wire.appliedMs ?? 0,
    effectiveMs: wire.effectiveMs ?? null,
    stallMs: wire.stallMs ?? null,
  };
}

function problemFromWire(wire: dwcp.AdminProblem.$Properties): Problem {
  return { code: wire.code ?? '', message: wire.message ?? '', hint: wire.hint || null };
}

export function progressToWire(progress: MigrationProgress): dwcp.AdminProgress.$Properties {
  const { etaMs, ...rest } = progress;
  return { ...rest, eta: etaMs && { lowMs: etaMs.low, highMs: etaMs.high } };
}

function classesFromWire(
  wire: dwcp.AdminProgress.$Properties | dwcp.AdminReceipt.$Properties,
): PageClasses {
  return {
    zeroPages: wire.zeroPages ?? 0,
    duplicatePages: wire.duplicatePages ?? 0,
    deltaPages: wire.deltaPages ?? 0,
    compressedPages: wire.compressedPages ?? 0,
    rawPages: wire.rawPages ?? 0,
  };
}

export function progressFromWire(wire: dwcp.AdminProgress.$Properties): MigrationProgress {
  const eta = wire.eta ?? null;
  return {
    migrationId: wire.migrationId ?? '',
    phase: (wire.phase ?? 'preflight') as MigrationProgress['phase'],
    round: wire.round ?? 0,
    totalBytes: wire.totalBytes ?? 0,
    ...classesFromWire(wire),
    rawBytes: wire.rawBytes ?? 0,
    wireBytes: wire.wireBytes ?? 0,
    ackedBytes: wire.ackedBytes ?? 0,
    remainingBytes: wire.remainingBytes ?? 0,
    dirtyBytesPerSec: wire.dirtyBytesPerSec ?? 0,
    goodputBytesPerSec: wire.goodputBytesPerSec ?? 0,
    etaMs: eta && { low: eta.lowMs ?? 0, high: eta.highMs ?? 0 },
    reason: wire.reason ?? '',
    maxBandwidth: wire.maxBandwidth ?? 0,
  };
}

export function receiptFromWire(wire: dwcp.AdminReceipt.$Properties): MigrationReceipt {
  return {
    migrationId: wire.migrationId ?? '',
    guest: wire.guest ?? '',
    from: wire.from ?? '',
    to: wire.to ?? '',
    rounds: wire.rounds ?? 0,
    steps: wire.steps ?? [],
    postcopy: wire.postcopy ?? false,
    totalMs: wire.totalMs ?? 0,
    stoppedMs: wire.stoppedMs ?? 0,
    wireBytes: wire.wireBytes ?? 0,
    rawBytes: wire.rawBytes ?? 0,
    ...classesFromWire(wire),
    comparedPages: wire.comparedPages ?? 0,
    differentPages: wire.differentPages ?? 0,
    cuts: wire.cuts ?? 0,
    restarts: wire.restarts ?? 0,
    heldPages: wire.heldPages ?? 0,
    transport: (wire.transport || null) as MigrationReceipt['transport'],
    transportFallback: wire.transportFallback || null,
    verified: wire.verified ?? null,
  };
}

export function receiptToWire(receipt: MigrationReceipt): dwcp.AdminReceipt.$Properties {
  const { steps, transport, transportFallback } = receipt;
  return {
    ...receipt,
    steps: [...steps],
    transport: transport ?? '',
    transportFallback: transportFallback ?? '',
  };
}

export function migrationToWire(migration: MigrationStatus): dwcp.AdminMigration.$Properties {
  return {
    progress: progressToWire(migration),
    guest: migration.guest,
    from: migration.from,
    to: migration.to,
    side: migration.side,
    errorCode: migration.error?.code ?? '',
    errorMessage: migration.error?.message ?? '',
    errorHint: migration.error?.hint ?? '',
    receipt: migration.receipt && receiptToWire(migration.receipt),
  };
}

export function migrationFromWire(wire: dwcp.AdminMigration.$Properties): MigrationStatus {
  return {
    ...progressFromWire(wire.progress ?? {}),
    guest: wire.guest ?? '',
    from: wire.from ?? '',
    to: wire.to ?? '',
    side: wire.side === 'destination' ? 'destination' : 'source',
    error: wire.errorCode
      ? {
          code: wire.errorCode,
          message: wire.errorMessage ?? '',
          hint: wire.errorHint ? wire.errorHint : null,
        }
      : null,
    receipt: wire.receipt ? receiptFromWire(wire.receipt) : null,
  };
}
