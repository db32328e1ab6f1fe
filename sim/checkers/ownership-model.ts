/**
 * The table of owners as one sequential object, written anew from its description: what histories of
 * clients are checked against, VM by VM.
 */
import type { OwnershipCommand } from '../../src/protocols/ownership/types.ts';
import type { Model } from './models.ts';

export type OwnershipInput =
  | { readonly op: 'read'; readonly vm: string }
  | { readonly op: 'command'; readonly vm: string; readonly command: VmCommand };

export type VmCommand = Extract<
  OwnershipCommand,
  { readonly type: 'register' | 'prepare' | 'commit' | 'abort' | 'claim' }
>;

/** What a client is told. `refused` is null for what was accepted, and for reads. */
export interface OwnershipOutput {
  readonly refused: string | null;
  readonly owner: string | null;
  readonly epoch: number | null;
  readonly migrationId: string | null;
}

interface State {
  readonly owner: string;
  readonly epoch: number;
  readonly moving: { readonly id: string; readonly to: string } | null;
  /** What made this epoch begin: a migration's id or an operator's name. */
  readonly movedBy: string | null;
  readonly claimedBy: string | null;
  /** Migrations that this epoch aborted, the last sixteen. */
  readonly dead: readonly string[];
}

type Step = { readonly next: State | null; readonly refused: string | null };

export const ownershipModel: Model<State | null, OwnershipInput, OwnershipOutput> = {
  initial: () => null,
  step: (state, input, output) => {
    const { next, refused } = input.op === 'read' ? kept(state) : command(state, input.command);
    if (output === undefined || isSame(output, answerOf(next, refused))) return { state: next };
    return null;
  },
  key: (state) => JSON.stringify(state),
  partition: (input) => input.vm,
  observes: (input, output) =>
    input.op === 'read' || (output !== undefined && output.refused !== null),
};

function command(state: State | null, asked: VmCommand): Step {
  if (asked.type === 'register') {
    if (state !== null) return state.owner === asked.host ? kept(state) : no(state, 'otherOwner');
    return { next: fresh(asked.host, 1), refused: null };
  }
  if (state === null) return no(state, 'unknownVm');
  switch (asked.type) {
    case 'prepare':
      return prepare(state, asked);
    case 'commit':
      return commit(state, asked);
    case 'abort':
      return abort(state, asked);
    case 'claim':
      return claim(state, asked);
  }
}

type Of<T> = Extract<VmCommand, { readonly type: T }>;

function prepare(state: State, { migrationId: id, from, to, epoch }: Of<'prepare'>): Step {
  if (state.dead.includes(id) || state.movedBy === id) return no(state, 'migrationDecided');
  if (state.owner !== from) return no(state, 'otherOwner');
  if (state.epoch !== epoch) return no(state, 'otherEpoch');
  if (from === to) return no(state, 'sameHost');
  if (state.moving === null) return { next: { ...state, moving: { id, to } }, refused: null };
  const isRepeated = state.moving.id === id && state.moving.to === to;
  return isRepeated ? kept(state) : no(state, 'migrationPrepared');
}

function commit(state: State, { migrationId: id, host, epoch }: Of<'commit'>): Step {
  if (state.movedBy === id && state.epoch === epoch + 1) {
    return state.owner === host ? kept(state) : no(state, 'notDestination');
  }
  if (state.epoch !== epoch) return no(state, 'otherEpoch');
  if (state.dead.includes(id)) return no(state, 'migrationDecided');
  if (state.moving?.id !== id) return no(state, 'otherMigration');
  if (state.moving.to !== host) return no(state, 'notDestination');
  return { next: { ...fresh(host, epoch + 1), movedBy: id }, refused: null };
}

function abort(state: State, { migrationId: id, host, epoch }: Of<'abort'>): Step {
  if (state.movedBy === id) return no(state, 'migrationDecided');
  if (state.epoch !== epoch) return no(state, 'otherEpoch');
  if (state.dead.includes(id)) return kept(state);
  const { moving, owner } = state;
  const isOfIt = moving === null ? host === owner : moving.id === id;
  if (!isOfIt) return no(state, 'otherMigration');
  if (moving !== null && host !== owner && host !== moving.to) return no(state, 'notDestination');
  return { next: { ...state, moving: null, dead: [...state.dead, id].slice(-16) }, refused: null };
}

function claim(state: State, { host, epoch, operator }: Of<'claim'>): Step {
  const isRepeated =
    state.claimedBy === operator && state.epoch === epoch + 1 && state.owner === host;
  if (isRepeated) return kept(state);
  if (state.epoch !== epoch) return no(state, 'otherEpoch');
  if (state.owner === host) return no(state, 'sameHost');
  return { next: { ...fresh(host, epoch + 1), claimedBy: operator }, refused: null };
}

function fresh(owner: string, epoch: number): State {
  return { owner, epoch, moving: null, movedBy: null, claimedBy: null, dead: [] };
}

function kept(state: State | null): Step {
  return { next: state, refused: null };
}

function no(state: State | null, refused: string): Step {
  return { next: state, refused };
}

function answerOf(state: State | null, refused: string | null): OwnershipOutput {
  return {
    ...{ refused, owner: state?.owner ?? null, epoch: state?.epoch ?? null },
    migrationId: state?.moving?.id ?? null,
  };
}

function isSame(a: OwnershipOutput, b: OwnershipOutput): boolean {
  return (
    a.refused === b.refused &&
    a.owner === b.owner &&
    a.epoch === b.epoch &&
    a.migrationId === b.migrationId
  );
}
