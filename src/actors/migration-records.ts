/** Durable records of migrations as JSON, and back with every field checked. */
import type { GuestReference } from '../ports/hypervisor.ts';
import type { StoredRecord } from '../ports/storage.ts';
import type {
  ArrivalRecord,
  FenceRecord,
  GuestRecord,
  IncomingRecord,
  MigrationRecord,
  MigrationTerms,
  OutgoingRecord,
} from '../protocols/migration/types.ts';
import { DwcpError } from '../util/errors.ts';
import { decodeTerms, encodeTerms } from './migration-wire.ts';

export function encodeRecordValue(record: MigrationRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(plain(record)));
}

function plain(record: MigrationRecord): object {
  if (record.kind !== 'incoming' && record.kind !== 'outgoing') return record.value;
  return { ...record.value, terms: encodeTerms(record.value.terms) };
}

export function decodeIncoming(record: StoredRecord): IncomingRecord {
  const fields = parse(record);
  const from = text(record, fields, 'from');
  return { from, terms: terms(record, fields), reference: reference(record, fields) };
}

export function decodeOutgoing(record: StoredRecord): OutgoingRecord {
  const fields = parse(record);
  const to = text(record, fields, 'to');
  return { to, terms: terms(record, fields), reference: reference(record, fields) };
}

/** With the same checks as if a peer had sent them. */
function terms(record: StoredRecord, fields: Fields): MigrationTerms {
  const value = fields['terms'];
  if (typeof value !== 'object' || value === null) throw damaged(record, 'terms');
  return decodeTerms(text(record, value as Fields, 'migrationId'), value);
}

export function decodeFence(record: StoredRecord): FenceRecord {
  const fields = parse(record);
  return {
    migrationId: text(record, fields, 'migrationId'),
    guestName: text(record, fields, 'guestName'),
    to: text(record, fields, 'to'),
    epoch: count(record, fields, 'epoch'),
    reference: reference(record, fields),
    postcopy: fields['postcopy'] === true,
  };
}

export function decodeArrival(record: StoredRecord): ArrivalRecord {
  const fields = parse(record);
  return {
    migrationId: text(record, fields, 'migrationId'),
    guestName: text(record, fields, 'guestName'),
    from: text(record, fields, 'from'),
    epoch: count(record, fields, 'epoch'),
    reference: reference(record, fields),
    postcopy: fields['postcopy'] === true,
  };
}

export function decodeGuest(record: StoredRecord): GuestRecord {
  const fields = parse(record);
  return { epoch: count(record, fields, 'epoch'), reference: reference(record, fields) };
}

type Fields = Readonly<Record<string, unknown>>;

function parse(record: StoredRecord): Fields {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(record.value));
    if (typeof value === 'object' && value !== null) return value as Fields;
  } catch {
    // Falls through: a checksum protects the file, so this is another program's record.
  }
  throw damaged(record, 'JSON');
}

function reference(record: StoredRecord, fields: Fields): GuestReference {
  const value = fields['reference'];
  if (typeof value !== 'object' || value === null) throw damaged(record, 'reference');
  const inner = value as Fields;
  const kind = text(record, inner, 'kind');
  if (kind !== 'memory' && kind !== 'qemu') throw damaged(record, 'kind');
  return {
    // A kind of guest may keep more in its reference than the session knows of.
    ...inner,
    kind,
    name: text(record, inner, 'name'),
    pid: count(record, inner, 'pid'),
    startTicks: count(record, inner, 'startTicks'),
    socketPath: text(record, inner, 'socketPath'),
  };
}

function text(record: StoredRecord, fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw damaged(record, name);
  return value;
}

function count(record: StoredRecord, fields: Fields, name: string): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || Number(value) < 0) throw damaged(record, name);
  return Number(value);
}

function damaged(record: StoredRecord, name: string): DwcpError {
  return new DwcpError('ERR_DWCP_CORRUPT', `the record "${record.key}" has a bad ${name}`, {
    hint: 'It was written by another version or by hand; nothing starts over it.',
  });
}
