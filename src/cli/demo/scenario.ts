/** What the demo does with its three agents, and the document that it ends with. */
import { setTimeout as delay } from 'node:timers/promises';
import type {
  GuestStatus,
  LinkMode,
  MigrationProgress,
  MigrationReceipt,
  PeerStatus,
  VmOwner,
} from '../../node.ts';
import type { WorkloadReport } from '../../ports/hypervisor.ts';
import type { BulkRdmaCounters } from '../../ports/rdma.ts';
import type { TransferProfile } from '../../ports/transfer-profile.ts';
import { DwcpError } from '../../util/errors.ts';
import type { DemoClient } from './cluster.ts';

interface DemoClients {
  readonly clients: ReadonlyMap<string, DemoClient>;
}

const GUEST = 'demo';
const LINK_WITHIN_MS = 120_000;
const POLL_MS = 50;
/** A follower hears of a commit with the next heartbeat; an emulated one that is kept waiting, later. */
const APPLIED_WITHIN_MS = 60_000;
/** How long the guest works before and after its move. */
const WORK_MS = 1_000;
const POSTCOPY = { allowPostcopy: true } as const;

export interface DemoOptions {
  readonly guest: 'memory' | 'qemu';
  readonly memoryBytes: number;
  readonly dirtyBytesPerSec: number;
  readonly mode: LinkMode;
  readonly profile: TransferProfile;
  readonly allowPostcopy?: boolean;
  /** The kind's own, for StartGuest. */
  readonly guestOptions: object;
  /** Tells of the workload where the agent cannot look into the guest. */
  readonly watch: WorkloadWatch | null;
  readonly say: (line: string) => void;
  readonly onProgress: (progress: MigrationProgress) => void;
  /** By when both sides of the move must have applied it; default a minute. */
  readonly appliedWithinMs?: number;
}

export interface WorkloadWatch {
  ready(): Promise<void>;
  reset(): void;
  report(): Workload;
}

type Workload = Pick<WorkloadReport, 'operations' | 'longestGapMs' | 'invariantHeld'>;

/** Stable: design section 9. Times are fractions of milliseconds where the clock gives them. */
export interface DemoDocument {
  readonly guest: 'memory' | 'qemu';
  readonly mode: string;
  readonly memoryBytes: number;
  readonly rounds: number;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly wireBytes: number;
  readonly rawBytes: number;
  readonly goodputBytesPerSec: number;
  readonly pages: {
    readonly zero: number;
    readonly duplicate: number;
    readonly delta: number;
    readonly compressed: number;
    readonly raw: number;
  };
  readonly workload: {
    readonly operationsBefore: number;
    readonly operationsAfter: number;
    readonly longestGapMs: number;
    /** Null where the guest cannot tell. */
    readonly invariantHeld: boolean | null;
  };
  /** What carried the memory, and why it was not RDMA although that was asked for. */
  readonly transport: MigrationReceipt['transport'];
  readonly transportFallback: string | null;
  /** Of the source's queue pairs. */
  readonly rdma: Omit<BulkRdmaCounters, 'fallback'>;
  readonly owner: { readonly before: string; readonly after: string; readonly epoch: number };
  readonly verified: boolean;
  /** It did not converge, and ran at its destination before its memory was there: nothing was compared. */
  readonly postcopy: boolean;
}

export async function runDemo(cluster: DemoClients, options: DemoOptions): Promise<DemoDocument> {
  const source = clientOf(cluster, 'a');
  options.say('three agents run: a, b, c');
  const { watch } = options;
  await started(source, options);
  const { mode } = await linkTo(cluster, 'a', 'b');
  await watch?.ready();
  options.say(`guest "${GUEST}" works on a; moving it to b`);
  await delay(WORK_MS);
  watch?.reset();
  const before = await theOwner(cluster, watch);
  const owned = await ownerInLog(cluster, before.node, options);
  const receipt = await source.migrate(
    GUEST,
    {
      ...{ to: 'b', profile: options.profile },
      ...(options.allowPostcopy ? POSTCOPY : verification(options.guest, mode)),
    },
    options.onProgress,
  );
  const resumed = await theOwner(cluster, watch);
  await delay(WORK_MS);
  const after = await theOwner(cluster, watch);
  requireProgress(resumed, after);
  const now = await ownerInLog(cluster, after.node, options);
  const owner = { before: owned.owner, after: now.owner, epoch: now.epoch };
  const peer = await linkTo(cluster, 'a', 'b');
  return describe(options, mode, receipt, before, after, owner, peer);
}

/** Digests take a round trip or two: on a long way the guest does not stand still for them. */
function verification(guest: string, mode: string): { readonly verify?: 'after' } {
  return guest === 'qemu' && mode === 'internet' ? { verify: 'after' } : {};
}

