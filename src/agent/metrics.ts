/**
 * Prometheus series of one agent. Each is read from the node when it is scraped, or counted from its
 * events; none is exported without a producer.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Subscription } from 'rxjs';
import type { ContentCacheCounters, DwcpNode, MigrationStatus } from '../node.ts';

const GUEST_STATES = ['running', 'paused', 'fenced', 'incoming', 'outcomeUnknown'] as const;
const FINAL_PHASES: ReadonlySet<string> = new Set([
  'completed',
  'failed',
  'cancelled',
  'outcomeUnknown',
]);
const STOPPED_BUCKETS_SEC = [0.01, 0.03, 0.06, 0.1, 0.2, 0.345, 0.5, 1, 2, 5];
/** Finished migrations remembered so that each is counted once. */
const REMEMBERED_MAX = 10_000;

export interface AgentMetrics {
  readonly registry: Registry;
  close(): void;
}

export function collectAgentMetrics(node: DwcpNode): AgentMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  addGuestSeries(registry, node);
  addPeerSeries(registry, node);
  addGroupSeries(registry, node);
  addCacheSeries(registry, node);
  addRunningSeries(registry, node);
  const subscription = countEvents(registry, node);
  return { registry, close: () => subscription.unsubscribe() };
}

function addGuestSeries(registry: Registry, node: DwcpNode): void {
  gauge(registry, 'dwcp_guests', 'Guests on this host by state.', ['state'], (series) => {
    for (const state of GUEST_STATES) {
      series.set({ state }, node.guests().filter((guest) => guest.state === state).length);
    }
  });
  const perGuest = (name: string, help: string, value: (guest: Guest) => number | null) =>
    gauge(registry, name, help, ['guest'], (series) => {
      for (const guest of node.guests()) {
        const measured = value(guest);
        if (measured !== null) series.set({ guest: guest.name }, measured);
      }
    });
  perGuest('dwcp_guest_memory_bytes', "The guest's memory.", (guest) => guest.memoryBytes);
  perGuest(
    'dwcp_guest_epoch',
    'Epoch under which this host owns the guest.',
    (guest) => guest.epoch,
  );
  perGuest(
    'dwcp_guest_operations',
    'Operations its workload counted, on whatever host.',
    (guest) => guest.workload?.operations ?? null,
  );
  perGuest(
    'dwcp_guest_longest_gap_seconds',
    'Longest stall its workload saw.',
    (guest) => guest.workload && guest.workload.longestGapMs / 1000,
  );
}

type Guest = ReturnType<DwcpNode['guests']>[number];

