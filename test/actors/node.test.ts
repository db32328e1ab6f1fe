import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dwcp } from '#wire';
import { SimulatedHypervisor } from '../../sim/hypervisor/simulated-hypervisor.ts';
import { InstantOwnership } from '../../sim/ownership/instant-ownership.ts';
import { MemoryStorage } from '../../sim/storage/memory-storage.ts';
import type { LinkCommand } from '../../src/actors/messages.ts';
import { decodeDecision, encodeRecordValue } from '../../src/actors/migration-records.ts';
import { createNactHost } from '../../src/actors/nact-host.ts';
import { type NodeMessage, nodeActor } from '../../src/actors/node.ts';
import { type Recovery, recover } from '../../src/actors/node-recovery.ts';
import { NodeView } from '../../src/actors/node-view.ts';
import type { ActorHost, ActorRef } from '../../src/actors/system.ts';
import type { MigrateOptions, MigrationReceipt } from '../../src/node.ts';
import type { Storage, StoredRecord } from '../../src/ports/storage.ts';
import type { BulkLink } from '../../src/ports/transport.ts';
import { systemClock } from '../../src/system/clock.ts';
import { type Completion, DwcpError } from '../../src/util/errors.ts';
import { promised } from '../../src/util/promised.ts';

interface TestNode {
  readonly host: ActorHost;
  readonly actor: ActorRef<NodeMessage>;
  readonly view: NodeView;
  readonly hypervisor: SimulatedHypervisor;
}

const BULK = { peer: '', close: () => {}, setMaxBandwidth: () => {} } as unknown as BulkLink;
const MEMORY_BYTES = 64 * 2 ** 20;

async function startTestNode(
  id: string,
  storage: Storage,
  hypervisor: SimulatedHypervisor = new SimulatedHypervisor({ defer: setImmediate }),
  maxConcurrentMigrations: number = 4,
): Promise<TestNode> {
  const view = new NodeView();
  const hypervisors = new Map([['memory', hypervisor]] as const);
  const recovery = await promised<Recovery>((done) => recover(storage, hypervisors, done));
  const host = createNactHost({
    clock: systemClock(),
    onFatal: (error) => {
      throw error;
    },
    onCrash: ({ error }) => {
      throw error;
    },
  });
  const log = (): void => {};
  const actor = host.spawn(
    nodeActor({
      ...{ id, hypervisors, storage, recovery, maxConcurrentMigrations, view, log },
      ownership: new InstantOwnership({ hosts: [id], defer: setImmediate }).portOf(id),
    }),
  );
  return { host, actor, view, hypervisor };
}

/** A link that carries encoded envelopes from one node to the other until it is cut. */
function connect(
  left: TestNode,
  right: TestNode,
): { cut: () => void; drop: (type: string) => void } {
  let isUp = true;
  const dropped = new Set<string>();
  const attach = (from: TestNode, peer: string, to: TestNode, self: string): void => {
    const link = from.host.spawn<null, LinkCommand>({
      name: `wire-${peer}-${Math.random().toString(16).slice(2)}`,
      mailboxLimit: 1000,
      initialState: () => null,
      behavior: (state, message) => {
        if (!isUp || message.type !== 'send') return state;
        const bytes = dwcp.Envelope.encode(message.envelope as dwcp.Envelope).finish();
        const envelope = dwcp.Envelope.decode(bytes);
        if (![...dropped].some((type) => type in message.envelope)) {
          to.actor.tell({ type: 'envelope', peer: self, envelope });
        }
        return state;
      },
    });
    from.actor.tell({ type: 'linkUp', peer, bulk: BULK, link, peerRestarted: true });
  };
  attach(left, 'b', right, 'a');
  attach(right, 'a', left, 'b');
  return {
    cut: () => {
      isUp = false;
      const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'cut by the test');
      left.actor.tell({ type: 'linkDown', peer: 'b', error });
      right.actor.tell({ type: 'linkDown', peer: 'a', error });
    },
    drop: (type) => dropped.add(type),
  };
}

function ask<T>(node: TestNode, message: (done: Completion<T>) => NodeMessage): Promise<T> {
  return new Promise((resolve, reject) => {
    node.actor.tell(
      message((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error))),
    );
  });
}

function records(storage: Storage, prefix: string): Promise<readonly StoredRecord[]> {
  return new Promise((resolve, reject) => {
    storage.list(prefix, (outcome) =>
      outcome.ok ? resolve(outcome.value) : reject(outcome.error),
    );
  });
}

function stored(act: (done: Completion<void>) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    act((outcome) => (outcome.ok ? resolve() : reject(outcome.error)));
  });
}

function migrate(
  node: TestNode,
  options: MigrateOptions,
  id: string = 'm1',
): Promise<MigrationReceipt> {
  return ask<MigrationReceipt>(node, (done) => ({
    type: 'migrate',
    guestName: 'vm',
    migrationId: id,
    transferId: 1,
    options,
    done,
  }));
}

