/**
 * Depth `rdma`: the two machines of the RDMA data path on simulated queue pairs. Guests move one after the other from
 * the first host to the second, while cards fail, keys are revoked, links flap and agents die.
 */
import { checkers } from '../checkers/checkers.ts';
import { RdmaWatch } from '../checkers/rdma-watch.ts';
import { RdmaCard } from '../rdma/card.ts';
import { DestinationAgent } from '../rdma/destination-agent.ts';
import type { VersionedMemory } from '../rdma/memory.ts';
import { RdmaMove } from '../rdma/move.ts';
import { SourceAgent } from '../rdma/source-agent.ts';
import { SimTcp } from '../transport/tcp.ts';
import type { Fault, FaultKind } from '../world/fault-plan.ts';
import type { SimHost } from '../world/host.ts';
import type { Run, Scenario } from '../world/scenario.ts';
import type { Checker } from '../world/violation.ts';
import type { World } from '../world/world.ts';

const FAULTS: readonly FaultKind[] = [
  ...(['partition', 'loss', 'slow', 'clog', 'reset', 'guest-kill', 'crash', 'pause'] as const),
];
const PAGES: readonly [number, number] = [8, 32];
const WRITE_EVERY_US: readonly [number, number] = [500, 5_000];
/** At its new place, where what comes late would hit it. */
const RUNS_ON_US = 1_000_000;
/** Commits after healing that count as progress. */
const PROGRESS_COMMITS = 2;

class RdmaRun {
  readonly watch: RdmaWatch = new RdmaWatch();
  readonly #world: World;
  readonly #tcp: SimTcp;
  readonly #cards: readonly RdmaCard[];
  readonly #moves: RdmaMove[] = [];
  #sessions = 0;
  #version = 0;
  #commits = 0;
  #commitsBefore: number | null = null;

  constructor(world: World) {
    this.#world = world;
    this.#tcp = new SimTcp(world);
    this.#cards = world.hosts.map((host) => new RdmaCard(host, this.watch));
    this.#nextMove();
    world.faultHandlers.set('reset', (fault) => this.#breakPair(fault));
    world.faultHandlers.set('guest-kill', (fault) => this.#revokeKey(fault));
  }

  boot(host: SimHost): void {
    const { watch } = this;
    const tcp = this.#tcp;
    const card = this.#cards[host.index] as RdmaCard;
    if (host.index === 0) {
      new SourceAgent(host, {
        ...{ tcp, card, watch },
        move: () => this.#moves.at(-1) as RdmaMove,
        committed: (move) => this.#committed(move),
      });
      return;
    }
    new DestinationAgent(host, {
      ...{ tcp, card, watch },
      moveOf: (number) => this.#moves[number] as RdmaMove,
      resumed: ({ destination }) => this.#runs(destination),
      nextSession: () => {
        this.#sessions += 1;
        return this.#sessions;
      },
    });
  }

  progressed(): boolean {
    this.#commitsBefore ??= this.#commits;
    return this.#commits >= this.#commitsBefore + PROGRESS_COMMITS;
  }

  get finalState(): unknown {
    return this.#moves.map(({ source, destination }) => [source.versions, destination.versions]);
  }

  #nextMove(): void {
    const random = this.#world.random('moves');
    const move = new RdmaMove(this.#moves.length, random.between(...PAGES));
    this.#moves.push(move);
    this.#runs(move.source);
  }

  /** Told again by a session that did not hear of it. */
  #committed(move: RdmaMove): void {
    if (this.#moves.at(-1) !== move) return;
    this.#commits += 1;
    this.#world.sometimes('a guest moved');
    const { nowUs } = this.#world;
    this.#world.schedule(nowUs + RUNS_ON_US, 'guest', 'guest', null, () => {
      move.destination.isRunning = false;
    });
    this.#nextMove();
  }

  /** Its guest writes, wherever it executes. */
  #runs(memory: VersionedMemory): void {
    memory.isRunning = true;
    const random = this.#world.random('guest');
    const write = (): void => {
      if (!memory.isRunning) return;
      this.#version += 1;
      memory.write(random.below(memory.pageCount), this.#version);
      again();
    };
    const again = (): void => {
      const atUs = this.#world.nowUs + random.between(...WRITE_EVERY_US);
      this.#world.schedule(atUs, 'guest', 'guest', null, write);
    };
    again();
  }

  /** A card's own failure of one queue pair, at one end. */
  #breakPair(fault: Fault): boolean {
    if (fault.kind !== 'reset') return false;
    const host = this.#world.hostAt(fault.from);
    const random = host.random('card');
    const pair = this.#cards[host.index]?.anyOf((count) => random.below(count)) ?? null;
    pair?.breaks();
    return pair !== null;
  }

  /** A key of the destination becomes invalid under way. */
  #revokeKey(fault: Fault): boolean {
    if (fault.kind !== 'guest-kill') return false;
    const card = this.#cards[1] as RdmaCard;
    const random = card.host.random('card');
    const region = card.anyRegion((count) => random.below(count));
    if (region !== null) card.deregister(region);
    return region !== null;
  }
}

export function rdmaScenario(): Scenario {
  const runs = new WeakMap<World, RdmaRun>();
  const runOf = (world: World): RdmaRun => {
    const known = runs.get(world);
    if (known !== undefined) return known;
    const run = new RdmaRun(world);
    runs.set(world, run);
    return run;
  };
  const rule = (name: string, look: (watch: RdmaWatch) => string | null): Checker<Run> =>
    checkers.invariant(name, ({ world }) => look(runOf(world).watch));
  return {
    name: 'rdma',
    depth: 'core',
    describe: 'queue pairs that write into a guest: what may be sent again, and when it may resume',
    hosts: 2,
    boot: (host) => runOf(host.world).boot(host),
    faults: FAULTS,
    models: [
      ['partition', 'loss', 'slow'],
      ['reset', 'guest-kill'],
      ['crash', 'pause'],
    ],
    faultyHostsMax: 2,
    timing: { setUpUs: 50_000, chaosUs: 2_000_000, progressUs: 40_000_000 },
    checkers: [
      rule('rdma-regions', ({ regions }) => regions.finding),
      rule('rdma-paths', ({ paths }) => paths.finding),
      rule('rdma-writes', ({ writes }) => writes.finding),
      rule('rdma-landings', ({ landings }) => landings.finding),
      rule('rdma-credits', ({ credits }) => credits.finding),
    ],
    progressed: ({ world }) => runOf(world).progressed(),
    finalState: ({ world }) => runOf(world).finalState,
    probes: [
      ...['a guest moved', 'work was flushed', 'a receiver was not ready'],
      ...['retries of a queue pair were exhausted', 'a write met a key that was revoked'],
      ...['a write landed whose queue pair had failed'],
      ...['a write met a queue pair that takes none', 'pages fell back to TCP'],
      ...['a completion came before its writes were there'],
      ...['a write was there and its completion says flushed'],
      ...['completions came in another order than their chunks'],
      ...['a session ended with work outstanding'],
      ...['pages came back from TCP', 'the destination said that a queue pair was drained'],
    ],
  };
}