function addPeerSeries(registry: Registry, node: DwcpNode): void {
  const perPeer = (name: string, help: string, value: (peer: Peer) => number) =>
    gauge(registry, name, help, ['peer'], (series) => {
      for (const peer of node.peers()) series.set({ peer: peer.id }, value(peer));
    });
  perPeer('dwcp_link_connected', '1 while the link stands.', (peer) => (peer.connected ? 1 : 0));
  perPeer('dwcp_link_streams', 'Bulk streams of the link.', (peer) => peer.streams);
  perPeer('dwcp_link_sent_bytes', 'Bytes put on the wire.', (peer) => peer.wireBytesSent);
  perPeer('dwcp_link_received_bytes', 'Bytes off the wire.', (peer) => peer.wireBytesReceived);
  perPeer('dwcp_link_reinjected_chunks', 'Chunks sent again.', (peer) => peer.chunksReinjected);
  perPeer('dwcp_link_corrupt_chunks', 'Chunks that arrived damaged.', (peer) => peer.chunksCorrupt);
  perPeer(
    'dwcp_link_forged_frames',
    'Frames that the peer never sealed so.',
    (peer) => peer.framesForged,
  );
  perPeer(
    'dwcp_link_replayed_frames',
    'Frames sent a second time by somebody.',
    (peer) => peer.framesReplayed,
  );
  gauge(
    registry,
    'dwcp_link_encryption',
    '1 for what memory on the link travels under; off is the operator declaring its network trusted.',
    ['peer', 'cipher'],
    (series) => {
      for (const { id, encryption } of node.peers()) {
        if (encryption !== null) series.set({ peer: id, cipher: encryption }, 1);
      }
    },
  );
  perPeer(
    'dwcp_link_rdma_streams',
    'Bulk streams that queue pairs carry.',
    (peer) => peer.rdma.streams,
  );
  perPeer(
    'dwcp_link_rdma_fallbacks',
    'How often TCP carried what RDMA was to carry.',
    (peer) => peer.rdma.fallbacks,
  );
  perPeer('dwcp_link_rdma_bytes', 'Bytes written by RDMA.', (peer) => peer.rdma.writtenBytes);
  perPeer(
    'dwcp_link_rdma_work_requests',
    'Writes and credits given to the card.',
    (peer) => peer.rdma.workRequests,
  );
  perPeer(
    'dwcp_link_rdma_doorbells',
    'How often the card was told of them.',
    (peer) => peer.rdma.doorbells,
  );
  perPeer(
    'dwcp_link_rdma_completions',
    'How often the card told that it was done.',
    (peer) => peer.rdma.completions,
  );
  perPeer(
    'dwcp_link_max_bandwidth_bytes_per_second',
    'What the link lets through; 0 is unlimited.',
    (peer) => peer.maxBandwidth,
  );
  gauge(registry, 'dwcp_link_problem', 'Why a link is down.', ['peer', 'code'], (series) => {
    for (const peer of node.peers()) {
      if (peer.problem !== null) series.set({ peer: peer.id, code: peer.problem.code }, 1);
    }
  });
  gauge(registry, 'dwcp_link_mode', '1 for the mode in use.', ['peer', 'mode'], (series) => {
    for (const peer of node.peers()) series.set({ peer: peer.id, mode: peer.mode }, 1);
  });
  gauge(registry, 'dwcp_link_mode_pinned', '1 where an operator pinned it.', ['peer'], (series) => {
    for (const { id, modePolicy } of node.peers()) {
      series.set({ peer: id }, modePolicy === 'auto' ? 0 : 1);
    }
  });
}

type Peer = ReturnType<DwcpNode['peers']>[number];

function addGroupSeries(registry: Registry, node: DwcpNode): void {
  const ofGroup = (name: string, help: string, value: (group: Group) => number) =>
    gauge(registry, name, help, [], (series) => series.set(value(node.group())));
  ofGroup('dwcp_group_has_leader', '1 while this host knows a leader.', (group) =>
    group.leader === null ? 0 : 1,
  );
  ofGroup('dwcp_group_is_leader', '1 while this host leads its group.', (group) =>
    group.leader === node.id ? 1 : 0,
  );
  ofGroup('dwcp_group_term', 'Term of the log.', (group) => group.term);
  ofGroup('dwcp_group_commit_index', 'Newest committed entry.', (group) => group.commitIndex);
  ofGroup('dwcp_group_applied_index', 'Newest entry applied here.', (group) => group.appliedIndex);
  gauge(registry, 'dwcp_vms_owned', 'VMs of the group by owner.', ['owner'], (series) => {
    for (const { owner } of node.owners()) series.inc({ owner });
  });
}

type Group = ReturnType<DwcpNode['group']>;

/** None of them where there is no cache. */
function addCacheSeries(registry: Registry, node: DwcpNode): void {
  if (node.contentCache() === null) return;
  const ofCache = (name: string, help: string, value: (cache: ContentCacheCounters) => number) =>
    gauge(registry, name, help, [], (series) => {
      const cache = node.contentCache();
      if (cache !== null) series.set(value(cache));
    });
  ofCache('dwcp_content_cache_pages', 'Pages in the content cache.', (cache) => cache.pages);
  ofCache('dwcp_content_cache_bytes', 'Its files on disk.', (cache) => cache.bytes);
  ofCache('dwcp_content_cache_max_bytes', 'What they may take.', (cache) => cache.bytesMax);
  ofCache(
    'dwcp_content_cache_hits',
    'Pages that peers named and that were here.',
    (cache) => cache.hits,
  );
  ofCache(
    'dwcp_content_cache_misses',
    'Pages that peers named and that came whole.',
    (cache) => cache.misses,
  );
  ofCache(
    'dwcp_content_cache_saved_bytes',
    'Memory that was named and not sent to this host, before any codec.',
    (cache) => cache.savedBytes,
  );
  ofCache(
    'dwcp_content_cache_corrupt_pages',
    'Pages that had rotted on disk; they came whole.',
    (cache) => cache.corruptPages,
  );
  ofCache(
    'dwcp_content_cache_evicted_pages',
    'Pages that gave way to others.',
    (cache) => cache.evictedPages,
  );
  ofCache(
    'dwcp_content_cache_write_errors',
    'Pages that the disk did not take.',
    (cache) => cache.writeErrors,
  );
}

