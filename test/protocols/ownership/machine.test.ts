import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OwnershipMachine } from '../../../src/protocols/ownership/machine.ts';
import type { OwnershipCommand, VmOwnership } from '../../../src/protocols/ownership/types.ts';

const register: OwnershipCommand = { type: 'register', vm: 'vm1', host: 'a' };
const prepare: OwnershipCommand = {
  ...{ type: 'prepare', vm: 'vm1', epoch: 1, migrationId: 'm1', from: 'a', to: 'b' },
};
const commit: OwnershipCommand = {
  ...{ type: 'commit', vm: 'vm1', epoch: 1, migrationId: 'm1', host: 'b' },
};
const abort: OwnershipCommand = {
  ...{ type: 'abort', vm: 'vm1', epoch: 1, migrationId: 'm1', host: 'a', reason: 'cancelled' },
};
const claim: OwnershipCommand = {
  ...{ type: 'claim', vm: 'vm1', epoch: 1, host: 'c', operator: 'olga' },
};

function after(...commands: readonly OwnershipCommand[]): OwnershipMachine {
  const machine = new OwnershipMachine();
  for (const command of commands) assert.equal(machine.apply(command).ok, true, command.type);
  return machine;
}

function refusal(machine: OwnershipMachine, command: OwnershipCommand): string | null {
  const before = machine.encode();
  const answer = machine.apply(command);
  assert.deepEqual(machine.encode(), before, 'what is refused changes nothing');
  return answer.ok ? null : answer.code;
}

describe('a VM in the ownership log', () => {
  it('is registered by its first host, under epoch 1, and by no other', () => {
    const machine = after(register);
    const now = { vm: 'vm1', owner: 'a', epoch: 1, by: { type: 'registered' }, migration: null };
    assert.deepEqual(machine.get('vm1'), now);
    assert.equal(refusal(machine, { ...register, host: 'b' }), 'otherOwner');
    assert.deepEqual(machine.apply(register), { ok: true, vm: now });
  });

  it('belongs to the destination under the next epoch once the migration is committed', () => {
    const machine = after(register, prepare, commit);
    assert.deepEqual(machine.get('vm1'), {
      vm: 'vm1',
      owner: 'b',
      epoch: 2,
      by: { type: 'migrated', migrationId: 'm1', from: 'a' },
      migration: null,
    });
  });

  it('stays where it is when the abort comes first, and the commit is refused', () => {
    const machine = after(register, prepare, abort);
    assert.equal(machine.get('vm1')?.owner, 'a');
    assert.equal(refusal(machine, commit), 'migrationDecided');
    assert.equal(refusal(machine, prepare), 'migrationDecided');
  });

  it('moves when the commit comes first, and the abort is refused', () => {
    const machine = after(register, prepare, commit);
    assert.equal(refusal(machine, abort), 'migrationDecided');
    assert.equal(machine.get('vm1')?.owner, 'b');
  });

  it('is committed to nobody but the destination that was prepared', () => {
    const machine = after(register, prepare);
    assert.equal(refusal(machine, { ...commit, host: 'c' } as OwnershipCommand), 'notDestination');
    const other = { ...commit, migrationId: 'm2' } as OwnershipCommand;
    assert.equal(refusal(machine, other), 'otherMigration');
    const old = { ...commit, epoch: 0 } as OwnershipCommand;
    assert.equal(refusal(machine, old), 'otherEpoch');
    assert.equal(refusal(after(register), commit), 'otherMigration');
    assert.equal(refusal(new OwnershipMachine(), commit), 'unknownVm');
  });

  it('takes one migration at a time, from its owner, under its epoch, to another host', () => {
    const machine = after(register, prepare);
    const second = { ...prepare, migrationId: 'm2' } as OwnershipCommand;
    assert.equal(refusal(machine, second), 'migrationPrepared');
    const fresh = after(register);
    assert.equal(refusal(fresh, { ...prepare, from: 'b' } as OwnershipCommand), 'otherOwner');
    assert.equal(refusal(fresh, { ...prepare, epoch: 2 } as OwnershipCommand), 'otherEpoch');
    assert.equal(refusal(fresh, { ...prepare, to: 'a' } as OwnershipCommand), 'sameHost');
  });

  it('can be aborted by either side and by nobody else', () => {
    assert.equal(after(register, prepare, { ...abort, host: 'b' }).get('vm1')?.migration, null);
    const machine = after(register, prepare);
    assert.equal(refusal(machine, { ...abort, host: 'c' } as OwnershipCommand), 'notDestination');
  });

  it('never prepares a migration that its owner aborted before the log had it', () => {
    const machine = after(register, abort);
    assert.equal(refusal(machine, prepare), 'migrationDecided');
    assert.equal(refusal(after(register), { ...abort, host: 'b' }), 'otherMigration');
  });

  it('answers every command that is proposed again as it did the first time', () => {
    for (const history of [
      [register],
      [register, prepare],
      [register, prepare, commit],
      [register, prepare, abort],
      [register, claim],
      [register, { type: 'unregister', vm: 'vm1', host: 'a', epoch: 1 }],
      [{ type: 'begin', host: 'a', life: 1, nonce: 'n' }],
    ] satisfies OwnershipCommand[][]) {
      const machine = after(...history.slice(0, -1));
      const last = history.at(-1);
      assert.ok(last);
      const first = machine.apply(last);
      const state = machine.encode();
      assert.deepEqual(machine.apply(last), first, last.type);
      assert.deepEqual(machine.encode(), state, last.type);
    }
  });

  it('is unregistered by its owner, but not while a migration may still take it away', () => {
    const gone: OwnershipCommand = { type: 'unregister', vm: 'vm1', host: 'a', epoch: 1 };
    assert.equal(after(register, gone).get('vm1'), null);
    const machine = after(register, prepare);
    assert.equal(refusal(machine, gone), 'migrationPrepared');
    assert.equal(refusal(machine, { ...gone, host: 'b' }), 'otherOwner');
    assert.equal(refusal(machine, { ...gone, epoch: 2 }), 'otherEpoch');
  });

  it('begins above every epoch of a VM that is gone', () => {
    const gone: OwnershipCommand = { type: 'unregister', vm: 'vm1', host: 'b', epoch: 2 };
    const machine = after(register, prepare, commit, gone, register);
    assert.equal(machine.get('vm1')?.epoch, 3);
  });

  it('is claimed under the next epoch, and a migration from before cannot take it away', () => {
    const machine = after(register, prepare, claim);
    const by = { type: 'claimed', operator: 'olga', from: 'a' };
    const now = { vm: 'vm1', owner: 'c', epoch: 2, by, migration: null };
    assert.deepEqual(machine.get('vm1'), now);
    assert.equal(refusal(machine, commit), 'otherEpoch');
    assert.equal(refusal(machine, abort), 'otherEpoch');
    assert.equal(refusal(after(register), { ...claim, host: 'a' }), 'sameHost');
  });
});

