/** Unix sockets of simulated machines: two processes of one host, bounded bytes each way. */
import type { SimHost } from '../../world/host.ts';

export type LocalEvent =
  | { readonly type: 'readable' }
  | { readonly type: 'writable' }
  /** The other side is gone; what it wrote can still be read. */
  | { readonly type: 'ended' };

const BUFFER_BYTES = 256 * 1024;
const WAKE_US = 20;

/** By path. The agent's ends go with the agent, a guest's with its process. */
export class LocalSockets {
  readonly #host: SimHost;
  readonly #listeners = new Map<string, Listener>();
  readonly #agents = new Set<LocalEnd>();

  constructor(host: SimHost) {
    this.#host = host;
    host.whenCrashed(() => this.#agentDied());
  }

  listen(path: string, by: Side, accept: (end: LocalEnd) => void): void {
    this.#listeners.set(path, { by, accept });
  }

  unlisten(path: string): void {
    this.#listeners.delete(path);
  }

  /** Null: nobody listens there. */
  connect(path: string, by: Side): LocalEnd | null {
    const listener = this.#listeners.get(path);
    if (listener === undefined) return null;
    const ours = this.#end(by);
    const theirs = this.#end(listener.by);
    ours.pairWith(theirs);
    theirs.pairWith(ours);
    listener.accept(theirs);
    return ours;
  }

  #end(side: Side): LocalEnd {
    const end = new LocalEnd(this.#host, side);
    if (side === 'agent') this.#agents.add(end);
    return end;
  }

  #agentDied(): void {
    for (const end of this.#agents) end.close();
    this.#agents.clear();
    for (const [path, { by }] of [...this.#listeners]) if (by === 'agent') this.unlisten(path);
  }
}

/** Whose end of a socket it is: the agent's stand still with it. */
export type Side = 'agent' | 'guest';

interface Listener {
  readonly by: Side;
  readonly accept: (end: LocalEnd) => void;
}

export class LocalEnd {
  readonly #host: SimHost;
  readonly #side: Side;
  #peer: LocalEnd | null = null;
  readonly #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #listener: (event: LocalEvent) => void = () => {};
  #wakes = new Set<LocalEvent['type']>();
  #peerWrites = true;
  #closed = false;
  #ended = false;

  constructor(host: SimHost, side: Side) {
    this.#host = host;
    this.#side = side;
  }

  pairWith(peer: LocalEnd): void {
    this.#peer = peer;
  }

  /** Replaces the listener: an agent that took over a guest is another one. */
  subscribe(listener: (event: LocalEvent) => void): void {
    this.#listener = listener;
    if (this.#unreadBytes > 0) this.#wake('readable');
    if (!this.#peerWrites) this.#wake('ended');
  }

  /** How much of it was taken. */
  write(bytes: Uint8Array): number {
    const peer = this.#peer as LocalEnd;
    if (this.#closed || this.#ended || peer.#closed) return bytes.length;
    const taken = Math.min(bytes.length, BUFFER_BYTES - peer.#unreadBytes);
    if (taken <= 0) return 0;
    peer.#unread.push(bytes.slice(0, taken));
    peer.#unreadBytes += taken;
    peer.#wake('readable');
    return taken;
  }

  get room(): number {
    return BUFFER_BYTES - (this.#peer as LocalEnd).#unreadBytes;
  }

  read(max: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let got = 0;
    while (got < max && this.#unread.length > 0) {
      const first = this.#unread[0] as Uint8Array;
      const part = first.subarray(0, max - got);
      parts.push(part);
      got += part.length;
      if (part.length === first.length) this.#unread.shift();
      else this.#unread[0] = first.subarray(part.length);
    }
    this.#unreadBytes -= got;
    if (got > 0) (this.#peer as LocalEnd).#wake('writable');
    return joined(parts, got);
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Nothing more will come than what is unread. */
  get isAtEnd(): boolean {
    return !this.#peerWrites;
  }

  /** Half a close: the other direction goes on. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const peer = this.#peer as LocalEnd;
    peer.#peerWrites = false;
    peer.#wake('ended');
  }

  close(): void {
    if (this.#closed) return;
    this.end();
    this.#closed = true;
    this.#unread.length = 0;
    this.#unreadBytes = 0;
  }

  /** Whether anybody is at the other end. */
  get isBroken(): boolean {
    return (this.#peer as LocalEnd).#closed;
  }

  #wake(type: LocalEvent['type']): void {
    if (this.#closed || this.#wakes.has(type)) return;
    this.#wakes.add(type);
    const { world, name } = this.#host;
    const wake = (): void => {
      this.#wakes.delete(type);
      if (!this.#closed) this.#listener({ type });
    };
    const owner = this.#side === 'agent' ? this.#host : null;
    world.schedule(world.nowUs + WAKE_US, 'local', name, type, wake, owner);
  }
}

export function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0] as Uint8Array;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
