/** Any history of any commands: what holds after each of them, whoever proposed what in which order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeAnswer,
  decodeCommand,
  encodeAnswer,
  encodeCommand,
} from '../../../src/protocols/ownership/codec.ts';
import { OwnershipMachine } from '../../../src/protocols/ownership/machine.ts';
import type { OwnershipCommand } from '../../../src/protocols/ownership/types.ts';

const vm = fc.constantFrom('vm1', 'vm2');
const host = fc.constantFrom('a', 'b', 'c');
const epoch = fc.integer({ min: 0, max: 4 });
const migrationId = fc.constantFrom('m1', 'm2', 'm3');
const of = <T extends OwnershipCommand['type']>(type: T): fc.Arbitrary<T> => fc.constant(type);

const command: fc.Arbitrary<OwnershipCommand> = fc.oneof(
  fc.record({ type: of('register'), vm, host }),
  fc.record({ type: of('unregister'), vm, host, epoch }),
  fc.record({ type: of('prepare'), vm, epoch, migrationId, from: host, to: host }),
  fc.record({ type: of('commit'), vm, epoch, migrationId, host }),
  fc.record({ type: of('abort'), vm, epoch, migrationId, host, reason: fc.constant('because') }),
  fc.record({ type: of('claim'), vm, epoch, host, operator: fc.constant('olga') }),
  fc.record({
    ...{ type: of('begin'), host, life: fc.integer({ min: 1, max: 4 }) },
    nonce: fc.constantFrom('x', 'y'),
  }),
);
const history = fc.array(command, { maxLength: 60 });
const RUNS = { numRuns: 2000 };

describe('any history of ownership', () => {
  it('leaves two replicas with the same bytes, one of them restored from a snapshot on the way', () => {
    fc.assert(
      fc.property(history, history, (before, after) => {
        const whole = new OwnershipMachine();
        for (const one of before) whole.execute(encodeCommand(one));
        const restored = new OwnershipMachine();
        restored.restore(whole.encode());
        for (const one of after) {
          const bytes = encodeCommand(one);
          assert.deepEqual(restored.execute(bytes), whole.execute(bytes));
        }
        assert.deepEqual(restored.encode(), whole.encode());
        assert.deepEqual(restored.list(), whole.list());
      }),
      RUNS,
    );
  });

  it('answers a repeated command as the first time, and changes nothing by it', () => {
    fc.assert(
      fc.property(history, (commands) => {
        const machine = new OwnershipMachine();
        for (const one of commands) {
          const first = machine.apply(one);
          const state = machine.encode();
          assert.deepEqual(machine.apply(one), first);
          assert.deepEqual(machine.encode(), state);
        }
      }),
      RUNS,
    );
  });

  it('never gives one epoch of a VM to two hosts, and lets no epoch fall', () => {
    fc.assert(
      fc.property(history, (commands) => {
        const machine = new OwnershipMachine();
        const owners = new Map<string, string>();
        const epochs = new Map<string, number>();
        for (const one of commands) {
          machine.apply(one);
          for (const state of machine.list()) {
            const tenure = `${state.vm} ${state.epoch}`;
            assert.equal(owners.get(tenure) ?? state.owner, state.owner);
            owners.set(tenure, state.owner);
            assert.ok(state.epoch >= (epochs.get(state.vm) ?? 1));
            epochs.set(state.vm, state.epoch);
          }
        }
      }),
      RUNS,
    );
  });

  it('moves a VM only by a prepared migration to that host, or by an operator', () => {
    fc.assert(
      fc.property(history, (commands) => {
        const machine = new OwnershipMachine();
        for (const one of commands) {
          if (one.type === 'begin') continue;
          const before = machine.get(one.vm);
          machine.apply(one);
          const now = machine.get(one.vm);
          if (before === null || now === null || before.owner === now.owner) continue;
          assert.equal(now.epoch, before.epoch + 1);
          if (one.type === 'claim') continue;
          assert.equal(one.type, 'commit');
          assert.equal(before.migration?.to, now.owner);
        }
      }),
      RUNS,
    );
  });

  it('never commits what was aborted and never aborts what was committed', () => {
    const verdict = fc.record({ type: fc.constantFrom('commit', 'abort'), migrationId });
    let committed = 0;
    fc.assert(
      fc.property(fc.array(verdict, { maxLength: 12 }), (wishes) => {
        const machine = new OwnershipMachine();
        machine.apply({ type: 'register', vm: 'vm1', host: 'a' });
        const verdicts = new Map<string, string>();
        for (const { type, migrationId: id } of wishes) {
          const { owner, epoch: under } = machine.get('vm1') ?? { owner: 'a', epoch: 1 };
          const to = owner === 'a' ? 'b' : 'a';
          const terms = { vm: 'vm1', epoch: under, migrationId: `${under}-${id}` };
          machine.apply({ type: 'prepare', ...terms, from: owner, to });
          const { ok } = machine.apply({ type, ...terms, host: to, reason: 'because' });
          if (!ok) continue;
          if (type === 'commit') committed += 1;
          assert.equal(verdicts.get(terms.migrationId) ?? type, type);
          verdicts.set(terms.migrationId, type);
        }
      }),
      RUNS,
    );
    assert.ok(committed > RUNS.numRuns, `${committed} migrations were committed`);
  });
});

describe('bytes of ownership', () => {
  it('carry every command and answer there and back', () => {
    fc.assert(
      fc.property(history, (commands) => {
        const machine = new OwnershipMachine();
        for (const one of commands) {
          assert.deepEqual(decodeCommand(encodeCommand(one)), { ...one });
          const answer = machine.apply(one);
          assert.deepEqual(decodeAnswer(encodeAnswer(answer)), answer);
        }
      }),
      RUNS,
    );
  });

  it('have one encoding: what can be read is what would be written', () => {
    const damaged = fc
      .tuple(command, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(3))
      .map(([one, at, value, cut]) => {
        const bytes = encodeCommand(one);
        bytes[at % bytes.length] = value;
        return bytes.subarray(0, bytes.length - cut);
      });
    const anything = fc.oneof(fc.uint8Array({ maxLength: 80 }), damaged);
    let [readable, refused] = [0, 0];
    fc.assert(
      fc.property(anything, (bytes) => {
        const one = decodeCommand(bytes);
        if (one === null) refused += 1;
        else {
          readable += 1;
          assert.deepEqual(encodeCommand(one), Uint8Array.from(bytes));
        }
        const machine = new OwnershipMachine();
        assert.notEqual(decodeAnswer(machine.execute(bytes)), null);
        decodeAnswer(bytes);
      }),
      { numRuns: 5000 },
    );
    assert.ok(readable > 100 && refused > 100, `${readable} readable, ${refused} refused`);
  });

  it('are the same whatever order brought the same state about', () => {
    const names = fc.uniqueArray(fc.string({ maxLength: 20, unit: 'grapheme' }), { maxLength: 20 });
    fc.assert(
      fc.property(names, (vms) => {
        const [forward, backward] = [new OwnershipMachine(), new OwnershipMachine()];
        for (const name of vms) forward.apply({ type: 'register', vm: name, host: 'a' });
        for (const name of [...vms].reverse()) {
          backward.apply({ type: 'register', vm: name, host: 'a' });
        }
        assert.deepEqual(forward.encode(), backward.encode());
        const restored = new OwnershipMachine();
        restored.restore(forward.encode());
        assert.deepEqual(restored.encode(), forward.encode());
      }),
    );
  });
});
