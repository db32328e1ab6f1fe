/** Connections, bulk streams and guests of the simulator: what they promise to the agents above them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OneRunner } from '../../sim/checkers/one-runner.ts';
import { GuestLog } from '../../sim/hypervisor/guest-log.ts';
import { HostGuests } from '../../sim/hypervisor/host-guests.ts';
import { SimMemory, SimPageSet, SimRegion } from '../../sim/hypervisor/memory.ts';
import { QemuProcess } from '../../sim/hypervisor/qemu-process.ts';
import { calmPlan, type SimHost, World } from '../../sim/index.ts';
import {
  damaged,
  decodeChunk,
  encodePages,
  type PageRecord,
} from '../../sim/transport/bulk/frame.ts';
import { type LocalEnd, LocalSockets } from '../../sim/transport/bulk/local-socket.ts';
import { simBulk } from '../../sim/transport/bulk.ts';
import { SimTcp, type TcpEnd, type TcpEvent } from '../../sim/transport/tcp.ts';
import type { BulkLink, BulkStream } from '../../src/ports/transport.ts';

const SECOND_US = 1_000_000;

function newWorld(seed: number = 1): World {
  return new World({ seed, plan: calmPlan, hosts: ['host-0', 'host-1'], clients: [] });
}

interface Connected {
  readonly world: World;
  readonly tcp: SimTcp;
  readonly ours: TcpEnd;
  readonly theirs: TcpEnd;
  readonly heard: TcpEvent[];
  readonly answered: TcpEvent[];
}

function connect(world: World = newWorld()): Connected {
  const tcp = new SimTcp(world);
  const [a, b] = world.hosts as [SimHost, SimHost];
  const heard: TcpEvent[] = [];
  const answered: TcpEvent[] = [];
  const ends: TcpEnd[] = [];
  tcp.listen(b, 7, (end) => {
    ends.push(end);
    end.subscribe((event) => heard.push(event));
  });
  a.after(0, 'dial', () => {
    tcp.dial(a, { host: b.name, port: 7 }, (end) => {
      assert.ok(end);
      ends.push(end);
      end.subscribe((event) => answered.push(event));
    });
  });
  world.run(SECOND_US);
  const [theirs, ours] = ends as [TcpEnd, TcpEnd];
  return { world, tcp, ours, theirs, heard, answered };
}

const dataOf = (events: readonly TcpEvent[]): unknown[] =>
  events.flatMap((event) => (event.type === 'data' ? [event.data] : []));

describe('a simulated connection', () => {
  test('keeps order and loses nothing on a link that loses every second packet', () => {
    const { world, ours, heard } = connect();
    world.network.addLoss(0, 1, 5_000);
    for (let at = 0; at < 50; at += 1) ours.send(at, 100, at);
    world.run(120 * SECOND_US);
    assert.deepEqual(
      dataOf(heard),
      Array.from({ length: 50 }, (_, at) => at),
    );
  });

  test('delivers after a cut what was sent before it, and gives up on one that lasts', () => {
    const { world, ours, theirs, heard, answered } = connect();
    world.network.cut([0], false, 1);
    ours.send('early', 100, 0);
    world.run(world.nowUs + 5 * SECOND_US);
    assert.deepEqual(dataOf(heard), []);
    world.network.cut([0], false, -1);
    world.run(world.nowUs + 5 * SECOND_US);
    assert.deepEqual(dataOf(heard), ['early']);
    world.network.cut([0], false, 1);
    ours.send('late', 100, 0);
    world.run(world.nowUs + 40 * SECOND_US);
    assert.deepEqual(answered.at(-1), { type: 'broken', errno: 'ETIMEDOUT' });
    assert.ok(theirs.isOpen, 'the other end is half-open and does not know');
  });

  test('is reset when an end is written to whose process died', () => {
    const { world, ours, answered } = connect();
    const [, b] = world.hosts as [SimHost, SimHost];
    world.network.cut([1], true, 1);
    b.crash();
    world.run(world.nowUs + SECOND_US);
    assert.ok(ours.isOpen, 'nothing came through the cut');
    world.network.cut([1], true, -1);
    ours.send('anybody there', 100, 0);
    world.run(world.nowUs + 20 * SECOND_US);
    assert.ok(answered.some(({ type }) => type === 'broken' || type === 'ended'));
  });

  test('a process that stands still reads later, in order', () => {
    const { world, ours, heard } = connect();
    const [, b] = world.hosts as [SimHost, SimHost];
    b.pause();
    for (let at = 0; at < 5; at += 1) ours.send(at, 100, at);
    world.run(world.nowUs + SECOND_US);
    assert.deepEqual(dataOf(heard), []);
    b.resume();
    ours.send(5, 100, 5);
    world.run(world.nowUs + SECOND_US);
    assert.deepEqual(dataOf(heard), [0, 1, 2, 3, 4, 5]);
  });
});

describe('a chunk', () => {
  test('any bit that turns on its way is found', () => {
    const memory = new SimMemory(3);
    memory.write(0, 5, 77);
    memory.write(2, 1, 99);
    const changes = Uint32Array.of(7, 70, 9, 90);
    const records: PageRecord[] = [
      { kind: 'whole', bytes: memory.page(0) },
      { kind: 'zero' },
      { kind: 'whole', bytes: memory.page(2) },
      { kind: 'known', content: 2 ** 52 + 1 },
      { kind: 'delta', base: 3, result: 4, changes },
    ];
    const pages = [0, 1, 2, 5, 8];
    const frame = encodePages({ transferId: 8, epoch: 2 }, 3, pages, records);
    const chunk = decodeChunk(frame);
    assert.ok(chunk?.type === 'pages');
    assert.deepEqual(chunk.pages, pages);
    assert.deepEqual(
      pages.map((_, index) => chunk.record(index)),
      records,
    );
    for (let bit = 0; bit < frame.length * 8; bit += 61) {
      assert.equal(decodeChunk(damaged(frame, bit)), null, `bit ${bit}`);
    }
  });
});

/** Two hosts with a link of several streams between them. */
function linked(world: World, streams: number): { links: BulkLink[]; tcp: SimTcp } {
  const tcp = new SimTcp(world);
  const [a, b] = world.hosts as [SimHost, SimHost];
  const sockets = world.hosts.map((host) => new LocalSockets(host)) as [LocalSockets, LocalSockets];
  const options = { windowBytes: 64 * 1024, chunkBytes: 8 * 1024 };
  const left = simBulk({ tcp, host: a, sockets: sockets[0], seals: null });
  const right = simBulk({ tcp, host: b, sockets: sockets[1], seals: null });
  const links = [
    left.openLink({ peer: b.name, ...options }),
    right.openLink({ peer: a.name, ...options }),
  ] as [BulkLink, BulkLink];
  a.after(0, 'dial', () => {
    right.listen({ host: b.name, port: 9 }, (stream) => stream.attach(links[1]));
    for (let at = 0; at < streams; at += 1) {
      const stream: BulkStream = left.dial({
        ...{ address: { host: b.name, port: 9 }, localAddress: null },
        ...{ congestionControl: 'cubic', connectTimeoutMs: 1_000 },
      });
      stream.subscribe((event) => {
        if (event.type === 'challenge') stream.attach(links[0]);
      });
    }
  });
  world.run(SECOND_US);
  return { links, tcp };
}

