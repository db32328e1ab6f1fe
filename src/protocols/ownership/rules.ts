/**
 * What each command does to one VM. Conditional on (vm, epoch, migrationId) throughout: whatever is
 * late, repeated or from an earlier life changes nothing, and an aborted migration stays aborted.
 */
import type { OwnershipCommand, OwnershipRefusal, VmOwnership } from './types.ts';

export interface VmRecord {
  readonly state: VmOwnership;
  /** The last migrations that were aborted under this epoch: none is prepared or committed again. */
  readonly aborted: readonly string[];
}

/** A retry is seconds late, not sixteen migrations. */
const ABORTED_KEPT_MAX = 16;

export type VmCommand = Exclude<OwnershipCommand, { readonly type: 'begin' }>;

/** `next` is the record after the command; null when there is no such VM (any more). */
export type Ruling =
  | { readonly ok: true; readonly next: VmRecord | null }
  | { readonly ok: false; readonly code: OwnershipRefusal };

/** `newEpoch` is that of a VM which nobody registered yet. */
export function rule(record: VmRecord | null, command: VmCommand, newEpoch: number): Ruling {
  switch (command.type) {
    case 'register':
      return register(record, command, newEpoch);
    case 'unregister':
      return unregister(record, command);
    case 'prepare':
      return record === null ? refused('unknownVm') : prepare(record, command);
    case 'commit':
      return record === null ? refused('unknownVm') : commit(record, command);
    case 'abort':
      return record === null ? refused('unknownVm') : abort(record, command);
    case 'claim':
      return record === null ? refused('unknownVm') : claim(record, command);
  }
}

type Command<T> = Extract<VmCommand, { readonly type: T }>;

function register(
  record: VmRecord | null,
  { vm, host }: Command<'register'>,
  newEpoch: number,
): Ruling {
  if (record !== null) return record.state.owner === host ? ruled(record) : refused('otherOwner');
  const by = { type: 'registered' } as const;
  return ruled(owned({ vm, owner: host, epoch: newEpoch, by, migration: null }));
}

/** A prepared migration is aborted first: its destination may hold all that is left of the guest. */
function unregister(record: VmRecord | null, { host, epoch }: Command<'unregister'>): Ruling {
  if (record === null) return { ok: true, next: null };
  const { state } = record;
  if (state.owner !== host) return refused('otherOwner');
  if (state.epoch !== epoch) return refused('otherEpoch');
  return state.migration === null ? { ok: true, next: null } : refused('migrationPrepared');
}

function prepare(record: VmRecord, command: Command<'prepare'>): Ruling {
  const { state } = record;
  const { epoch, migrationId, from, to } = command;
  if (isDecided(record, migrationId)) return refused('migrationDecided');
  if (state.owner !== from) return refused('otherOwner');
  if (state.epoch !== epoch) return refused('otherEpoch');
  if (from === to) return refused('sameHost');
  const { migration } = state;
  if (migration === null) {
    return ruled({ ...record, state: { ...state, migration: { migrationId, to } } });
  }
  const isSame = migration.migrationId === migrationId && migration.to === to;
  return isSame ? ruled(record) : refused('migrationPrepared');
}

function commit(record: VmRecord, command: Command<'commit'>): Ruling {
  const { state, aborted } = record;
  const { vm, epoch, migrationId, host } = command;
  if (hasMovedBy(state, migrationId) && state.epoch === epoch + 1) {
    return state.owner === host ? ruled(record) : refused('notDestination');
  }
  if (state.epoch !== epoch) return refused('otherEpoch');
  if (aborted.includes(migrationId)) return refused('migrationDecided');
  const { migration } = state;
  if (migration?.migrationId !== migrationId) return refused('otherMigration');
  if (migration.to !== host) return refused('notDestination');
  const by = { type: 'migrated', migrationId, from: state.owner } as const;
  return ruled(owned({ vm, owner: host, epoch: epoch + 1, by, migration: null }));
}

function abort(record: VmRecord, command: Command<'abort'>): Ruling {
  const { state, aborted } = record;
  const { epoch, migrationId, host } = command;
  if (hasMovedBy(state, migrationId)) return refused('migrationDecided');
  if (state.epoch !== epoch) return refused('otherEpoch');
  if (aborted.includes(migrationId)) return ruled(record);
  const { migration } = state;
  if (migration === null) {
    // The owner takes its word back before the log has it: a `prepare` that comes late finds it decided.
    if (state.owner !== host) return refused('otherMigration');
    return ruled(withAborted(record, migrationId));
  }
  if (migration.migrationId !== migrationId) return refused('otherMigration');
  if (host !== state.owner && host !== migration.to) return refused('notDestination');
  return ruled(withAborted({ ...record, state: { ...state, migration: null } }, migrationId));
}

function claim({ state, ...record }: VmRecord, command: Command<'claim'>): Ruling {
  const { vm, epoch, host, operator } = command;
  const { by, owner } = state;
  const isDone =
    by.type === 'claimed' &&
    state.epoch === epoch + 1 &&
    owner === host &&
    by.operator === operator;
  if (isDone) return ruled({ state, ...record });
  if (state.epoch !== epoch) return refused('otherEpoch');
  if (owner === host) return refused('sameHost');
  const claimed = { type: 'claimed', operator, from: owner } as const;
  return ruled(owned({ vm, owner: host, epoch: epoch + 1, by: claimed, migration: null }));
}

function withAborted({ state, aborted }: VmRecord, migrationId: string): VmRecord {
  return { state, aborted: [...aborted, migrationId].slice(-ABORTED_KEPT_MAX) };
}

function isDecided({ state, aborted }: VmRecord, migrationId: string): boolean {
  return aborted.includes(migrationId) || hasMovedBy(state, migrationId);
}

function hasMovedBy({ by }: VmOwnership, migrationId: string): boolean {
  return by.type === 'migrated' && by.migrationId === migrationId;
}

function owned(state: VmOwnership): VmRecord {
  return { state, aborted: [] };
}

function ruled(next: VmRecord): Ruling {
  return { ok: true, next };
}

function refused(code: OwnershipRefusal): Ruling {
  return { ok: false, code };
}
