import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dwcp } from '#wire';
import { SimulatedHypervisor } from '../../sim/hypervisor/simulated-hypervisor.ts';
import { InstantOwnership } from '../../sim/ownership/instant-ownership.ts';
import { MemoryStorage } from '../../sim/storage/memory-storage.ts';
import type { LinkCommand } from '../../src/actors/messages.ts';
import { encodeRecordValue } from '../../src/actors/migration-records.ts';
import { createNactHost } from '../../src/actors/nact-host.ts';
import { type NodeMessage, nodeActor } from '../../src/actors/node.ts';
import { type Recovery, recover } from '../../src/actors/node-recovery.ts';
import { upgrade } from '../../src/actors/node-upgrade.ts';
import { NodeView } from '../../src/actors/node-view.ts';
import type { ActorHost, ActorRef } from '../../src/actors/system.ts';
import type { ClaimReceipt, MigrateOptions, MigrationReceipt } from '../../src/node.ts';
import { NO_RDMA_COUNTERS } from '../../src/ports/rdma.ts';
import type { Storage } from '../../src/ports/storage.ts';
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

const newStorage = (): MemoryStorage => new MemoryStorage(setImmediate);

const newLog = (): InstantOwnership =>
  new InstantOwnership({ hosts: ['a', 'b', 'c'], defer: setImmediate });

const BULK = {
  ...{ peer: '', close: () => {}, setMaxBandwidth: () => {} },
  counters: () => ({ streams: 1, rdma: NO_RDMA_COUNTERS }),
} as unknown as BulkLink;
const MEMORY_BYTES = 64 * 2 ** 20;

