/** The card of a host: its queue pairs and what is registered with it, whatever becomes of the agent. */
import { assert } from '../../src/util/assert.ts';
import type { SimHost } from '../world/host.ts';
import type { VersionedMemory } from './memory.ts';
import { type CardObserver, QueuePair, type Wire } from './queue-pair.ts';
import type { RdmaRegion } from './region.ts';

export class RdmaCard {
  readonly host: SimHost;
  readonly #observer: CardObserver;
  readonly #wire: Wire = { lastArrivalUs: 0 };
  readonly #queuePairs = new Set<QueuePair>();
  readonly #regions = new Set<RdmaRegion>();
  #numbers = 0;

  constructor(host: SimHost, observer: CardObserver) {
    this.host = host;
    this.#observer = observer;
    host.whenCrashed(() => {
      for (const pair of this.#queuePairs) pair.processDied();
      for (const region of this.#regions) region.isRegistered = false;
      this.#queuePairs.clear();
      this.#regions.clear();
    });
  }

  register(memory: VersionedMemory, session: number): RdmaRegion {
    const region = { memory, session, isRegistered: true };
    this.#regions.add(region);
    return region;
  }

  /** Nobody reads or writes through it from now on. */
  deregister(region: RdmaRegion): void {
    region.isRegistered = false;
    this.#regions.delete(region);
  }

  queuePair(): QueuePair {
    this.#numbers += 1;
    const pair = new QueuePair(this.host, this.#numbers, this.#observer, this.#wire);
    this.#queuePairs.add(pair);
    return pair;
  }

  destroy(pair: QueuePair, done: () => void): void {
    assert(this.#queuePairs.delete(pair), 'a queue pair of this card');
    pair.destroy(done);
  }

  /** One that works, for faults. */
  anyOf(draw: (count: number) => number): QueuePair | null {
    const up = [...this.#queuePairs].filter(({ state }) => state === 'RTS' || state === 'RTR');
    return up.length === 0 ? null : (up[draw(up.length)] ?? null);
  }

  anyRegion(draw: (count: number) => number): RdmaRegion | null {
    const all = [...this.#regions];
    return all.length === 0 ? null : (all[draw(all.length)] ?? null);
  }
}