describe('bulk streams', () => {
  test('land every page as it was read although streams die and chunks are damaged', () => {
    const world = newWorld(3);
    const { links, tcp } = linked(world, 8);
    const [sending, receiving] = links as [BulkLink, BulkLink];
    const [a, b] = world.hosts as [SimHost, SimHost];
    const source = new SimMemory(200);
    for (let page = 0; page < 200; page += 1) if (page % 5) source.write(page, page, page + 1);
    const target = new SimMemory(200);
    const name = { transferId: 5, epoch: 2 };
    let acked = 0;
    world.network.addDamage(0, 1, 100);
    world.network.slowDown(0, 1, 3_000_000);
    a.after(0, 'send', () => {
      const region = new SimRegion(target);
      const receiver = receiving.receivePages({ ...name, region }, () => {});
      const sender = sending.sendPages({ ...name, region: new SimRegion(source) }, (event) => {
        assert.equal(event.type, 'batchAcked');
        acked += 1;
        assert.deepEqual(receiver.digests(0, 200), source.digests(0, 200));
      });
      const all = new SimPageSet(200);
      all.addAll();
      sender.send(all);
    });
    // One connection in two loses what it carried; its chunks go over the others.
    a.after(60_000, 'reset', () => {
      for (const end of [...tcp.ends].filter((_, at) => at % 4 < 2).slice(0, 4))
        end.broke('ECONNRESET');
    });
    world.run(60 * SECOND_US);
    assert.equal(world.violation, null);
    assert.equal(acked, 1);
    assert.deepEqual(target.bytes, source.bytes);
    assert.ok(sending.counters().chunksReinjected > 0, 'streams died under their chunks');
    assert.ok(b.up);
  });
});

