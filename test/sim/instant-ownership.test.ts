import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InstantOwnership } from '../../sim/ownership/instant-ownership.ts';
import type { OwnershipCommand } from '../../src/protocols/ownership/types.ts';

const register: OwnershipCommand = { type: 'register', vm: 'vm1', host: 'a' };

test('hosts that share an instant log see one owner, later and not inside the call', () => {
  const deferred: (() => void)[] = [];
  const log = new InstantOwnership({ hosts: ['a', 'b'], defer: (run) => deferred.push(run) });
  const [a, b] = [log.portOf('a'), log.portOf('b')];
  const told: string[] = [];
  b.onChange((vm, now) => told.push(`${vm} ${now?.owner}`));
  let answer: unknown = null;
  a.propose(register, 1000, (outcome) => {
    answer = outcome;
  });
  assert.equal(answer, null);
  deferred.shift()?.();
  assert.deepEqual(answer, { ok: true, value: { ok: true, vm: b.get('vm1') } });
  assert.deepEqual(told, ['vm1 a']);
});

test('without a majority a patient command waits and another one is refused', () => {
  const deferred: (() => void)[] = [];
  const log = new InstantOwnership({ hosts: ['a'], defer: (run) => deferred.push(run) });
  const run = (): void => {
    for (const one of deferred.splice(0)) one();
  };
  log.hasQuorum = false;
  const heard: string[] = [];
  const port = log.portOf('a');
  port.propose(register, null, ({ ok }) => heard.push(`patient ${ok}`));
  port.propose(register, 5, (outcome) => heard.push(outcome.ok ? 'ok' : outcome.error.code));
  run();
  assert.deepEqual(heard, ['ERR_DWCP_NO_QUORUM']);
  assert.equal(port.group().leader, null);
  log.hasQuorum = true;
  run();
  assert.deepEqual(heard, ['ERR_DWCP_NO_QUORUM', 'patient true']);
});
