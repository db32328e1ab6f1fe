/**
 * Whole agents on simulated hosts: the node, its links, streams and migrations as they ship, started by
 * `spawnNode`, on the simulator's scheduler, clocks, connections, disks and guests.
 */
import { type SpawnedNode, spawnNode } from '../../src/actors/spawn-node.ts';
import type { LinkModeRules } from '../../src/node.ts';
import type { Guest, GuestKind, Hypervisor } from '../../src/ports/hypervisor.ts';
import type { RaftLog } from '../../src/ports/raft-log.ts';
import type { Random } from '../../src/ports/random.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { MODE_LIMITS } from '../../src/protocols/link/mode-governor.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import { DiskStorage } from '../../src/storage/records.ts';
import { type Completion, succeeded } from '../../src/util/errors.ts';
import { Landings } from '../checkers/landings.ts';
import { Ledger } from '../checkers/ledger.ts';
import { ModeChanges } from '../checkers/mode-changes.ts';
import { Nonces } from '../checkers/nonces.ts';
import { GuestLog } from '../hypervisor/guest-log.ts';
import type { GuestProcess } from '../hypervisor/guest-process.ts';
import { type GuestWorld, HostGuests } from '../hypervisor/host-guests.ts';
import { MemoryGuestModel, MemoryHypervisorModel } from '../hypervisor/memory-hypervisor.ts';
import { QemuGuestModel, QemuHypervisorModel } from '../hypervisor/qemu-hypervisor.ts';
import { QemuProcess } from '../hypervisor/qemu-process.ts';
import { SimContentCache } from '../transport/bulk/content-cache.ts';
import { LocalSockets } from '../transport/bulk/local-socket.ts';
import { simBulk } from '../transport/bulk.ts';
import { simControl } from '../transport/control.ts';
import { SimTcp } from '../transport/tcp.ts';
import type { SimHost } from '../world/host.ts';
import type { World } from '../world/world.ts';
import { sha256 } from './group.ts';

export interface AgentOptions {
  readonly streams: number;
  readonly windowBytes: number;
  readonly chunkBytes: number;
  /** Drawn for each world when absent. */
  readonly resumeGraceMs: number | null;
  /** What an incoming guest says that it holds. */
  readonly hashes: GuestWorld['hashes'];
  /** How links follow their way; quick, so that a run sees many changes. */
  readonly modeRules: Partial<LinkModeRules>;
  /** What an agent writes to its log. */
  readonly onLog: (
    host: SimHost,
    fields: Readonly<Record<string, unknown>>,
    message: string,
  ) => void;
}

const MODE_RULES = { samples: 3, minStayMs: 6_000, coolDownMs: 500, maxPerMinute: 6 };

/** Round trips of a pair of hosts, one of which it has for a while: near, between and far. */
const ROUND_TRIPS_US = [1_000, 30_000, 90_000];
const WAY_LASTS_US: readonly [number, number] = [1_000_000, 8_000_000];

/** Small, so that little memory takes many chunks, streams and acknowledgements. */
const DEFAULT_OPTIONS: AgentOptions = {
  streams: 2,
  windowBytes: 96 * 1024,
  chunkBytes: 16 * 1024,
  resumeGraceMs: null,
  hashes: ({ memory }, firstPage, pageCount) => memory.hashes(firstPage, pageCount),
  modeRules: MODE_RULES,
  onLog: () => {},
};

/** Of a link that breaks: none, less than most faults last, and longer than any. */
const GRACES_MS = [0, 2_000, 8_000, 60_000, 60_000];

const CONTROL_PORT = 7_000;
const BULK_PORT = 7_001;
/** As a service manager would. */
const START_AGAIN_US = 1_000_000;
const OPERATION_US: readonly [number, number] = [700, 12_000];

export class SimAgents {
  readonly world: World;
  readonly tcp: SimTcp;
  readonly log: GuestLog = new GuestLog();
  readonly ledger: Ledger = new Ledger();
  readonly landings: Landings = new Landings();
  readonly nonces: Nonces = new Nonces();
  readonly modeChanges: ModeChanges = new ModeChanges({ ...MODE_LIMITS, ...MODE_RULES });
  /** Hosts whose agent was refused by its disk since it started. */
  readonly hurt: Set<SimHost> = new Set();
  readonly #options: AgentOptions;
  readonly #guests = new Map<string, HostGuests>();
  /** On the disks of hosts. */
  readonly #caches = new Map<string, SimContentCache>();
  readonly #nodes = new Map<string, SpawnedNode>();
  readonly #guestWorld: GuestWorld;
  readonly #resumeGraceMs: number;
  readonly #ways = new Map<string, { rttUs: number; untilUs: number }>();

