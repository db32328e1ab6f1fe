/**
 * The network between three agents on loopback, every connection of which we can make stand still.
 * Each host has an address 127.X.0.N, and whoever dials it from host M dials 127.X.M.N instead, where
 * we listen on the same ports and pass the bytes on. A cut loses no byte and resets nothing, like a
 * cable pulled out: what was on its way arrives when the cut ends, if anybody still waits for it.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Host = 'a' | 'b' | 'c';
export const HOSTS: readonly Host[] = ['a', 'b', 'c'];

export class Network {
  /** `127.X`, drawn so that two networks on one machine do not meet. */
  readonly #prefix: string;
  readonly #servers: Server[] = [];
  readonly #pairs = new Map<string, Set<Socket>>();
  readonly #cuts = new Set<string>();
  /** Dialled into a cut: nobody at the other end has heard of them. */
  #waiting: (() => void)[] = [];

  constructor(second: number) {
    this.#prefix = `127.${second}`;
  }

  /** For the configuration of each agent. */
  hosts(): Readonly<Record<string, string>> {
    return Object.fromEntries(HOSTS.map((host, index) => [host, `${this.#prefix}.0.${index + 1}`]));
  }

  /** Under which a dialler finds the hosts: the last number of an address stays. */
  dialPrefix(from: string): string {
    return `${this.#prefix}.${HOSTS.indexOf(from as Host) + 1}`;
  }

  /** Passes on what anybody dials at `to`. */
  async open(to: Host, port: number): Promise<void> {
    const last = HOSTS.indexOf(to) + 1;
    const target = `${this.#prefix}.0.${last}`;
    for (const from of HOSTS) {
      if (from === to) continue;
      const pair = pairOf(from, to);
      const server = createServer({ pauseOnConnect: true }, (near) => {
        near.on('error', () => {});
        const carry = (): void => this.#carry(pair, near, target, port);
        if (this.#cuts.has(pair)) this.#waiting.push(carry);
        else carry();
      });
      this.#servers.push(server);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, `${this.dialPrefix(from)}.${last}`, resolve);
      });
    }
  }

  cut(one: Host, other: Host): void {
    const pair = pairOf(one, other);
    this.#cuts.add(pair);
    for (const socket of this.#pairs.get(pair) ?? []) socket.pause();
  }

  healAll(): void {
    for (const pair of this.#cuts) {
      for (const socket of this.#pairs.get(pair) ?? []) socket.resume();
    }
    this.#cuts.clear();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const carry of waiting) carry();
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const sockets of this.#pairs.values()) for (const socket of sockets) socket.destroy();
  }

  #carry(pair: string, near: Socket, host: string, port: number): void {
    const sockets = this.#pairs.get(pair) ?? new Set();
    this.#pairs.set(pair, sockets);
    const far = connect(port, host);
    near.resume();
    const join = (from: Socket, to: Socket): void => {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => {});
      from.on('data', (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      from.on('drain', () => {
        if (!this.#cuts.has(pair)) to.resume();
      });
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    };
    join(near, far);
    join(far, near);
  }
}

function pairOf(one: string, other: string): string {
  return [one, other].sort().join('-');
}