function addRunningSeries(registry: Registry, node: DwcpNode): void {
  const running = () => node.migrations().filter((each) => !FINAL_PHASES.has(each.phase));
  gauge(registry, 'dwcp_migrations_running', 'Migrations under way.', ['side'], (series) => {
    for (const side of ['source', 'destination']) {
      series.set({ side }, running().filter((each) => each.side === side).length);
    }
  });
  const perMigration = (name: string, help: string, value: (each: MigrationStatus) => number) =>
    gauge(registry, name, help, ['migration', 'guest'], (series) => {
      for (const each of running()) {
        series.set({ migration: each.migrationId, guest: each.guest }, value(each));
      }
    });
  perMigration('dwcp_migration_round', 'Pre-copy round.', (each) => each.round);
  perMigration('dwcp_migration_remaining_bytes', 'Still to send.', (each) => each.remainingBytes);
  perMigration(
    'dwcp_migration_dirty_bytes_per_second',
    'How fast the guest dirties its memory.',
    (each) => each.dirtyBytesPerSec,
  );
  perMigration(
    'dwcp_migration_goodput_bytes_per_second',
    'Receiver-acknowledged memory per second.',
    (each) => each.goodputBytesPerSec,
  );
}

function countEvents(registry: Registry, node: DwcpNode): Subscription {
  const registers = [registry];
  const finished = new Counter({
    name: 'dwcp_migrations_finished_total',
    help: 'Migrations that ended here, by side and outcome.',
    labelNames: ['side', 'outcome'],
    registers,
  });
  const stopped = new Histogram({
    name: 'dwcp_migration_stopped_seconds',
    help: 'How long a migrated guest stood still, as its source saw it.',
    buckets: STOPPED_BUCKETS_SEC,
    registers,
  });
  const modeChanges = new Counter({
    name: 'dwcp_link_mode_changes_total',
    help: 'Changes of the mode of a link, by what became of them.',
    labelNames: ['peer', 'to', 'outcome'],
    registers,
  });
  const linkChanges = new Counter({
    name: 'dwcp_link_changes_total',
    help: 'Links that came up or went down.',
    labelNames: ['peer', 'change'],
    registers,
  });
  const faults = new Counter({
    name: 'dwcp_faults_total',
    help: 'Coded errors that the node reported.',
    labelNames: ['code'],
    registers,
  });
  const counted = new Set<string>();
  const lastModes = new Map<string, string>();
  return node.events$.subscribe((event) => {
    if (event.type === 'fault') faults.inc({ code: event.error.code });
    else if (event.type === 'halted') return;
    else if (event.type === 'linkMode') {
      const { number, to, outcome } = event.change;
      const key = `${number} ${outcome}`;
      // It is told again when it took effect.
      if (outcome === 'inForce' || lastModes.get(event.peer) === key) return;
      lastModes.set(event.peer, key);
      modeChanges.inc({ peer: event.peer, to, outcome });
    } else if (event.type !== 'migration')
      linkChanges.inc({ peer: event.peer, change: event.type });
    else if (FINAL_PHASES.has(event.status.phase)) {
      const { status } = event;
      const key = `${status.migrationId}/${status.side}/${status.phase}`;
      if (counted.has(key)) return;
      if (counted.size === REMEMBERED_MAX) counted.clear();
      counted.add(key);
      finished.inc({ side: status.side, outcome: status.phase });
      if (status.receipt !== null) stopped.observe(status.receipt.stoppedMs / 1000);
    }
  });
}

function gauge<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
  collect: (series: Gauge<L>) => void,
): void {
  const series: Gauge<L> = new Gauge<L>({
    name,
    help,
    labelNames,
    registers: [registry],
    collect: () => {
      // Guests and peers that are gone must not linger as stale series.
      series.reset();
      collect(series);
    },
  });
}
