import type { Clock } from '../../src/ports/clock.ts';
import type { HostPort } from '../../src/ports/transport.ts';

/** The simulated wire: who listens where, how long a message takes, and which pairs are cut. */
export class SimNetwork {
  readonly clock: Clock;
  latencyUs: number;
  /** What the kernels of this network lack. */
  refusedCongestion: string | null = null;
  readonly #listeners = new Map<string, unknown>();
  readonly #cut = new Set<string>();
  readonly #connections = new Set<SimConnection>();
  readonly #blocked = new Set<string>();
  readonly #loads = new Map<string, SimLoad>();
  #ports = 40_000;
  #names = 0;

  constructor(clock: Clock, latencyUs: number) {
    this.clock = clock;
    this.latencyUs = latencyUs;
  }

  /** The port that was bound, or null when it is taken. Port 0 picks a free one. */
  bind<T>(address: HostPort, listener: T): number | null {
    this.#ports += 1;
    const port = address.port === 0 ? this.#ports : address.port;
    const key = `${address.host}:${port}`;
    if (this.#listeners.has(key)) return null;
    this.#listeners.set(key, listener);
    return port;
  }

  unbind(host: string, port: number): void {
    this.#listeners.delete(`${host}:${port}`);
  }

  listenerAt<T>(address: HostPort): T | null {
    return (this.#listeners.get(`${address.host}:${address.port}`) as T | undefined) ?? null;
  }

  /** Silence both ways, as a pulled cable: nobody is told. */
  cut(a: string, b: string): void {
    this.#cut.add(pairOf(a, b));
  }

  repair(a: string, b: string): void {
    this.#cut.delete(pairOf(a, b));
  }

  /** Breaks every connection of a pair at once, and both ends are told. */
  reset(a: string, b: string): void {
    for (const connection of [...this.#connections]) {
      if (pairOf(connection.a, connection.b) === pairOf(a, b)) connection.reset();
    }
  }

  /** Breaks the `count` youngest connections of a pair. */
  resetNewest(a: string, b: string, count: number): void {
    const theirs = [...this.#connections].filter(
      (connection) => pairOf(connection.a, connection.b) === pairOf(a, b),
    );
    for (const connection of theirs.slice(-count)) connection.reset();
  }

  /** As a firewall before the bulk ports: control passes, bulk streams are refused. */
  blockBulk(a: string, b: string): void {
    this.#blocked.add(pairOf(a, b));
  }

  openBulk(a: string, b: string): void {
    this.#blocked.delete(pairOf(a, b));
  }

  blocksBulk(a: string, b: string): boolean {
    return this.#blocked.has(pairOf(a, b));
  }

  /** From now on `from` always has something to send to `to`; null ends that. */
  load(from: string, to: string, load: SimLoad | null): void {
    if (load === null) this.#loads.delete(`${from} ${to}`);
    else this.#loads.set(`${from} ${to}`, load);
  }

  loadOf(from: string, to: string): SimLoad | null {
    return this.#loads.get(`${from} ${to}`) ?? null;
  }

  add(connection: SimConnection): void {
    this.#connections.add(connection);
  }

  remove(connection: SimConnection): void {
    this.#connections.delete(connection);
  }

  connections(): number {
    return this.#connections.size;
  }

  /** Runs `arrive` after the latency, unless the pair is cut then. */
  deliver(from: string, to: string, arrive: () => void): void {
    this.clock.setTimer(this.clock.nowUs() + this.latencyUs, () => {
      if (!this.#cut.has(pairOf(from, to))) arrive();
    });
  }

  /** At the next instant and never inside this call. */
  soon(run: () => void): void {
    this.clock.setTimer(this.clock.nowUs(), run);
  }

  /** Bytes that never come twice in this network; not a secret to anybody but the model's actors. */
  uniqueBytes(count: number): Uint8Array {
    this.#names += 1;
    const bytes = new Uint8Array(count);
    new DataView(bytes.buffer).setUint32(0, this.#names);
    return bytes;
  }
}

/** What one direction of a pair could carry, with always something to send. */
export interface SimLoad {
  /** What a single stream reaches, whoever else sends. */
  readonly laneBytesPerSec: number;
  /** What all streams together reach. */
  readonly wireBytesPerSec: number;
}

export interface SimConnection {
  readonly a: string;
  readonly b: string;
  reset(): void;
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
