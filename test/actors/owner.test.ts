import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryStorage } from '../../sim/storage/memory-storage.ts';
import { createNactHost } from '../../src/actors/nact-host.ts';
import { beginLife, type OwnerLife } from '../../src/actors/owner-records.ts';
import type { ReplicaMessage, ReplicaStatus } from '../../src/actors/replica-messages.ts';
import { type ReplicaHooks, type SpawnedOwner, spawnOwner } from '../../src/actors/spawn-owner.ts';
import type { ActorHost } from '../../src/actors/system.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { encodeCommand } from '../../src/protocols/ownership/codec.ts';
import { OwnershipMachine } from '../../src/protocols/ownership/machine.ts';
import type { OwnershipAnswer, OwnershipCommand } from '../../src/protocols/ownership/types.ts';
import { systemClock } from '../../src/system/clock.ts';
import { systemRandom } from '../../src/system/random.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../../src/util/errors.ts';
import { promised } from '../../src/util/promised.ts';

const VOTERS = ['a', 'b', 'c'];
const register: OwnershipCommand = { type: 'register', vm: 'vm1', host: 'a' };

type Propose = Extract<ReplicaMessage, { readonly type: 'propose' }>;

/** A replica in the hands of the test: what is proposed waits until the test applies it. */
class HeldReplica {
  readonly proposed: Propose[] = [];
  hooks: ReplicaHooks | null = null;
  #index = 0;

  readonly spawn = (hooks: ReplicaHooks): never => {
    this.hooks = hooks;
    const tell = (message: ReplicaMessage): 'accepted' => {
      if (message.type === 'propose') this.proposed.push(message);
      return 'accepted';
    };
    return { path: '/replica', incarnation: 1, tell } as never;
  };

  async next(): Promise<Propose> {
    await until(() => this.proposed.length > 0, 'a proposal');
    return this.proposed.shift() ?? assert.fail();
  }

