/**
 * What a host remembers of its place in the group: with whom it was founded, and which life of its
 * data directory this is.
 */
import type { Random } from '../ports/random.ts';
import type { Storage, StoredRecord } from '../ports/storage.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';

/** One start of the agent; see `begin` in `protocols/ownership/types.ts`. */
export interface OwnerLife {
  readonly life: number;
  readonly nonce: string;
}

const FOUNDERS_KEY = 'owner/founders';
const LIFE_KEY = 'owner/life';
const NONCE_BYTES = 16;

export interface OwnerRecordsOptions {
  readonly storage: Storage;
  readonly random: Random;
  /** Sorted. */
  readonly voters: readonly string[];
}

/** Begins the next life, durably; refuses a group that is not the one it was founded with. */
export function beginLife(options: OwnerRecordsOptions, done: Completion<OwnerLife>): void {
  const { storage, random, voters } = options;
  storage.list('owner/', (listed) => {
    if (!listed.ok) return done(listed);
    const remembered = read(listed.value);
    if (!remembered.ok) return done(remembered);
    const { founders, life } = remembered.value;
    if (founders === null) return found(options, done);
    if (founders.join() !== voters.join()) return done(failed(otherGroup(founders, voters)));
    const next = { life: life + 1, nonce: hex(random.bytes(NONCE_BYTES)) };
    keepLife(storage, next, (kept) => done(kept.ok ? succeeded(next) : kept));
  });
}

/**
 * A life that the log refused did not take place: otherwise a copy that is started often enough
 * would count past the original.
 */
export function takeBackLife(
  storage: Storage,
  { life, nonce }: OwnerLife,
  done: Completion<void>,
): void {
  keepLife(storage, { life: life - 1, nonce }, done);
}

function found(options: OwnerRecordsOptions, done: Completion<OwnerLife>): void {
  const { storage, voters } = options;
  storage.put(FOUNDERS_KEY, encode({ voters }), (kept) => {
    if (!kept.ok) return done(kept);
    beginLife(options, done);
  });
}

function keepLife(storage: Storage, life: OwnerLife, done: Completion<void>): void {
  storage.put(LIFE_KEY, encode(life), done);
}

interface Remembered {
  readonly founders: readonly string[] | null;
  readonly life: number;
}

function read(records: readonly StoredRecord[]): Outcome<Remembered> {
  const fieldsOf = (wanted: string): Readonly<Record<string, unknown>> | null => {
    const record = records.find(({ key }) => key === wanted);
    return record === undefined ? null : decode(record);
  };
  try {
    const founders = fieldsOf(FOUNDERS_KEY)?.['voters'] ?? null;
    const life = fieldsOf(LIFE_KEY)?.['life'] ?? 0;
    if (founders !== null && !isNames(founders)) throw damaged(FOUNDERS_KEY);
    if (!Number.isSafeInteger(life) || Number(life) < 0) throw damaged(LIFE_KEY);
    return succeeded({ founders, life: Number(life) });
  } catch (error) {
    if (error instanceof DwcpError) return failed(error);
    throw error;
  }
}

function decode({ key, value }: StoredRecord): Readonly<Record<string, unknown>> {
  let fields: unknown;
  try {
    fields = JSON.parse(new TextDecoder().decode(value));
  } catch {
    throw damaged(key);
  }
  if (typeof fields !== 'object' || fields === null) throw damaged(key);
  return fields as Readonly<Record<string, unknown>>;
}

function encode(fields: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(fields));
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string');
}

function damaged(key: string): DwcpError {
  return new DwcpError('ERR_DWCP_CORRUPT', `the record "${key}" cannot be read`, {
    hint: 'It was written by another version or by hand; nothing starts over it.',
  });
}

function otherGroup(founders: readonly string[], voters: readonly string[]): DwcpError {
  return new DwcpError(
    'ERR_DWCP_CONFIG',
    `group.voters is ${voters.join(', ')}, but this data directory was founded in the group of ${founders.join(', ')}`,
    { hint: 'Set group.voters to what it was; a new group begins with empty data directories.' },
  );
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
