/**
 * What a node finds in its data directory before it speaks to anybody: its guests, and migrations
 * that an earlier process left unsettled. It wakes nobody: that is for the log to say.
 */
import type { Guest, GuestKind, GuestReference, Hypervisor } from '../ports/hypervisor.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import type {
  ArrivalRecord,
  FenceRecord,
  IncomingRecord,
  OutgoingRecord,
} from '../protocols/migration/types.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { inTurn } from '../util/in-turn.ts';
import {
  decodeArrival,
  decodeFence,
  decodeGuest,
  decodeIncoming,
  decodeOutgoing,
} from './migration-records.ts';

export interface Recovery {
  readonly guests: readonly RecoveredGuest[];
  readonly fences: readonly {
    readonly record: FenceRecord;
    readonly guest: Guest | null;
  }[];
  /** Guests that arrived whole and have no record of their own; null when the process is gone. */
  readonly arrivals: readonly { readonly record: ArrivalRecord; readonly guest: Guest | null }[];
  /** Guests that are half here, and moves that were in their rounds; their processes live. */
  readonly incoming: readonly { readonly record: IncomingRecord; readonly guest: Guest }[];
  readonly outgoing: readonly { readonly record: OutgoingRecord; readonly guest: Guest }[];
  /** Guests whose process is gone for certain. */
  readonly gone: readonly { readonly name: string; readonly epoch: number }[];
  /** Guests that did not answer, by name, and their processes: they may run. */
  readonly silent: ReadonlyMap<string, number>;
  /** Guests that run here since before there was a log of the group, until that has them. */
  readonly unlogged: ReadonlySet<string>;
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
  inTurn(['fence', 'arrival', 'guest', 'unlogged', 'incoming', 'outgoing'], list, (lists) => {
    const records = lists.ok ? decodeRecords(lists.value) : lists;
    if (!records.ok) return done(records);
    new RecoveryRun(storage, hypervisors, records.value).run(done);
  });
}

interface Records {
  readonly fences: readonly FenceRecord[];
  readonly arrivals: readonly ArrivalRecord[];
  readonly guests: readonly ReturnType<typeof decodeGuest>[];
  readonly unlogged: readonly ReturnType<typeof decodeGuest>[];
  readonly incoming: readonly IncomingRecord[];
  readonly outgoing: readonly OutgoingRecord[];
}