async function startTestNode(
  id: string,
  log: InstantOwnership,
  storage: Storage = newStorage(),
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
  const actor = host.spawn(
    nodeActor({
      ...{ id, hypervisors, storage, recovery, maxConcurrentMigrations, view },
      resumeGraceMs: 300_000,
      ownership: log.portOf(id),
      log: () => {},
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

/** As a node's start of a guest does it: in the log first. */
async function launch(node: TestNode, log: InstantOwnership): Promise<void> {
  assert.ok(log.apply({ type: 'register', vm: 'vm', host: 'a' }).ok);
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
  (done: Completion<ClaimReceipt>): NodeMessage => ({
    type: 'claim',
    guestName: 'vm',
    operator,
    done,
  });

describe('two nodes', () => {
  for (const verify of ['after', 'strict', 'off'] as const) {
    it(`move a guest and say so with a receipt, verify ${verify}`, async () => {
      const log = newLog();
      const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
      connect(a, b);
      await launch(a, log);
      const receipt = await migrate(a, { to: 'b', verify });
      assert.equal(receipt.verified, verify === 'off' ? null : true);
      assert.equal(receipt.comparedPages, verify === 'off' ? 0 : MEMORY_BYTES / 4096);
      assert.deepEqual([states(a), states(b)], [['killed'], ['running']]);
      assert.equal(a.view.guests.size, 0);
      await until(() => b.view.guests.get('vm')?.state === 'running', 'b shows the guest');
      assert.equal(b.view.guests.get('vm')?.epoch, 2);
      const by = { type: 'migrated', migrationId: 'm1', from: 'a' } as const;
      const owned = { vm: 'vm', owner: 'b', epoch: 2, by, migration: null };
      assert.deepEqual(log.get('vm'), owned, 'as the log says');
      await stop(a, b);
    });
  }

  it('say that memory differs, and where the guest is then', async () => {
    for (const verify of ['after', 'strict'] as const) {
      const damaged = new SimulatedHypervisor({
        defer: setImmediate,
        damagedPages: new Set([9000]),
      });
      const log = newLog();
      const [a, b] = [
        await startTestNode('a', log),
        await startTestNode('b', log, newStorage(), damaged),
      ];
      connect(a, b);
      await launch(a, log);
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
    const log = newLog();
    const [a, b] = [
      await startTestNode('a', log),
      await startTestNode('b', log, newStorage(), undefined, 0),
    ];
    connect(a, b);
    await assert.rejects(migrate(a, { to: 'b' }), { code: 'ERR_DWCP_GUEST_UNKNOWN' });
    await launch(a, log);
    await assert.rejects(migrate(a, { to: 'c' }), { code: 'ERR_DWCP_PEER_UNREACHABLE' });
    await assert.rejects(migrate(a, { to: 'b' }), { code: 'ERR_DWCP_LIMIT' });
    assert.deepEqual(states(a), ['running']);
    await until(() => log.get('vm')?.migration === null, 'the log forgets the attempt');
    await stop(a, b);
  });

  it('refuse to move without a majority, and move once there is one', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    connect(a, b);
    await launch(a, log);
    log.hasQuorum = false;
    await assert.rejects(migrate(a, { to: 'b' }), {
      code: 'ERR_DWCP_NO_QUORUM',
      hint: /"vm" goes on running at the source/,
    });
    assert.deepEqual([states(a), states(b)], [['running'], []]);
    log.hasQuorum = true;
    await migrate(a, { to: 'b' }, 'm2');
    assert.deepEqual([states(a), states(b)], [['killed'], ['running']]);
    await stop(a, b);
  });

  it('begin no move while too many given up ones wait for a majority', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    connect(a, b);
    await launch(a, log);
    log.hasQuorum = false;
    for (let at = 0; at < 256; at += 1) {
      const move = { vm: 'vm', epoch: 1, migrationId: `old${at}`, host: 'a' } as const;
      a.actor.tell({ type: 'insist', command: { type: 'abort', ...move, reason: 'given up' } });
    }
    await assert.rejects(migrate(a, { to: 'b' }), {
      code: 'ERR_DWCP_NO_QUORUM',
      message: '256 aborts wait for a majority of the group',
    });
    log.hasQuorum = true;
    await until(() => log.portOf('a').group().appliedIndex > 256, 'all of them are applied');
    await migrate(a, { to: 'b' }, 'm2');
    await stop(a, b);
  });

  it('refuse to move what the log does not give them', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    connect(a, b);
    await launch(a, log);
    const prepared = { type: 'prepare', vm: 'vm', epoch: 1, from: 'a', to: 'c' } as const;
    log.hasQuorum = false;
    log.apply({ ...prepared, migrationId: 'm0' });
    log.hasQuorum = true;
    await until(() => log.get('vm')?.migration === null, 'a gives up what it has no session for');
    await migrate(a, { to: 'b' });
    await stop(a, b);
  });

  it('keep the guest at the source when the link breaks before the fence, and try again', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    const first = connect(a, b);
    first.drop('loaded');
    await launch(a, log);
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

  it('stay stopped behind the fence until the group says abort, and run again by itself then', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    const link = connect(a, b);
    link.drop('fenced');
    await launch(a, log);
    const session = migrate(a, { to: 'b' });
    await until(() => states(a)[0] === 'fenced', 'the source is fenced');
    const waits = 'waiting for the destination to commit in the log';
    await until(() => a.view.migrations.get('m1')?.reason === waits, 'and waits');
    log.hasQuorum = false;
    link.cut();
    await until(() => a.view.migrations.get('m1')?.phase === 'outcomeUnknown', 'and does not know');
    assert.equal(a.view.migrations.get('m1')?.error?.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
    assert.match(a.view.migrations.get('m1')?.reason ?? '', /no majority of the group answers/);
    await assert.rejects(ask(a, claimBy('ada')), { code: 'ERR_DWCP_GUEST_STATE' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(states(a), ['fenced']);
    log.hasQuorum = true;
    await assert.rejects(session, {
      code: 'ERR_DWCP_PEER_UNREACHABLE',
      hint: /"vm" runs at the source again/,
    });
    assert.deepEqual(states(a), ['running']);
    await until(() => states(b)[0] === 'killed', 'b discards the incoming guest');
    await stop(a, b);
  });

  it('settle a fence of an earlier process before anything else', async () => {
    const storage = newStorage();
    const log = newLog();
    const [a, b] = [await startTestNode('a', log, storage), await startTestNode('b', log)];
    const link = connect(a, b);
    link.drop('resumed');
    await launch(a, log);
    void migrate(a, { to: 'b' }).catch(() => {});
    await until(() => states(b)[0] === 'running', 'b committed and runs the guest');
    await stop(a);
    assert.deepEqual(states(a), ['fenced']);
    const again = new SimulatedHypervisor({ defer: setImmediate }, a.hypervisor.copies);
    const restarted = await startTestNode('a', log, storage, again);
    await until(
      () => restarted.view.guests.get('vm')?.state === 'outcomeUnknown',
      'the restarted source does not know whether it runs',
    );
    assert.match(
      restarted.view.migrations.get('m1')?.error?.hint ?? '',
      /dwcp vm claim vm --host-is-fenced/,
    );
    assert.deepEqual(states(restarted), ['fenced'], 'it may be the last copy');
    await assert.rejects(migrate(restarted, { to: 'b' }, 'm2'), { code: 'ERR_DWCP_GUEST_STATE' });
    connect(restarted, b);
    await until(() => states(restarted)[0] === 'killed', 'b says that it runs there');
    assert.deepEqual(states(b), ['running']);
    await stop(restarted, b);
  });

  it('run the guest at a destination that died right after its commit', async () => {
    const storage = newStorage();
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log, storage)];
    const link = connect(a, b);
    await launch(a, log);
    void migrate(a, { to: 'b' }).catch(() => {});
    link.drop('resumed');
    await until(() => states(b)[0] === 'running', 'b committed');
    link.cut();
    await stop(b);
    // As a process that was killed between the commit and the resume would leave it.
    const [copy] = b.hypervisor.copies.values();
    assert.ok(copy !== undefined);
    copy.state = 'paused';
    const value = {
      ...{ migrationId: 'm1', guestName: 'vm', from: 'a', epoch: 2 },
      reference: copy.reference,
      postcopy: false,
    };
    await stored((done) => {
      storage.put('arrival/m1', encodeRecordValue({ kind: 'arrival', value }), done);
    });
    await stored((done) => storage.remove('guest/vm', done));
    const again = new SimulatedHypervisor({ defer: setImmediate }, b.hypervisor.copies);
    const restarted = await startTestNode('b', log, storage, again);
    await until(() => states(restarted)[0] === 'running', 'the record makes b resume its guest');
    connect(a, restarted);
    await until(() => states(a)[0] === 'killed', 'and the source hears of it');
    await stop(a, restarted);
  });

  it('let a frozen copy go whose guest moved on since', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    const link = connect(a, b);
    link.drop('resumed');
    await launch(a, log);
    void migrate(a, { to: 'b' }).catch(() => {});
    await until(() => states(b)[0] === 'running', 'b committed');
    link.cut();
    await until(() => a.view.migrations.get('m1')?.phase === 'outcomeUnknown', 'a waits for b');
    log.apply({ type: 'prepare', vm: 'vm', epoch: 2, migrationId: 'm2', from: 'b', to: 'c' });
    log.apply({ type: 'commit', vm: 'vm', epoch: 2, migrationId: 'm2', host: 'c' });
    await until(() => states(a)[0] === 'killed', 'c owns it: it ran at b');
    await stop(a, b);
  });

  it('find a guest by its arrival when its own record could not be stored', async () => {
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
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log, full)];
    connect(a, b);
    await launch(a, log);
    await migrate(a, { to: 'b' });
    await until(() => b.view.migrations.get('m1')?.phase === 'completed', 'the session ended');
    await stop(a, b);
    const again = new SimulatedHypervisor({ defer: setImmediate }, b.hypervisor.copies);
    const restarted = await startTestNode('b', log, storage, again);
    await until(() => restarted.view.guests.has('vm'), 'the restarted agent finds its guest');
    assert.deepEqual(states(restarted), ['running']);
    await stop(restarted);
  });

  it('give a frozen copy back by an operator word in the log', async () => {
    const log = newLog();
    const [a, b] = [await startTestNode('a', log), await startTestNode('b', log)];
    const link = connect(a, b);
    link.drop('resumed');
    await launch(a, log);
    const session = migrate(a, { to: 'b' });
    await until(() => states(b)[0] === 'running', 'b committed');
    link.cut();
    await until(() => a.view.migrations.get('m1')?.phase === 'outcomeUnknown', 'a waits for b');
    log.hasQuorum = false;
    await assert.rejects(ask(a, claimBy('ada')), { code: 'ERR_DWCP_NO_QUORUM' });
    assert.deepEqual(states(a), ['fenced']);
    log.hasQuorum = true;
    const [failed, receipt] = await Promise.all([
      session.catch((error: unknown) => error),
      ask(a, claimBy('ada')),
    ]);
    assert.match(String(failed), /claimed by ada/);
    assert.deepEqual(receipt, { guest: 'vm', epoch: 3, resumed: true });
    assert.deepEqual(states(a), ['running']);
    assert.deepEqual(log.get('vm')?.by, { type: 'claimed', operator: 'ada', from: 'b' });
    await assert.rejects(ask(a, claimBy('bob')), { code: 'ERR_DWCP_GUEST_STATE' });
    await until(() => states(b)[0] === 'killed', 'and b, which lives after all, lets its own go');
    connect(a, b);
    await migrate(a, { to: 'b' }, 'm2');
    assert.equal(log.get('vm')?.epoch, 4, 'it moves on under its new epoch');
    await stop(a, b);
  });

  it('claim a guest of a dead host that left no copy, to be started anew', async () => {
    const log = newLog();
    const c = await startTestNode('c', log);
    await assert.rejects(ask(c, claimBy('ada')), { code: 'ERR_DWCP_GUEST_UNKNOWN' });
    log.apply({ type: 'register', vm: 'vm', host: 'a' });
    const receipt = await ask(c, claimBy('ada'));
    assert.deepEqual(receipt, { guest: 'vm', epoch: 2, resumed: false });
    await stop(c);
  });
});

describe('a node that starts again', () => {
  async function leftBy(
    log: InstantOwnership,
    storage: Storage,
    state: 'running' | 'paused' | 'killed',
  ): Promise<SimulatedHypervisor> {
    const a = await startTestNode('a', log, storage);
    await launch(a, log);
    await stop(a);
    for (const copy of a.hypervisor.copies.values()) copy.state = state;
    return new SimulatedHypervisor({ defer: setImmediate }, a.hypervisor.copies);
  }

  it('lets run what runs, and wakes what stands still only once the log says that it is its own', async () => {
    for (const state of ['running', 'paused'] as const) {
      const [log, storage] = [newLog(), newStorage()];
      const copies = await leftBy(log, storage, state);
      log.hasQuorum = false;
      const a = await startTestNode('a', log, storage, copies);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.deepEqual(states(a), [state]);
      log.hasQuorum = true;
      await until(() => states(a)[0] === 'running', 'it runs');
      await stop(a);
    }
  });

  it('kills what the log says is another host by now, and reports it', async () => {
    const [log, storage] = [newLog(), newStorage()];
    const copies = await leftBy(log, storage, 'running');
    log.apply({ type: 'claim', vm: 'vm', epoch: 1, host: 'c', operator: 'ada' });
    log.hasQuorum = false;
    const a = await startTestNode('a', log, storage, copies);
    const faults: string[] = [];
    a.view.events$.subscribe((event) => {
      if (event.type === 'fault') faults.push(event.error.code);
    });
    log.hasQuorum = true;
    await until(() => states(a)[0] === 'killed', 'its copy is killed');
    assert.deepEqual(faults, ['ERR_DWCP_NOT_OWNER']);
    assert.equal(a.view.guests.size, 0);
    await stop(a);
  });

  it('kills no guest older than the log whose name another host has registered', async () => {
    const [log, storage] = [newLog(), newStorage()];
    const copies = await leftBy(newLog(), storage, 'running');
    await promised<void>((done) => upgrade(storage, '/data/a', done));
    log.apply({ type: 'register', vm: 'vm', host: 'c' });
    for (let start = 0; start < 2; start += 1) {
      log.hasQuorum = false;
      const a = await startTestNode('a', log, storage, copies);
      const faults: string[] = [];
      a.view.events$.subscribe((event) => {
        if (event.type === 'fault') faults.push(event.error.message);
      });
      log.hasQuorum = true;
      await until(() => faults.length > 0, 'it is told');
      assert.match(faults[0] ?? '', /"c" has registered another VM of that name/);
      assert.deepEqual(states(a), ['running']);
      await stop(a);
    }
  });

  it('gives back in the log what died meanwhile, and what nobody moves any more', async () => {
    const [log, storage] = [newLog(), newStorage()];
    const copies = await leftBy(log, storage, 'killed');
    log.apply({ type: 'prepare', vm: 'vm', epoch: 1, migrationId: 'm1', from: 'a', to: 'b' });
    const a = await startTestNode('a', log, storage, copies);
    await until(() => log.get('vm') === null, 'the guest is nobody');
    await stop(a);
  });
});