describe('a data directory in the ownership log', () => {
  const begin = (life: number, nonce: string): OwnershipCommand => ({
    ...{ type: 'begin', host: 'a', life, nonce },
  });

  it('begins one life after the other', () => {
    assert.deepEqual(after(begin(1, 'x'), begin(2, 'y')).lifeOf('a'), { life: 2, nonce: 'y' });
  });

  it('is refused as a copy when another one began that life, or a later one', () => {
    const machine = after(begin(1, 'x'), begin(2, 'y'));
    assert.equal(refusal(machine, begin(2, 'z')), 'clonedDirectory');
    assert.equal(refusal(machine, begin(1, 'x')), 'clonedDirectory');
  });
});

describe('the tables of the ownership log', () => {
  it('refuse what is more than they hold, and keep what they have', () => {
    const machine = new OwnershipMachine({ limits: { vms: 1, hosts: 1 } });
    machine.apply(register);
    machine.apply({ type: 'begin', host: 'a', life: 1, nonce: 'x' });
    assert.equal(refusal(machine, { ...register, vm: 'vm2' } as OwnershipCommand), 'full');
    assert.equal(refusal(machine, { type: 'begin', host: 'b', life: 1, nonce: 'x' }), 'full');
    assert.equal(machine.apply({ type: 'begin', host: 'a', life: 2, nonce: 'y' }).ok, true);
  });

  it('tell of every change in order, of refusals nothing, and of a snapshot what it changed', () => {
    const told: (readonly [string, VmOwnership | null])[] = [];
    const machine = new OwnershipMachine({ onChange: (vm, now) => told.push([vm, now]) });
    for (const command of [register, register, prepare, commit, abort]) machine.apply(command);
    assert.deepEqual(
      told.map(([, now]) => [now?.owner, now?.migration?.migrationId]),
      [
        ['a', undefined],
        ['a', 'm1'],
        ['b', undefined],
      ],
    );
    told.length = 0;
    const other = after(register, prepare, commit, { ...register, vm: 'vm0' });
    machine.restore(other.encode());
    assert.deepEqual(told, [['vm0', other.get('vm0')]]);
    machine.restore(new OwnershipMachine().encode());
    assert.deepEqual(told.slice(1), [
      ['vm0', null],
      ['vm1', null],
    ]);
  });
});