function qemu(world: World): { process: QemuProcess; agent: LocalEnd; log: GuestLog } {
  const [host] = world.hosts as [SimHost];
  const log = new GuestLog();
  const sockets = new LocalSockets(host);
  const guests = new HostGuests(
    host,
    {
      log,
      nextInstance: 1,
      ...{
        hashes: ({ memory }, first, count) => memory.hashes(first, count),
        ...{ held: () => {}, missing: () => {} },
      },
      operationUs: () => 5_000,
    },
    sockets,
  );
  const process = guests.start({ kind: 'qemu', vm: 'vm', pageCount: 16, epoch: 1 });
  assert.ok(process instanceof QemuProcess);
  process.fill();
  process.setRunning(true);
  const accepted: LocalEnd[] = [];
  sockets.listen('/out', 'agent', (end) => accepted.push(end));
  process.migrate('/out');
  const [agent] = accepted as [LocalEnd];
  return { process, agent, log };
}

describe('the QEMU model', () => {
  /** Until it has said all and waits for the destination's last word. */
  const drained = (world: World, agent: LocalEnd): void => {
    for (let turn = 0; turn < 200; turn += 1) {
      world.run(world.nowUs + 2_000);
      agent.read(1 << 20);
    }
  };

  test('switches by itself, and resumes by itself when it loses its return path', () => {
    const world = newWorld();
    const { process, agent, log } = qemu(world);
    drained(world, agent);
    assert.equal(process.runs, false);
    assert.equal(process.status, 'active', 'it waits for SHUT');
    agent.close();
    world.run(world.nowUs + SECOND_US);
    assert.equal(process.status, 'failed');
    assert.ok(process.isExecuting);
    assert.equal(log.starts.length, 2);
  });

  test('stays stopped under SIGSTOP, whatever happens to its return path', () => {
    const world = newWorld();
    const { process, agent } = qemu(world);
    drained(world, agent);
    process.freeze();
    agent.close();
    world.run(world.nowUs + 10 * SECOND_US);
    assert.equal(process.isExecuting, false);
    process.thaw();
    assert.ok(process.isExecuting, 'it saw the loss as soon as it went on');
  });

  test('a guest that was stopped first is not resumed by QEMU', () => {
    const world = newWorld();
    const { process, agent } = qemu(world);
    process.stop();
    drained(world, agent);
    agent.close();
    world.run(world.nowUs + SECOND_US);
    assert.equal(process.status, 'failed');
    assert.equal(process.isExecuting, false);
  });
});

test('two copies that execute at once are seen, whoever believes what', () => {
  const world = newWorld();
  const [host] = world.hosts as [SimHost];
  const log = new GuestLog();
  const guests = new HostGuests(
    host,
    {
      log,
      nextInstance: 1,
      ...{
        hashes: ({ memory }, first, count) => memory.hashes(first, count),
        ...{ held: () => {}, missing: () => {} },
      },
      operationUs: () => 1_000,
    },
    new LocalSockets(host),
  );
  const checker = new OneRunner(log);
  const one = guests.start({ kind: 'memory', vm: 'vm', pageCount: 4, epoch: 1 });
  const two = guests.start({ kind: 'memory', vm: 'vm', pageCount: 4, epoch: 2 });
  one.setRunning(true);
  assert.equal(checker.look(), null);
  two.setRunning(true);
  assert.match(checker.look()?.message ?? '', /while its copy 1 runs/);
});
