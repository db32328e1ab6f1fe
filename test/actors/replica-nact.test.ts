import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { dwcp } from '#wire';
import { MemoryRaftLog } from '../../sim/raft/memory-raft-log.ts';
import { RaftStore } from '../../sim/raft/store.ts';
import { createNactHost } from '../../src/actors/nact-host.ts';
import { spawnReplica } from '../../src/actors/replica.ts';
import type { ReplicaMessage, ReplicaStatus } from '../../src/actors/replica-messages.ts';
import type { ActorHost, ActorRef } from '../../src/actors/system.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import { systemClock } from '../../src/system/clock.ts';
import { systemRandom } from '../../src/system/random.ts';
import { succeeded } from '../../src/util/errors.ts';
import { promised } from '../../src/util/promised.ts';
import { Recorder, sha256 } from './replica-world.ts';

const NAMES = ['a', 'b', 'c'];

interface Node {
  readonly host: ActorHost;
  readonly ref: ActorRef<ReplicaMessage>;
  readonly application: Recorder;
}

describe('replicas on nact, with timers of the kernel', () => {
  const nodes = new Map<string, Node>();
  const statuses = new Map<string, ReplicaStatus>();

  beforeEach(() => {
    for (const name of NAMES) nodes.set(name, start(name));
  });

  afterEach(async () => {
    for (const name of NAMES) await stop(name);
  });

  function start(self: string): Node {
    const fail = (error: unknown): void => {
      throw error;
    };
    const host = createNactHost({
      ...{ clock: systemClock(), onFatal: fail },
      onCrash: ({ error }) => fail(error),
    });
    const application = new Recorder();
    const store = new RaftStore(founder([1, 2, 3]));
    const sync = (done: (outcome: ReturnType<typeof succeeded<void>>) => void): void => {
      setImmediate(() => done(succeeded(undefined)));
    };
    const ref = spawnReplica(host, {
      ...{ group: 'g', self, members: NAMES, application, digest: sha256 },
      log: { log: new MemoryRaftLog(store, sha256, sync), restored: store.restored() },
      random: systemRandom(),
      send: (peer, envelope) => {
        const frame = dwcp.Envelope.encode(envelope).finish();
        setImmediate(() => {
          const there = nodes.get(peer)?.ref;
          there?.tell({ type: 'envelope', peer: self, envelope: dwcp.Envelope.decode(frame) });
        });
      },
      onStatus: (status) => statuses.set(self, status),
    });
    return { host, ref, application };
  }

  async function stop(name: string): Promise<void> {
    const node = nodes.get(name);
    if (node === undefined) return;
    nodes.delete(name);
    statuses.delete(name);
    await new Promise<void>((done) => node.host.shutdown(done));
  }

  function propose(name: string, text: string, patienceMs: number | null): Promise<string> {
    const command = new TextEncoder().encode(text);
    return promised<Uint8Array>((done) => {
      const told = nodes.get(name)?.ref.tell({ type: 'propose', command, patienceMs, done });
      assert.equal(told, 'accepted');
    }).then((bytes) => new TextDecoder().decode(bytes));
  }

  it('answer every command once, from all of them at a time', async () => {
    const asked = NAMES.flatMap((name) =>
      Array.from({ length: 100 }, (_, at) => propose(name, `${name}${at}`, 10_000)),
    );
    const answers = await Promise.all(asked);
    const places = answers.map((text) => Number(text.split(' ')[0])).sort((a, b) => a - b);
    assert.deepEqual(
      places,
      Array.from({ length: 300 }, (_, at) => at + 1),
    );
    const lists = [...nodes.values()].map(({ application }) => application.commands);
    assert.equal(new Set(lists.flat()).size, 300);
  });

  it('go on without their leader, and stop without a majority', async () => {
    await propose('a', 'first', 10_000);
    const leader = [...statuses.values()].find(({ role }) => role === 'leader')?.self;
    assert.ok(leader);
    const [other, last] = NAMES.filter((name) => name !== leader);
    assert.ok(other !== undefined && last !== undefined);
    await stop(leader);
    assert.equal(await propose(other, 'second', 10_000), '2 second');
    await stop(last);
    await assert.rejects(propose(other, 'third', 400), { code: 'ERR_DWCP_NO_QUORUM' });
    const waits = propose(other, 'fourth', null);
    const { waitingProposals } = await promised<ReplicaStatus>((done) => {
      nodes.get(other)?.ref.tell({ type: 'status', done });
    });
    assert.equal(waitingProposals, 1);
    const refused = assert.rejects(waits, { code: 'ERR_DWCP_CLOSED' });
    await stop(other);
    await refused;
  });
});