  constructor(world: World, options: Partial<AgentOptions> = {}) {
    this.world = world;
    this.tcp = new SimTcp(world);
    this.#options = { ...DEFAULT_OPTIONS, ...options };
    const { hashes, resumeGraceMs } = this.#options;
    this.#resumeGraceMs =
      resumeGraceMs ?? (GRACES_MS[world.random('grace').below(GRACES_MS.length)] as number);
    const operationUs = new Map<string, number>();
    this.#guestWorld = {
      log: this.log,
      nextInstance: 1,
      hashes,
      held: (process, page) => this.#held(process, page),
      missing: (process, page) => this.#missing(process, page),
      operationUs: (vm) => {
        const known = operationUs.get(vm);
        const drawn = known ?? world.random(`guest/${vm}`).between(...OPERATION_US);
        operationUs.set(vm, drawn);
        return drawn;
      },
    };
    for (const host of world.hosts) {
      const guests = new HostGuests(host, this.#guestWorld, new LocalSockets(host));
      this.#guests.set(host.name, guests);
      this.#caches.set(host.name, new SimContentCache(host));
      host.whenCrashed(() => {
        this.#nodes.delete(host.name);
        this.modeChanges.restarted(host.name);
        this.hurt.delete(host);
      });
    }
  }

  guests(host: SimHost): HostGuests {
    return this.#guests.get(host.name) as HostGuests;
  }

  /** Null while the agent is down or starting. */
  node(host: SimHost): SpawnedNode | null {
    return this.#nodes.get(host.name) ?? null;
  }

  /** Starts the agent of a host: at first, and after every end of it. */
  boot(host: SimHost): void {
    const { world } = this;
    const guests = this.guests(host);
    const { streams, windowBytes, chunkBytes, modeRules, onLog } = this.#options;
    const peers = world.hosts
      .filter((other) => other !== host)
      .map(({ name }) => ({ id: name, host: name, port: CONTROL_PORT }));
    const hypervisors = new Map<GuestKind, Hypervisor>([
      ['memory', new MemoryHypervisorModel(guests)],
      ['qemu', new QemuHypervisorModel(guests)],
    ]);
    for (const name of Object.keys(host.disk.durableState())) {
      world.sometimes('an agent restarted with a fence', name.startsWith('fence/'));
      world.sometimes('an agent restarted with an arrival', name.startsWith('arrival/'));
    }
    const { tcp, ledger, landings, nonces: seals } = this;
    const { sockets } = guests;
    spawnNode(
      host.actorHost(),
      {
        ...{ id: host.name, peers, streams, windowBytes, chunkBytes, linkModeRules: modeRules },
        ...{ listen: { host: host.name, port: CONTROL_PORT }, bulkPort: BULK_PORT },
        dataDir: `/data/${host.name}`,
        resumeGraceMs: this.#resumeGraceMs,
        log: (fields, message) => onLog(host, fields, message),
      },
      {
        random: randomOf(host),
        storage: telling(new DiskStorage(host.disk), () => this.hurt.add(host)),
        digest: sha256,
        openRaftLog: (identity, founding, opened) => {
          openRaftLog(host.disk, identity, founding, sha256, (outcome) => {
            if (!outcome.ok) return opened(outcome);
            const { log, restored } = outcome.value;
            opened(succeeded({ log: tellingLog(log, () => this.hurt.add(host)), restored }));
          });
        },
        // With a failed disk, which a supervisor starts again.
        onHalt: (error) => {
          if (this.hurt.has(host)) return;
          world.violate('owner-halted', `${host.name}: ${error.message}`);
        },
        control: simControl(tcp, host),
        bulk: simBulk({
          tcp,
          host,
          sockets,
          observers: [ledger, landings],
          seals,
          caches: (name) => this.#caches.get(name) ?? null,
          rttUs: (peer) => this.#roundTrip(host.name, peer),
        }),
        hypervisors,
        cpuUsedUs: () => 0,
      },
      (started) => {
        if (!started.ok) return this.#startAgain(host);
        this.#nodes.set(host.name, started.value);
        this.#watch(started.value);
        this.#watchModes(host, started.value);
      },
    );
  }