function decodeRecords(lists: readonly (readonly StoredRecord[])[]): Outcome<Records> {
  const [fences = [], arrivals = [], guests = [], unlogged = [], incoming = [], outgoing = []] =
    lists;
  try {
    return succeeded({
      fences: fences.map(decodeFence),
      arrivals: arrivals.map(decodeArrival),
      guests: guests.map(decodeGuest),
      unlogged: unlogged.map(decodeGuest),
      incoming: incoming.map(decodeIncoming),
      outgoing: outgoing.map(decodeOutgoing),
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
  readonly #fences: readonly FenceRecord[];
  readonly #fenced: ReadonlySet<string>;
  readonly #guests = new Map<string, RecoveredGuest>();
  readonly #arrivals: Recovery['arrivals'][number][] = [];
  readonly #incoming: Recovery['incoming'][number][] = [];
  readonly #outgoing: Recovery['outgoing'][number][] = [];
  readonly #gone: Recovery['gone'][number][] = [];
  readonly #silent = new Map<string, number>();
  readonly #faults: DwcpError[] = [];

  constructor(storage: Storage, hypervisors: Hypervisors, records: Records) {
    this.#storage = storage;
    this.#hypervisors = hypervisors;
    this.#records = records;
    this.#fences = records.fences.filter((fence) => !this.#isStale(fence));
    this.#fenced = new Set(this.#fences.map((fence) => fence.guestName));
  }

  run(done: Completion<Recovery>): void {
    const { guests, arrivals, incoming, outgoing } = this.#records;
    const stale = this.#records.fences.filter((fence) => this.#isStale(fence));
    const forget = ({ migrationId }: FenceRecord, one: Completion<void>): void =>
      this.#storage.remove(`fence/${migrationId}`, one);
    const steps = [
      (next: Completion<unknown>) => inTurn(stale, forget, next),
      (next: Completion<unknown>) =>
        inTurn(guests, (record, one) => this.#adopt(record, one), next),
      (next: Completion<unknown>) =>
        inTurn(arrivals, (record, one) => this.#find(record, one), next),
      (next: Completion<unknown>) =>
        inTurn(incoming, (record, one) => this.#findHalf(record, one), next),
      (next: Completion<unknown>) =>
        inTurn(outgoing, (record, one) => this.#findRounds(record, one), next),
      (next: Completion<unknown>) => this.#removeOrphans(next),
    ];
    inTurn(
      steps,
      (step, next: Completion<unknown>) => step(next),
      (ran) => {
        done(ran.ok ? succeeded(this.#found()) : ran);
      },
    );
  }

  #adopt({ reference, epoch }: Records['guests'][number], done: Completion<void>): void {
    const { name } = reference;
    adoptGuest(this.#hypervisors, reference, (adopted) => {
      if (adopted.ok) {
        this.#guests.set(name, { guest: adopted.value, epoch });
        return done(succeeded(undefined));
      }
      this.#faults.push(adopted.error);
      // Only a process that is gone for certain is forgotten; one that is merely silent stays ours.
      const isGone = adopted.error.code === 'ERR_DWCP_GUEST_FAILED';
      if (!isGone) this.#silent.set(name, reference.pid);
      if (!isGone || this.#fenced.has(name)) return done(succeeded(undefined));
      this.#gone.push({ name, epoch });
      this.#storage.remove(`guest/${name}`, done);
    });
  }

  /** A guest with a record of its own has arrived for good. */
  #find(record: ArrivalRecord, done: Completion<void>): void {
    const { guestName, migrationId, reference } = record;
    const own = this.#records.guests.find((guest) => guest.reference.name === guestName);
    if (own !== undefined && isSameProcess(own.reference, reference)) {
      return this.#storage.remove(`arrival/${migrationId}`, done);
    }
    adoptGuest(this.#hypervisors, reference, (adopted) => {
      if (adopted.ok && record.postcopy) return this.#findEarly(record, adopted.value, done);
      if (adopted.ok) this.#arrivals.push({ record, guest: adopted.value });
      else if (adopted.error.code === 'ERR_DWCP_GUEST_FAILED') {
        this.#arrivals.push({ record, guest: null });
      } else {
        this.#faults.push(adopted.error);
      }
      done(succeeded(undefined));
    });
  }

  /** Its memory was still to come, over a stream that ended with its agent: unless it ran, it never will. */
  #findEarly(record: ArrivalRecord, guest: Guest, done: Completion<void>): void {
    guest.state((state) => {
      if (state.ok && state.value === 'running') {
        this.#arrivals.push({ record, guest });
        return done(succeeded(undefined));
      }
      guest.kill((killed) => {
        if (!killed.ok) this.#faults.push(killed.error);
        else this.#arrivals.push({ record, guest: null });
        done(succeeded(undefined));
      });
    });
  }

  /** It has a record of its own by now, or arrived whole, or is gone: then this one says nothing any more. */
  #findHalf(record: IncomingRecord, done: Completion<void>): void {
    const { reference, terms } = record;
    const { guests, arrivals } = this.#records;
    const isWhole = [...guests, ...arrivals].some((whole) => {
      return isSameProcess(whole.reference, reference);
    });
    const forget = (): void => this.#storage.remove(`incoming/${terms.migrationId}`, done);
    if (isWhole) return forget();
    adoptGuest(this.#hypervisors, reference, (adopted) => {
      if (!adopted.ok) {
        // What lives and does not answer is an orphan, and killed as one.
        if (adopted.error.code !== 'ERR_DWCP_GUEST_FAILED') this.#faults.push(adopted.error);
        return forget();
      }
      this.#incoming.push({ record, guest: adopted.value });
      done(succeeded(undefined));
    });
  }

  /** Past its fence, that record settles it; a guest that is gone moves no more. */
  #findRounds(record: OutgoingRecord, done: Completion<void>): void {
    const { reference, terms } = record;
    const { guestName, migrationId } = terms;
    const guest = this.#guests.get(guestName)?.guest ?? null;
    const isHere = guest !== null && isSameProcess(guest.reference, reference);
    if (!isHere || this.#fenced.has(guestName)) {
      return this.#storage.remove(`outgoing/${migrationId}`, done);
    }
    this.#outgoing.push({ record, guest });
    done(succeeded(undefined));
  }

  #removeOrphans(done: Completion<unknown>): void {
    const keep = new Set(
      [
        ...[...this.#records.guests, ...this.#records.arrivals, ...this.#fences],
        ...this.#incoming.map(({ record }) => record),
      ].map(({ reference }) => reference.socketPath),
    );
    inTurn(
      this.#hypervisors.values(),
      (hypervisor, next: Completion<readonly string[]>) => hypervisor.removeOrphans(keep, next),
      done,
    );
  }

  /** A namesake was started since, which only a settled fence lets happen. */
  #isStale({ guestName, reference }: FenceRecord): boolean {
    const own = this.#records.guests.find((guest) => guest.reference.name === guestName);
    return own !== undefined && !isSameProcess(own.reference, reference);
  }

  /** A namesake that was started since is none of them. */
  #unlogged(): readonly string[] {
    const names = this.#records.unlogged.map(({ reference }) => reference);
    return names
      .filter((noted) => {
        const found = this.#guests.get(noted.name)?.guest.reference;
        return found !== undefined && isSameProcess(found, noted);
      })
      .map(({ name }) => name);
  }

  #found(): Recovery {
    return {
      guests: [...this.#guests.values()],
      fences: this.#fences.map((record) => {
        return { record, guest: this.#guests.get(record.guestName)?.guest ?? null };
      }),
      arrivals: this.#arrivals,
      incoming: this.#incoming,
      outgoing: this.#outgoing,
      gone: this.#gone,
      silent: this.#silent,
      unlogged: new Set(this.#unlogged()),
      faults: this.#faults,
    };
  }
}

function isSameProcess(one: GuestReference, other: GuestReference): boolean {
  return one.pid === other.pid && one.startTicks === other.startTicks;
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