async function launch(node: TestNode): Promise<void> {
  const guest = node.hypervisor.launch('vm', MEMORY_BYTES);
  await ask<string>(node, (done) => ({ type: 'adopt', guest, epoch: 1, done }));
}

const states = (node: TestNode): readonly string[] =>
  [...node.hypervisor.copies.values()].map((copy) => copy.state);

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 3000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.fail(`never happened: ${what}`);
}

const stop = (...nodes: readonly TestNode[]): Promise<unknown> =>
  Promise.all(nodes.map(({ host }) => new Promise<void>((done) => host.shutdown(done))));

const claimBy =
  (operator: string) =>
  (done: Completion<void>): NodeMessage => ({ type: 'claim', guestName: 'vm', operator, done });

describe('two nodes', () => {
  const newStorage = (): MemoryStorage => new MemoryStorage(setImmediate);

  for (const verify of ['after', 'strict', 'off'] as const) {
    it(`move a guest and say so with a receipt, verify ${verify}`, async () => {
      const storage = { a: newStorage(), b: newStorage() };
      const [a, b] = [await startTestNode('a', storage.a), await startTestNode('b', storage.b)];
      connect(a, b);
      await launch(a);
      const receipt = await migrate(a, { to: 'b', verify });
      assert.equal(receipt.verified, verify === 'off' ? null : true);
      assert.equal(receipt.comparedPages, verify === 'off' ? 0 : MEMORY_BYTES / 4096);
      assert.deepEqual([states(a), states(b)], [['killed'], ['running']]);
      assert.equal(a.view.guests.size, 0);
      await until(() => b.view.guests.get('vm')?.state === 'running', 'b shows the guest');
      assert.equal(b.view.guests.get('vm')?.epoch, 2);
      await stop(a, b);
    });
  }

  it('say that memory differs, and where the guest is then', async () => {
    for (const verify of ['after', 'strict'] as const) {
      const damaged = new SimulatedHypervisor({
        defer: setImmediate,
        damagedPages: new Set([9000]),
      });
      const [a, b] = [
        await startTestNode('a', newStorage()),
        await startTestNode('b', newStorage(), damaged),
      ];
      connect(a, b);
      await launch(a);
      const moved = migrate(a, { to: 'b', verify });
      if (verify === 'after') {
        const receipt = await moved;
        assert.equal(receipt.verified, false);
        assert.equal(receipt.differentPages, 1);
      } else {
        await assert.rejects(moved, { code: 'ERR_DWCP_VERIFY_FAILED', message: /9000/ });
        assert.deepEqual(states(a), ['running'], 'strict finds it before the guest moved');
      }
      await stop(a, b);
    }
  });

  it('refuse a migration more than the limit, an unknown guest and an unknown peer', async () => {
    const [a, b] = [
      await startTestNode('a', newStorage()),
      await startTestNode('b', newStorage(), undefined, 0),
    ];
    connect(a, b);
    await assert.rejects(migrate(a, { to: 'b' }), { code: 'ERR_DWCP_GUEST_UNKNOWN' });
    await launch(a);
    await assert.rejects(migrate(a, { to: 'c' }), { code: 'ERR_DWCP_PEER_UNREACHABLE' });
    await assert.rejects(migrate(a, { to: 'b' }), { code: 'ERR_DWCP_LIMIT' });
    assert.deepEqual(states(a), ['running']);
    await stop(a, b);
  });

  it('keep the guest at the source when the link breaks before the fence, and try again', async () => {
    const [a, b] = [await startTestNode('a', newStorage()), await startTestNode('b', newStorage())];
    const first = connect(a, b);
    first.drop('loaded');
    await launch(a);
    const lost = migrate(a, { to: 'b' });
    await until(() => states(a)[0] === 'paused', 'the guest is stopped for the last copy');
    first.cut();
    await assert.rejects(lost, { code: 'ERR_DWCP_PEER_UNREACHABLE' });
    assert.deepEqual(states(a), ['running']);
    await until(() => states(b)[0] === 'killed', 'b discards the incoming guest');
    connect(a, b);
    await migrate(a, { to: 'b' }, 'm2');
    assert.deepEqual(states(a), ['killed']);
    await stop(a, b);
  });

  it('settle a fence of an earlier process before anything else', async () => {
    const storage = { a: newStorage(), b: newStorage() };
    const [a, b] = [await startTestNode('a', storage.a), await startTestNode('b', storage.b)];
    const link = connect(a, b);
    link.drop('decision');
    await launch(a);
    void migrate(a, { to: 'b' }).catch(() => {});
    await until(() => states(b)[0] === 'running', 'b decided and runs the guest');
    await stop(a);
    assert.deepEqual(states(a), ['fenced']);
    const again = new SimulatedHypervisor({ defer: setImmediate }, a.hypervisor.copies);
    const restarted = await startTestNode('a', storage.a, again);
    await until(
      () => restarted.view.guests.get('vm')?.state === 'outcomeUnknown',
      'the restarted source says that it does not know',
    );
    assert.deepEqual(states(restarted), ['fenced']);
    await assert.rejects(migrate(restarted, { to: 'b' }, 'm2'), { code: 'ERR_DWCP_GUEST_STATE' });
    connect(restarted, b);
    await until(() => states(restarted)[0] === 'killed', 'the decision arrives');
    assert.deepEqual(states(b), ['running']);
    await stop(restarted, b);
  });

  it('run the guest at a destination that died right after its commit', async () => {
    const storage = { a: newStorage(), b: newStorage() };
    const [a, b] = [await startTestNode('a', storage.a), await startTestNode('b', storage.b)];
    const link = connect(a, b);
    link.drop('decision');
    await launch(a);
    void migrate(a, { to: 'b' }).catch(() => {});
    await until(() => states(b)[0] === 'running', 'b committed');
    link.cut();
    await stop(b);
    // As a process that was killed between the record and the resume would leave it.
    for (const copy of b.hypervisor.copies.values()) copy.state = 'paused';
    const [copy] = b.hypervisor.copies.values();
    assert.ok(copy !== undefined);
    const { reference } = copy;
    const decision = { migrationId: 'm1', verdict: 'commit', guestName: 'vm', from: 'a' } as const;
    const value = { ...decision, epoch: 2, reference };
    await stored((done) => {
      storage.b.put('decision/m1', encodeRecordValue({ kind: 'decision', value }), done);
    });
    await stored((done) => storage.b.remove('guest/vm', done));
    const again = new SimulatedHypervisor({ defer: setImmediate }, b.hypervisor.copies);
    const restarted = await startTestNode('b', storage.b, again);
    await until(() => states(restarted)[0] === 'running', 'the record makes b resume its guest');
    connect(a, restarted);
    await until(() => states(a)[0] === 'killed', 'and the source hears of the commit');
    await stop(a, restarted);
  });

  it('say commit of a guest that moved on since', async () => {
    const storage = { a: newStorage(), b: newStorage() };
    const [a, b] = [await startTestNode('a', storage.a), await startTestNode('b', storage.b)];
    const link = connect(a, b);
    link.drop('decision');
    await launch(a);
    void migrate(a, { to: 'b' }).catch(() => {});
    await until(() => states(b)[0] === 'running', 'b committed');
    const takenOver = async (): Promise<boolean> => {
      const [record] = await records(storage.b, 'decision/');
      return record !== undefined && decodeDecision(record).reference === null;
    };
    while (!(await takenOver())) await new Promise(setImmediate);
    link.cut();
    await stop(b);
    await stored((done) => storage.b.remove('guest/vm', done));
    const restarted = await startTestNode('b', storage.b);
    connect(a, restarted);
    await until(() => states(a)[0] === 'killed', 'and the source lets its copy go');
    assert.deepEqual(states(restarted), [], 'nothing is started over');
    await stop(a, restarted);
  });

  it('keep the decision when the record of the guest could not be stored', async () => {
    const storage = newStorage();
    const full: Storage = {
      list: (prefix, done) => storage.list(prefix, done),
      remove: (key, done) => storage.remove(key, done),
      put: (key, value, done) => {
        if (!key.startsWith('guest/')) return storage.put(key, value, done);
        const error = new DwcpError('ERR_DWCP_STORAGE', 'no space left on device');
        setImmediate(() => done({ ok: false, error }));
      },
    };
    const [a, b] = [await startTestNode('a', newStorage()), await startTestNode('b', full)];
    connect(a, b);
    await launch(a);
    await migrate(a, { to: 'b' });
    await until(() => b.view.migrations.get('m1')?.phase === 'completed', 'the source settled it');
    await stop(a, b);
    const again = new SimulatedHypervisor({ defer: setImmediate }, b.hypervisor.copies);
    const restarted = await startTestNode('b', storage, again);
    await until(() => restarted.view.guests.has('vm'), 'the restarted agent finds its guest');
    assert.deepEqual(states(restarted), ['running']);
    await stop(restarted);
  });

  it('give the guest back on an operator word only', async () => {
    const [a, b] = [await startTestNode('a', newStorage()), await startTestNode('b', newStorage())];
    const link = connect(a, b);
    link.drop('fenced');
    await launch(a);
    const session = migrate(a, { to: 'b' });
    await until(() => states(a)[0] === 'fenced', 'the source is fenced');
    const waits = 'waiting for the decision of the destination';
    await until(() => a.view.migrations.get('m1')?.reason === waits, 'and waits');
    link.cut();
    await until(() => a.view.migrations.get('m1')?.phase === 'outcomeUnknown', 'and does not know');
    assert.equal(a.view.migrations.get('m1')?.error?.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
    await ask<void>(a, claimBy('ada'));
    await assert.rejects(ask<void>(a, claimBy('bob')), { code: 'ERR_DWCP_GUEST_STATE' });
    await assert.rejects(session, { message: /claimed by ada/ });
    assert.deepEqual(states(a), ['running']);
    await stop(a, b);
  });
});
