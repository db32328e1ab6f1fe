/**
 * What a node finds in its data directory before it speaks to anybody: its guests, and migrations
 * that an earlier process left undecided. Fenced guests stay fenced.
 */
import type { Guest, GuestKind, GuestReference, Hypervisor } from '../ports/hypervisor.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type { DecisionRecord, FenceRecord } from '../protocols/migration/types.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
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
    settle((done) => storage.list(prefix, done));
  const fences = (await list('fence/')).map(decodeFence);
  const claims = (await list('claim/')).map(decodeClaim);
  const decisions = (await list('decision/')).map(decodeDecision);
  const faults: DwcpError[] = [];
  const guests = new Map<string, RecoveredGuest>();
  const dead: string[] = [];
  for (const record of await list('guest/')) {
    const { reference, epoch } = decodeGuest(record);
    const guest = await adopt(hypervisors, reference, faults);
    if (guest === null) dead.push(reference.name);
    else guests.set(reference.name, { guest, epoch });
  }
  const fenced = new Set(fences.map((fence) => fence.guestName));
  for (const name of dead) {
    if (!fenced.has(name)) await settle<void>((done) => storage.remove(`guest/${name}`, done));
  }
  const commits = decisions.filter((decision) => {
    if (decision.verdict !== 'commit' || decision.reference === null) return false;
    const known = guests.get(decision.guestName);
    return !fenced.has(decision.guestName) && (known === undefined || known.epoch < decision.epoch);
  });
  const keep = new Set([
    ...[...guests.values()].map(({ guest }) => guest.reference.socketPath),
    ...commits.map((commit) => commit.reference?.socketPath ?? ''),
    ...fences.map((fence) => fence.reference.socketPath),
  ]);
  for (const hypervisor of hypervisors.values()) {
    await settle((done) => hypervisor.removeOrphans(keep, done));
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

async function adopt(
  hypervisors: Hypervisors,
  reference: GuestReference,
  faults: DwcpError[],
): Promise<Guest | null> {
  const hypervisor = hypervisors.get(reference.kind);
  try {
    if (hypervisor === undefined) {
      throw new DwcpError('ERR_DWCP_UNSUPPORTED', `no ${reference.kind} guests on this host`);
    }
    return await settle<Guest>((done) => hypervisor.adopt(reference, done));
  } catch (error) {
    if (!(error instanceof DwcpError)) throw error;
    faults.push(error);
    return null;
  }
}

function settle<T>(ask: (done: Completion<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error)));
  });
}
