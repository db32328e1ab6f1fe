/**
 * What a node finds in its data directory before it speaks to anybody: its guests, and migrations
 * that an earlier process left undecided. Fenced guests stay fenced.
 */
import type { Guest, GuestKind, GuestReference, Hypervisor } from '../ports/hypervisor.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type { DecisionRecord, FenceRecord } from '../protocols/migration/types.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { inTurn } from '../util/in-turn.ts';
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

export function recover(
  storage: Storage,
  hypervisors: Hypervisors,
  done: Completion<Recovery>,
): void {
  const list = (kind: string, listed: Completion<readonly StoredRecord[]>): void =>
    storage.list(`${kind}/`, listed);
  inTurn(['fence', 'claim', 'decision', 'guest'], list, (lists) => {
    const records = lists.ok ? decodeRecords(lists.value) : lists;
    if (!records.ok) return done(records);
    new RecoveryRun(storage, hypervisors, records.value).run(done);
  });
}

interface Records {
  readonly fences: readonly FenceRecord[];
  readonly claims: readonly ReturnType<typeof decodeClaim>[];
  readonly decisions: readonly DecisionRecord[];
  readonly guests: readonly ReturnType<typeof decodeGuest>[];
}

function decodeRecords(lists: readonly (readonly StoredRecord[])[]): Outcome<Records> {
  const [fences = [], claims = [], decisions = [], guests = []] = lists;
  try {
    return succeeded({
      fences: fences.map(decodeFence),
      claims: claims.map(decodeClaim),
      decisions: decisions.map(decodeDecision),
      guests: guests.map(decodeGuest),
    });
  } catch (error) {
    if (error instanceof DwcpError) return failed(error);
    throw error;
  }
}

class RecoveryRun {
  readonly #storage: Storage;
  readonly #hypervisors: Hypervisors;
  readonly #records: Records;
  readonly #fenced: ReadonlySet<string>;
  readonly #guests = new Map<string, RecoveredGuest>();
  readonly #faults: DwcpError[] = [];

  constructor(storage: Storage, hypervisors: Hypervisors, records: Records) {
    this.#storage = storage;
    this.#hypervisors = hypervisors;
    this.#records = records;
    this.#fenced = new Set(records.fences.map((fence) => fence.guestName));
  }

  run(done: Completion<Recovery>): void {
    const adopt = (record: Records['guests'][number], next: Completion<void>): void =>
      this.#adopt(record, next);
    inTurn(this.#records.guests, adopt, (adopted) => {
      if (!adopted.ok) return done(adopted);
      this.#removeOrphans((removed) => done(removed.ok ? succeeded(this.#found()) : removed));
    });
  }

  #adopt(record: Records['guests'][number], done: Completion<void>): void {
    const { reference, epoch } = record;
    const { name } = reference;
    adoptGuest(this.#hypervisors, reference, (adopted) => {
      if (adopted.ok) {
        this.#guests.set(name, { guest: adopted.value, epoch });
        if (this.#fenced.has(name)) return done(succeeded(undefined));
        return this.#runAgain(adopted.value, done);
      }
      this.#faults.push(adopted.error);
      // Only a process that is gone for certain is forgotten; one that is merely silent stays ours.
      const isGone = adopted.error.code === 'ERR_DWCP_GUEST_FAILED';
      if (!isGone || this.#fenced.has(name)) return done(succeeded(undefined));
      this.#storage.remove(`guest/${name}`, done);
    });
  }

  /**
   * Without a fence record `fenced` was never sent: a guest that stands still was stopped by a move
   * that died with its agent, and nobody else may run it.
   */
  #runAgain(guest: Guest, done: Completion<void>): void {
    const noted = (outcome: Outcome<unknown>): void => {
      if (!outcome.ok) this.#faults.push(outcome.error);
      done(succeeded(undefined));
    };
    guest.state((state) => {
      if (!state.ok || state.value === 'running') return noted(state);
      guest.unfence(noted);
    });
  }

  #removeOrphans(done: Completion<unknown>): void {
    const { fences, guests } = this.#records;
    const keep = new Set([
      ...guests.map(({ reference }) => reference.socketPath),
      ...this.#commits().map((commit) => commit.reference?.socketPath ?? ''),
      ...fences.map((fence) => fence.reference.socketPath),
    ]);
    inTurn(
      this.#hypervisors.values(),
      (hypervisor, next: Completion<readonly string[]>) => hypervisor.removeOrphans(keep, next),
      done,
    );
  }

  #commits(): readonly DecisionRecord[] {
    const { decisions, guests } = this.#records;
    return decisions.filter((decision) => {
      if (decision.verdict !== 'commit' || decision.reference === null) return false;
      const known = guests.find(({ reference }) => reference.name === decision.guestName);
      const isOld = known !== undefined && known.epoch >= decision.epoch;
      return !this.#fenced.has(decision.guestName) && !isOld;
    });
  }

  #found(): Recovery {
    const { fences, claims } = this.#records;
    return {
      guests: [...this.#guests.values()],
      fences: fences.map((record) => ({
        record,
        claimedBy:
          claims.find((claim) => claim.migrationId === record.migrationId)?.operator ?? null,
        guest: this.#guests.get(record.guestName)?.guest ?? null,
      })),
      commits: this.#commits(),
      faults: this.#faults,
    };
  }
}

function adoptGuest(
  hypervisors: Hypervisors,
  reference: GuestReference,
  done: Completion<Guest>,
): void {
  const hypervisor = hypervisors.get(reference.kind);
  if (hypervisor !== undefined) return hypervisor.adopt(reference, done);
  const what = `no ${reference.kind} guests on this host`;
  done(failed(new DwcpError('ERR_DWCP_UNSUPPORTED', what)));
}