  /** As if the group had committed it, whoever proposed it. */
  execute(command: Uint8Array): Uint8Array {
    this.#index += 1;
    const answer = this.hooks?.application.execute(command, this.#index) ?? assert.fail();
    this.hooks?.onApplied(this.#index);
    return answer;
  }

  async applyNext(): Promise<void> {
    const { command, done } = await this.next();
    done(succeeded(this.execute(command)));
  }
}

interface TestOwner extends SpawnedOwner {
  readonly host: ActorHost;
  readonly held: HeldReplica;
  readonly halted: DwcpError[];
}

const begin = (storage: Storage, voters: readonly string[] = VOTERS): Promise<OwnerLife> =>
  promised((done) => beginLife({ storage, random: systemRandom(), voters }, done));

async function startOwner(storage: Storage = new MemoryStorage(setImmediate)): Promise<TestOwner> {
  const life = await begin(storage);
  const host = createNactHost({ clock: systemClock() });
  const held = new HeldReplica();
  const halted: DwcpError[] = [];
  const owner = spawnOwner(host, {
    ...{ host: 'a', voters: VOTERS, dataDir: '/data/a', life, storage, spawnReplica: held.spawn },
    onHalt: (error) => void halted.push(error),
  });
  return { ...owner, host, held, halted };
}

function propose(
  { ownership }: TestOwner,
  command: OwnershipCommand,
  patienceMs: number | null = null,
): Promise<Outcome<OwnershipAnswer>> {
  return new Promise((resolve) => ownership.propose(command, patienceMs, resolve));
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 3000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.fail(`never happened: ${what}`);
}

const stop = ({ host }: TestOwner): Promise<void> => new Promise((done) => host.shutdown(done));

describe('the owner', () => {
  it('begins its life in the log before it proposes anything else', async () => {
    const owner = await startOwner();
    const answer = propose(owner, register);
    const first = await owner.held.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(owner.held.proposed.length, 0);
    first.done(succeeded(owner.held.execute(first.command)));
    await owner.held.applyNext();
    assert.deepEqual(await answer, succeeded({ ok: true, vm: owner.ownership.get('vm1') }));
    assert.equal(owner.ownership.get('vm1')?.owner, 'a');
    await stop(owner);
  });

  it('tells of changes in log order, and before the answer of the command that made them', async () => {
    const owner = await startOwner();
    const heard: string[] = [];
    owner.ownership.onChange((vm, now) => heard.push(`${vm} ${now?.owner} ${now?.epoch}`));
    await owner.held.applyNext();
    const answer = propose(owner, register).then(() => heard.push('answered'));
    await owner.held.applyNext();
    owner.held.execute(
      encodeCommand({ type: 'claim', vm: 'vm1', epoch: 1, host: 'b', operator: 'olga' }),
    );
    await answer;
    assert.deepEqual(heard, ['vm1 a 1', 'vm1 b 2', 'answered']);
    await stop(owner);
  });

  it('tells what a snapshot changed', async () => {
    const owner = await startOwner();
    const heard: string[] = [];
    owner.ownership.onChange((vm, now) => heard.push(`${vm} ${now?.owner ?? 'gone'}`));
    const other = new OwnershipMachine();
    other.apply({ type: 'register', vm: 'vm7', host: 'c' });
    owner.held.hooks?.application.restore(other.encode());
    assert.deepEqual(heard, ['vm7 c']);
    assert.deepEqual(
      owner.ownership.list().map(({ vm }) => vm),
      ['vm7'],
    );
    await stop(owner);
  });

  it('proposes a command again whose outcome nobody knows any more', async () => {
    const owner = await startOwner();
    await owner.held.applyNext();
    const answer = propose(owner, register);
    const lost = await owner.held.next();
    owner.held.execute(lost.command);
    lost.done(failed(new DwcpError('ERR_DWCP_OUTCOME_UNKNOWN', 'the session is forgotten')));
    await owner.held.applyNext();
    assert.equal((await answer).ok, true);
    await stop(owner);
  });

  it('answers that there is no majority while its begin is not applied, unless it is to wait', async () => {
    const owner = await startOwner();
    const patient = propose(owner, register);
    const hasty = await propose(owner, register, 5);
    assert.equal(hasty.ok ? 'ok' : hasty.error.code, 'ERR_DWCP_NO_QUORUM');
    await owner.held.applyNext();
    await owner.held.applyNext();
    assert.equal((await patient).ok, true);
    assert.equal(owner.held.proposed.length, 0);
    await stop(owner);
  });

  it('halts when its data directory is a copy, and does so again at every later start', async () => {
    const storage = new MemoryStorage(setImmediate);
    for (let start = 0; start < 3; start += 1) {
      const owner = await startOwner(storage);
      const waiting = propose(owner, register);
      const other: OwnershipCommand = { type: 'begin', host: 'a', life: 1, nonce: 'original' };
      owner.held.execute(encodeCommand(other));
      await owner.held.applyNext();
      await until(() => owner.halted.length > 0, 'halted');
      assert.equal(owner.halted[0]?.code, 'ERR_DWCP_STORAGE');
      assert.match(String(owner.halted[0]?.message), /\/data\/a is a copy/);
      const answer = await waiting;
      assert.equal(answer.ok ? 'ok' : answer.error.code, 'ERR_DWCP_STORAGE');
      await stop(owner);
    }
  });

  it('halts when a copy of its data directory begins a later life', async () => {
    const owner = await startOwner();
    await owner.held.applyNext();
    owner.held.execute(encodeCommand({ type: 'begin', host: 'a', life: 2, nonce: 'copy' }));
    await until(() => owner.halted.length > 0, 'halted');
    const answer = await propose(owner, register);
    assert.equal(answer.ok ? 'ok' : answer.error.code, 'ERR_DWCP_STORAGE');
    await stop(owner);
  });

  it('halts once when the disk under its log failed', async () => {
    const owner = await startOwner();
    const status = { voters: VOTERS, leader: null, term: 3, commitIndex: 0, appliedIndex: 0 };
    const halted = { ...status, phase: 'halted', problem: 'this replica has stopped: EIO' };
    owner.held.hooks?.onStatus({ ...status, phase: 'running', problem: null } as never);
    assert.equal(owner.halted.length, 0);
    owner.held.hooks?.onStatus(halted as never);
    owner.held.hooks?.onStatus(halted as never);
    assert.deepEqual(
      owner.halted.map(({ code, message, hint }) => [code, message, hint !== null]),
      [
        [
          'ERR_DWCP_STORAGE',
          `the log of the group in /data/a cannot go on: ${halted.problem}`,
          true,
        ],
      ],
    );
    await stop(owner);
  });

  it('shows the group as its replica sees it', async () => {
    const owner = await startOwner();
    assert.equal(owner.ownership.group().problem, 'the log of the group is being read');
    const status = { voters: VOTERS, leader: 'b', term: 3, commitIndex: 0, appliedIndex: 0 };
    owner.held.hooks?.onStatus({ ...status, problem: null } as unknown as ReplicaStatus);
    await owner.held.applyNext();
    assert.deepEqual(owner.ownership.group(), {
      ...{ voters: VOTERS, leader: 'b', term: 3, commitIndex: 1, appliedIndex: 1, problem: null },
    });
    await stop(owner);
  });
});

describe('what an owner remembers', () => {
  it('is one life more at every start, with another nonce', async () => {
    const storage = new MemoryStorage(setImmediate);
    const [first, second] = [await begin(storage), await begin(storage)];
    assert.deepEqual([first.life, second.life], [1, 2]);
    assert.notEqual(first.nonce, second.nonce);
  });

  it('is the group it was founded with, and another one is refused', async () => {
    const storage = new MemoryStorage(setImmediate);
    await begin(storage);
    await assert.rejects(begin(storage, ['a', 'b']), { code: 'ERR_DWCP_CONFIG' });
    assert.equal((await begin(storage)).life, 2);
  });

  it('is not read when somebody else wrote it', async () => {
    const storage = new MemoryStorage(setImmediate);
    const value = new TextEncoder().encode('{"life":"many"}');
    await promised<void>((done) => storage.put('owner/life', value, done));
    await assert.rejects(begin(storage), { code: 'ERR_DWCP_CORRUPT' });
  });
});