  /** What a campaign wants to have seen of the log's word. */
  #watch({ ownership }: SpawnedNode): void {
    const moving = new Map<string, number>();
    ownership.onChange((vm, now) => {
      const before = moving.get(vm);
      if (now === null || now.migration === null) moving.delete(vm);
      else moving.set(vm, now.epoch);
      const isAborted = now !== null && now.migration === null && before === now.epoch;
      this.world.sometimes('the log aborted a migration', isAborted);
    });
  }

  #watchModes(host: SimHost, { view }: SpawnedNode): void {
    view.events$.subscribe((event) => {
      if (event.type !== 'linkMode') return;
      const { peer, change } = event;
      const { number, outcome, forced } = change;
      const isMoving = [...view.migrations.values()].some(({ phase }) => phase === 'precopy');
      this.world.sometimes(
        'a link switched its mode while pages moved',
        outcome === 'agreed' && isMoving,
      );
      this.world.sometimes('a change of a mode was taken back', outcome === 'rolledBack');
      if (outcome !== 'inForce' || forced || host.name > peer) return;
      this.modeChanges.changed(host.name, peer, number, host.clock.nowUs());
    });
  }

  /** Both ends of a way see the same. */
  #roundTrip(a: string, b: string): number {
    const { nowUs } = this.world;
    const pair = [a, b].sort().join(' ');
    const way = this.#ways.get(pair);
    if (way !== undefined && nowUs < way.untilUs) return way.rttUs;
    const random = this.world.random(`way/${pair}`);
    const rttUs = ROUND_TRIPS_US[random.below(ROUND_TRIPS_US.length)] ?? 0;
    this.#ways.set(pair, { rttUs, untilUs: nowUs + random.between(...WAY_LASTS_US) });
    return rttUs;
  }

  /** Ends the agent and starts it anew, as its service manager or an operator does. */
  restart(host: SimHost): void {
    if (host.up) host.crash();
    const { world } = this;
    world.schedule(world.nowUs + START_AGAIN_US, 'start again', host.name, null, () => {
      if (host.up) return;
      host.restart();
      this.boot(host);
    });
  }

  /** A VM that is new: it is registered in the log, then its process is started. */
  launch(
    host: SimHost,
    spec: {
      readonly kind: GuestKind;
      readonly vm: string;
      readonly pageCount: number;
      readonly epoch: number;
    },
  ): void {
    const guests = this.guests(host);
    // An agent that ends before it noted the guest kills what it finds without a record.
    const history = this.log.vm(spec.vm);
    const unnoted = 'its agent ended before it had noted it';
    history.lostBecause = unnoted;
    const open = (done: Completion<Guest>): void => {
      guests.afterStart(() => {
        const process = guests.start(spec);
        process.fill();
        process.setRunning(true);
        const guest =
          process instanceof QemuProcess
            ? new QemuGuestModel(guests, process)
            : new MemoryGuestModel(guests, process);
        done(succeeded(guest));
      });
    };
    this.node(host)?.adoption.adopt(spec.vm, open, (outcome) => {
      if (outcome.ok) {
        if (history.lostBecause === unnoted) history.lostBecause = null;
        return;
      }
      history.lostBecause = `it was not taken: ${outcome.error.message}`;
      for (const process of this.processesOf(spec.vm)) process.kill();
    });
  }

  #held(process: GuestProcess, page: number): void {
    this.world.sometimes('a page was held after a crash');
    const { vm, memory } = process;
    this.ledger.held(vm, page, memory.page(page), this.#copies(process, page));
  }

  #missing(process: GuestProcess, page: number): void {
    this.world.sometimes('a page was missing after a crash');
    const { vm, memory } = process;
    this.ledger.missing(vm, page, memory.page(page), this.#copies(process, page));
  }

  #copies(process: GuestProcess, page: number): Uint8Array[] {
    const others = this.processesOf(process.vm).filter((other) => other !== process);
    return others.map(({ memory }) => memory.page(page));
  }

  /** Every process of a VM that lives, wherever. */
  processesOf(vm: string): GuestProcess[] {
    return [...this.#guests.values()].flatMap(({ processes }) =>
      [...processes.values()].filter((process) => process.vm === vm && process.isAlive),
    );
  }

  /** It could not start, said why and exited. */
  #startAgain(host: SimHost): void {
    this.world.sometimes('an agent could not start');
    this.restart(host);
  }
}

function randomOf(host: SimHost): Random {
  const bytes = host.random('bytes');
  return {
    stream: (label) => host.random(label),
    bytes: (count) => Uint8Array.from({ length: count }, () => bytes.below(256)),
  };
}

/** A storage that says when it failed. */
function telling(storage: Storage, onError: () => void): Storage {
  const told =
    <T>(done: Completion<T>): Completion<T> =>
    (outcome) => {
      if (!outcome.ok) onError();
      done(outcome);
    };
  return {
    put: (key, value, done) => storage.put(key, value, told(done)),
    remove: (key, done) => storage.remove(key, told(done)),
    list: (prefix, done) => storage.list(prefix, told(done)),
  };
}

/** The same for a log: its replica halts, and its host goes on without it until it is started again. */
function tellingLog(log: RaftLog, onError: () => void): RaftLog {
  return {
    write: (write, done) =>
      log.write(write, (outcome) => {
        if (!outcome.ok) onError();
        done(outcome);
      }),
    saveSnapshot: (snapshot, data, done) => log.saveSnapshot(snapshot, data, done),
    readSnapshot: (snapshot, offset, lengthBytes, done) =>
      log.readSnapshot(snapshot, offset, lengthBytes, done),
    verifySnapshot: (snapshot, done) => log.verifySnapshot(snapshot, done),
    close: (done) => log.close(done),
  };
}
