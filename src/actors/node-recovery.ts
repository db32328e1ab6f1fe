/**
 * What a node finds in its data directory before it speaks to anybody: its guests, and migrations
 * that an earlier process left undecided. Fenced guests stay fenced.
 */
import type {
  Guest,
  GuestKind,
  GuestReference,
  GuestState,
  Hypervisor,
} from '../ports/hypervisor.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type { DecisionRecord, FenceRecord } from '../protocols/migration/types.ts';
import { DwcpError, failed, type Outcome } from '../util/errors.ts';
import { promised } from '../util/promised.ts';
import { decodeClaim, decodeDecision, decodeFence, decodeGuest } from './migration-records.ts';

export interface Recovery {
  readonly guests: readonly RecoveredGuest[];
  readonly fences: readonly {
    readonly record: FenceRecord;
    readonly claimedBy: string | null;
    readonly guest: Guest | null;
  }[];
  /** Commits whose guest this host owns but does not run yet. */
  readonly commits: readonly DecisionRecord[];
  readonly faults: readonly DwcpError[];
}

export interface RecoveredGuest {
  readonly guest: Guest;
  readonly epoch: number;
}

export type Hypervisors = ReadonlyMap<GuestKind, Hypervisor>;

export async function recover(storage: Storage, hypervisors: Hypervisors): Promise<Recovery> {
  const list = (prefix: string): Promise<readonly StoredRecord[]> =>
    promised((done) => storage.list(prefix, done));
  const fences = (await list('fence/')).map(decodeFence);
  const claims = (await list('claim/')).map(decodeClaim);
  const decisions = (await list('decision/')).map(decodeDecision);
  const fenced = new Set(fences.map((fence) => fence.guestName));
  const faults: DwcpError[] = [];
  const guests = new Map<string, RecoveredGuest>();
  const records = (await list('guest/')).map(decodeGuest);
  for (const { reference, epoch } of records) {
    const { name } = reference;
    const adopted = await adopt(hypervisors, reference);
    if (adopted.ok) {
      guests.set(name, { guest: adopted.value, epoch });
      if (!fenced.has(name)) await runAgain(adopted.value, faults);
      continue;
    }
    faults.push(adopted.error);
    // Only a process that is gone for certain is forgotten; one that is merely silent stays ours.
    const isGone = adopted.error.code === 'ERR_DWCP_GUEST_FAILED';
    if (isGone && !fenced.has(name)) {
      await promised<void>((done) => storage.remove(`guest/${name}`, done));
    }
  }
  const commits = decisions.filter((decision) => {
    if (decision.verdict !== 'commit' || decision.reference === null) return false;
    const known = records.find(({ reference }) => reference.name === decision.guestName);
    return !fenced.has(decision.guestName) && (known === undefined || known.epoch < decision.epoch);
  });
  const keep = new Set([
    ...records.map(({ reference }) => reference.socketPath),
    ...commits.map((commit) => commit.reference?.socketPath ?? ''),
    ...fences.map((fence) => fence.reference.socketPath),
  ]);
  for (const hypervisor of hypervisors.values()) {
    await promised((done) => hypervisor.removeOrphans(keep, done));
  }
  return {
    guests: [...guests.values()],
    fences: fences.map((record) => ({
      record,
      claimedBy: claims.find((claim) => claim.migrationId === record.migrationId)?.operator ?? null,
      guest: guests.get(record.guestName)?.guest ?? null,
    })),
    commits,
    faults,
  };
}

async function adopt(hypervisors: Hypervisors, reference: GuestReference): Promise<Outcome<Guest>> {
  const hypervisor = hypervisors.get(reference.kind);
  if (hypervisor === undefined) {
    return failed(
      new DwcpError('ERR_DWCP_UNSUPPORTED', `no ${reference.kind} guests on this host`),
    );
  }
  return new Promise((resolve) => hypervisor.adopt(reference, resolve));
}

/**
 * Without a fence record `fenced` was never sent: a guest that stands still was stopped by a move
 * that died with its agent, and nobody else may run it.
 */
async function runAgain(guest: Guest, faults: DwcpError[]): Promise<void> {
  try {
    if ((await promised<GuestState>((done) => guest.state(done))) === 'running') return;
    await promised<void>((done) => guest.unfence(done));
  } catch (error) {
    if (!(error instanceof DwcpError)) throw error;
    faults.push(error);
  }
}