/** A slow machine needs a while until its three agents are a group. */
async function started(source: DemoClient, { guest, guestOptions }: DemoOptions): Promise<void> {
  const deadlineMs = performance.now() + LINK_WITHIN_MS;
  for (;;) {
    try {
      await source.startGuest(guest, GUEST, guestOptions);
      return;
    } catch (error) {
      const isEarly = error instanceof DwcpError && error.code === 'ERR_DWCP_NO_QUORUM';
      if (!isEarly || performance.now() > deadlineMs) throw error;
    }
    await delay(POLL_MS * 10);
  }
}

/** As both sides of the move have applied it; the guest must run where the log says. */
async function ownerInLog(
  cluster: DemoClients,
  runsOn: string,
  { appliedWithinMs = APPLIED_WITHIN_MS }: DemoOptions,
): Promise<VmOwner> {
  const deadlineMs = performance.now() + appliedWithinMs;
  let seen: readonly (VmOwner | undefined)[] = [];
  while (performance.now() < deadlineMs) {
    const statuses = await Promise.all(['a', 'b'].map((node) => clientOf(cluster, node).status()));
    seen = statuses.map(({ owners }) => owners.find(({ vm }) => vm === GUEST));
    const [one, other] = seen;
    const isAgreed = one !== undefined && one.owner === other?.owner && one.epoch === other.epoch;
    if (isAgreed && one.owner === runsOn) return one;
    await delay(POLL_MS);
  }
  const said = seen.map((each) => (each ? `${each.owner} (epoch ${each.epoch})` : 'nobody'));
  throw new DwcpError(
    'ERR_DWCP_GUEST_STATE',
    `the guest runs on ${runsOn}, but its owner in the log is ${said.join(' at a, ')} at b`,
  );
}

interface Owner {
  readonly node: string;
  readonly guest: GuestStatus;
  readonly workload: Workload | null;
}

/** Asks every agent, and refuses any answer but exactly one host that runs the guest. */
async function theOwner(cluster: DemoClients, watch: WorkloadWatch | null): Promise<Owner> {
  const owners: Owner[] = [];
  for (const [node, client] of cluster.clients) {
    for (const guest of await client.guests()) {
      if (guest.name !== GUEST || guest.state !== 'running') continue;
      owners.push({ node, guest, workload: watch?.report() ?? guest.workload });
    }
  }
  const [owner] = owners;
  if (owner !== undefined && owners.length === 1) return owner;
  const where = owners.map((each) => each.node).join(', ') || 'nowhere';
  throw new DwcpError(
    'ERR_DWCP_GUEST_STATE',
    `the guest must run on one host, it runs on: ${where}`,
  );
}

function requireProgress(resumed: Owner, after: Owner): void {
  if (resumed.workload === null || after.workload === null) return;
  if (after.workload.operations > resumed.workload.operations) return;
  throw new DwcpError(
    'ERR_DWCP_GUEST_FAILED',
    `the guest stands still after its move at ${after.workload.operations} operations`,
  );
}

function describe(
  options: DemoOptions,
  mode: string,
  receipt: MigrationReceipt,
  before: Owner,
  after: Owner,
  owner: DemoDocument['owner'],
  peer: PeerStatus,
): DemoDocument {
  const { workload } = after;
  const { fallback: _, ...rdma } = peer.rdma;
  return {
    guest: options.guest,
    mode,
    memoryBytes: after.guest.memoryBytes,
    rounds: receipt.rounds,
    totalMs: receipt.totalMs,
    // As the workload saw it, where it can tell.
    downtimeMs: workload?.longestGapMs ?? receipt.stoppedMs,
    wireBytes: receipt.wireBytes,
    rawBytes: receipt.rawBytes,
    goodputBytesPerSec: Math.round(receipt.rawBytes / (receipt.totalMs / 1000)),
    pages: {
      zero: receipt.zeroPages,
      duplicate: receipt.duplicatePages,
      delta: receipt.deltaPages,
      compressed: receipt.compressedPages,
      raw: receipt.rawPages,
    },
    workload: {
      operationsBefore: before.workload?.operations ?? 0,
      operationsAfter: workload?.operations ?? 0,
      longestGapMs: workload?.longestGapMs ?? receipt.stoppedMs,
      invariantHeld: workload?.invariantHeld ?? null,
    },
    transport: receipt.transport,
    transportFallback: receipt.transportFallback,
    rdma,
    owner,
    verified: receipt.verified === true,
    postcopy: receipt.postcopy,
  };
}

async function linkTo(cluster: DemoClients, from: string, to: string): Promise<PeerStatus> {
  const deadlineMs = performance.now() + LINK_WITHIN_MS;
  while (performance.now() < deadlineMs) {
    const { peers } = await clientOf(cluster, from).status();
    const peer = peers.find((each) => each.id === to && each.connected);
    if (peer !== undefined) return peer;
    await delay(POLL_MS);
  }
  throw new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${from} and ${to} did not find each other`, {
    hint: "The agents' log above says why.",
  });
}

function clientOf(cluster: DemoClients, node: string): DemoClient {
  const client = cluster.clients.get(node);
  if (client === undefined) throw new DwcpError('ERR_DWCP_PEER_UNKNOWN', `no agent ${node}`);
  return client;
}
