/** Bulk streams over simulated connections: connecting, joining, carrying chunks, breaking. */
import type {
  BulkDialOptions,
  BulkLink,
  BulkStream,
  BulkStreamEvent,
  BulkTransport,
  CongestionControl,
  TcpInfo,
} from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import { DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import type { SimHost } from '../world/host.ts';
import { type Carrier, type LinkSurroundings, SimBulkLink } from './bulk/bulk-link.ts';
import { type ChunkName, damaged, tagOfFrame } from './bulk/frame.ts';
import { SEAL_BYTES, type Seal, type SimLinkKeys } from './bulk/seal.ts';
import type { Ack } from './bulk/sending.ts';
import type { SimTcp, TcpEnd, TcpEvent } from './tcp.ts';

const CHALLENGE_BYTES = 16;
const MAX_JOIN_BYTES = 256;
const SMALL_FRAME_BYTES = 64;
/** What waits in a socket before a stream pulls no more. */
const SOCKET_BUFFER_BYTES = 256 * 1024;

type Frame =
  | { readonly type: 'challenge'; readonly challenge: Uint8Array }
  | { readonly type: 'join'; readonly message: Uint8Array }
  | LinkFrame;

/** Null: the link has no keys. */
type LinkFrame = { readonly seal: Seal | null } & (
  | { readonly type: 'chunk'; readonly bytes: Uint8Array }
  | SmallFrame
);

type SmallFrame =
  | { readonly type: 'ack'; readonly name: ChunkName; readonly ack: Ack }
  | { readonly type: 'reset'; readonly name: ChunkName }
  | {
      readonly type: 'refused';
      readonly name: ChunkName;
      readonly first: number;
      readonly pages: readonly number[];
    }
  | { readonly type: 'heard'; readonly name: ChunkName; readonly refusals: number };

export interface SimBulkOptions
  extends Pick<LinkSurroundings, 'sockets'>,
    Partial<Omit<LinkSurroundings, 'sockets'>> {
  readonly tcp: SimTcp;
  readonly host: SimHost;
}

const RTT_US = 1_000;

export function simBulk(given: SimBulkOptions): BulkTransport {
  const { tcp, host, sockets, observers = [], seals = null, caches = null } = given;
  const { rttUs = () => RTT_US } = given;
  const around: LinkSurroundings = { sockets, observers, seals, caches, rttUs };
  const streams = new Set<SimBulkStream>();
  const bound: number[] = [];
  let count = 0;
  const add = (remote: string, congestionControl: CongestionControl): SimBulkStream => {
    count += 1;
    const stream = new SimBulkStream(host, count, remote, congestionControl);
    streams.add(stream);
    return stream;
  };
  return {
    listen: (address, onStream) => {
      const port = tcp.listen(host, address.port, (end) => {
        const stream = add('dialler', 'cubic');
        const chance = host.random('challenge');
        const challenge = Uint8Array.from({ length: CHALLENGE_BYTES }, () => chance.below(256));
        stream.accepted(end, challenge);
        onStream(stream);
      });
      if (port === null) {
        const where = `${address.host}:${address.port}`;
        return failed(new DwcpError('ERR_DWCP_LISTEN', `${where} is taken`));
      }
      bound.push(port);
      return succeeded({ port });
    },
    dial: (options) => {
      const { address, congestionControl } = options;
      const stream = add(`${address.host}:${address.port}`, congestionControl);
      stream.dial(tcp, options);
      return stream;
    },
    openLink: (options) => new SimBulkLink(host, options, around),
    contentCache: () => caches?.(host.name)?.counters() ?? null,
    close: () => {
      for (const port of bound) tcp.unlisten(host, port);
      for (const stream of streams) stream.close();
      streams.clear();
    },
  };
}

class SimBulkStream implements BulkStream, Carrier {
  readonly id: number;
  readonly remote: string;
  ackedBytes = 0;
  congestionControl: CongestionControl;
  readonly #host: SimHost;
  #end: TcpEnd | null = null;
  #cancelDial: () => void = () => {};
  #challenge: Uint8Array = new Uint8Array(0);
  #isDialler = false;
  #listener: ((event: BulkStreamEvent) => void) | null = null;
  readonly #early: BulkStreamEvent[] = [];
  #link: SimBulkLink | null = null;
  /** Of the session that it joined. */
  #keys: SimLinkKeys | null = null;
  /** What came between the join and the attachment waits in the kernel. */
  readonly #unread: TcpEvent[] = [];
  #isClosed = false;
  #bytesSent = 0;
  #bytesReceived = 0;

  constructor(host: SimHost, id: number, remote: string, congestionControl: CongestionControl) {
    this.#host = host;
    this.id = id;
    this.remote = remote;
    this.congestionControl = congestionControl;
  }

  dial(tcp: SimTcp, options: BulkDialOptions): void {
    this.#isDialler = true;
    const { clock } = this.#host;
    const timeout = clock.setTimer(clock.nowUs() + options.connectTimeoutMs * 1000, () => {
      this.#finish(this.#unreachable('ETIMEDOUT'));
    });
    const cancel = tcp.dial(this.#host, options.address, (end) => {
      timeout.cancel();
      if (end === null) return this.#finish(this.#unreachable('ECONNREFUSED'));
      this.#end = end;
      end.subscribe((event) => this.#on(event));
    });
    this.#cancelDial = () => {
      timeout.cancel();
      cancel();
    };
  }

  accepted(end: TcpEnd, challenge: Uint8Array): void {
    this.#end = end;
    this.#challenge = challenge;
    this.#send({ type: 'challenge', challenge }, SMALL_FRAME_BYTES, challenge);
    end.subscribe((event) => this.#on(event));
  }

  // ---- the port -----------------------------------------------------------------------------------

  subscribe(listener: (event: BulkStreamEvent) => void): void {
    assert(this.#listener === null, 'a stream is subscribed once');
    this.#listener = listener;
    for (const event of this.#early.splice(0)) this.#later(() => listener(event));
  }

  sendJoin(message: Uint8Array): void {
    assert(message.length <= MAX_JOIN_BYTES, 'a join of at most 256 bytes');
    assert(this.#link === null, 'a join before the attachment');
    this.#send({ type: 'join', message }, SMALL_FRAME_BYTES + message.length, message);
  }

  setCongestionControl(name: CongestionControl): void {
    this.congestionControl = name;
  }

  attach(link: BulkLink): void {
    assert(link instanceof SimBulkLink, 'a link of this simulation');
    if (this.#isClosed) return;
    this.#link = link;
    this.#keys = link.keys;
    link.attach(this);
    this.#later(() => {
      for (const event of this.#unread.splice(0)) this.#on(event);
    });
  }

  info(): TcpInfo | null {
    if (this.#isClosed) return null;
    return {
      ...{ congestionControl: this.congestionControl, rttUs: 1_000, rttVarUs: 0 },
      ...{ congestionWindowBytes: 64 * 1024, retransmits: 0, deliveryRateBytesPerSec: 0 },
      ...{ bytesSent: this.#bytesSent, bytesReceived: this.#bytesReceived },
      pacingRateBytesPerSec: 0,
    };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#end?.abort();
    this.#finish(null);
  }

  // ---- the link -----------------------------------------------------------------------------------

  get mayWrite(): boolean {
    return !this.#isClosed && (this.#end?.unackedBytes ?? 0) < SOCKET_BUFFER_BYTES;
  }

  sendChunk(bytes: Uint8Array, seal: Seal | null): void {
    const length = bytes.length + (seal === null ? 0 : SEAL_BYTES);
    this.#send({ type: 'chunk', bytes, seal }, length, tagOfFrame(bytes));
    this.ackedBytes += bytes.length;
  }

  sendAck(name: ChunkName, ack: Ack): void {
    this.#sendSmall({ type: 'ack', name, ack }, ack.cumulative);
  }

  sendReset(name: ChunkName): void {
    this.#sendSmall({ type: 'reset', name }, 'reset');
  }

  sendRefused(name: ChunkName, first: number, pages: readonly number[]): void {
    this.#sendSmall({ type: 'refused', name, first, pages }, first);
  }

  sendHeard(name: ChunkName, refusals: number): void {
    this.#sendSmall({ type: 'heard', name, refusals }, refusals);
  }

  inject(bytes: Uint8Array, seal: Seal): void {
    if (!this.#isClosed) this.#onLinkFrame({ type: 'chunk', bytes, seal }, false);
  }

  fail(code: 'ERR_DWCP_PROTOCOL' | 'ERR_DWCP_CORRUPT', message: string): void {
    this.#host.world.sometimes('a bulk stream carried damage');
    this.#end?.abort();
    this.#finish(new DwcpError(code, `${message} on bulk stream ${this.remote}`));
  }

  // -------------------------------------------------------------------------------------------------

  #send(frame: Frame, bytes: number, trace: unknown): void {
    if (this.#isClosed || this.#end === null) return;
    this.#bytesSent += bytes;
    this.#end.send(frame, bytes, trace);
  }

  /** Sealed for one sending. */
  #sendSmall(frame: SmallFrame, trace: string | number): void {
    if (this.#isClosed || this.#end === null) return;
    const seal = this.#keys?.sealer.sealSmall(SMALL_FRAME_BYTES) ?? null;
    const bytes = SMALL_FRAME_BYTES + (seal === null ? 0 : SEAL_BYTES);
    this.#send({ ...frame, seal }, bytes, trace);
  }

  #on(event: TcpEvent): void {
    if (this.#isClosed) return;
    if (event.type === 'writable') return this.#link?.kick();
    const waits = this.#unread.length > 0 && this.#link === null;
    if (event.type === 'data' && (waits || this.#isAhead(event.data as Frame))) {
      this.#unread.push(event);
      return;
    }
    if (event.type === 'ended' || event.type === 'broken') {
      const errno = event.type === 'ended' ? 'ECONNRESET' : event.errno;
      this.#end?.abort();
      const message = `the peer closed bulk stream ${this.remote}`;
      return this.#finish(new DwcpError('ERR_DWCP_PEER_UNREACHABLE', message, { errno }));
    }
    this.#onFrame(event.data as Frame, event.damaged);
  }

  #isAhead(frame: Frame): boolean {
    return frame.type !== 'challenge' && frame.type !== 'join' && this.#link === null;
  }

  #onFrame(frame: Frame, isDamaged: boolean): void {
    if (frame.type !== 'challenge' && frame.type !== 'join') {
      return this.#onLinkFrame(frame, isDamaged);
    }
    if (isDamaged) return this.fail('ERR_DWCP_CORRUPT', 'a frame failed its checksum');
    this.#bytesReceived += SMALL_FRAME_BYTES;
    if (frame.type === 'join') {
      return this.#emit({ type: 'join', message: frame.message, challenge: this.#challenge });
    }
    this.#challenge = frame.challenge;
    this.#emit({
      ...{ type: 'challenge', challenge: frame.challenge },
      congestionControl: this.congestionControl,
    });
  }

  #onLinkFrame(frame: LinkFrame, isDamaged: boolean): void {
    const link = this.#link;
    if (link === null) return;
    this.#bytesReceived += SMALL_FRAME_BYTES;
    const { seal } = frame;
    const keys = this.#keys;
    if ((seal === null) !== (keys === null)) {
      return this.fail('ERR_DWCP_PROTOCOL', 'a frame is sealed where none is, or the other way');
    }
    if (seal !== null && (isDamaged || keys?.opener.opens(seal) !== true)) {
      return link.forged(this);
    }
    if (frame.type === 'chunk') {
      const { bytes } = frame;
      if (!isDamaged) return link.onChunk(this, bytes, seal);
      const bit = this.#host.random('damage').below(bytes.length * 8);
      return link.onChunk(this, damaged(bytes, bit), seal);
    }
    if (isDamaged) return this.fail('ERR_DWCP_CORRUPT', 'a frame failed its checksum');
    if (seal !== null && keys?.opener.mark(seal) !== true) return link.replayed(this);
    this.#onSmall(link, frame);
  }

  #onSmall(link: SimBulkLink, frame: SmallFrame): void {
    switch (frame.type) {
      case 'ack':
        return link.onAck(this, frame.name, frame.ack);
      case 'reset':
        return link.onReset(frame.name);
      case 'refused':
        return link.onRefused(this, frame.name, frame.first, frame.pages);
      case 'heard':
        return link.onHeard(this, frame.name, frame.refusals);
    }
  }

  #finish(error: DwcpError | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelDial();
    const link = this.#link;
    this.#link = null;
    link?.streamGone(this);
    this.#later(() => this.#deal({ type: 'closed', error }));
  }

  #emit(event: BulkStreamEvent): void {
    this.#deal(event);
  }

  #deal(event: BulkStreamEvent): void {
    if (this.#listener === null) this.#early.push(event);
    else this.#listener(event);
  }

  #later(run: () => void): void {
    this.#host.after(0, 'bulk', run);
  }

  #unreachable(errno: string): DwcpError {
    const who = this.#isDialler ? 'cannot connect bulk stream to' : 'lost';
    return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `${who} ${this.remote}`, { errno });
  }
}
