/**
 * Bulk streams of the simulated network: connecting, joining, attaching, breaking. They carry no
 * chunks yet: asking for a transfer is refused, not pretended. How fast they would is a model of the
 * network ({@link SimLoad}), so that whoever steers their number has something to steer by.
 */
import { NO_RDMA_COUNTERS, type RdmaWish } from '../../src/ports/rdma.ts';
import type {
  BulkDialOptions,
  BulkLink,
  BulkLinkLanes,
  BulkLinkOptions,
  BulkLinkTuning,
  BulkPathFacts,
  BulkStream,
  BulkStreamEvent,
  BulkTransport,
  BulkTuning,
  CodecPolicy,
  CongestionControl,
  HostPort,
  TcpInfo,
} from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import { DwcpError, failed, succeeded } from '../../src/util/errors.ts';
import type { SimConnection, SimNetwork } from './network.ts';
import { withoutDevice } from './rdma-absent.ts';

interface SimListener {
  readonly nodeId: string;
  readonly onStream: (stream: BulkStream) => void;
}

const CHALLENGE_BYTES = 16;
const MAX_JOIN_BYTES = 256;

export function simBulkTransport(network: SimNetwork, nodeId: string): BulkTransport {
  const streams = new Set<SimStream>();
  const bound: HostPort[] = [];
  return {
    listen: (address, onStream) => {
      const listener: SimListener = {
        nodeId,
        onStream: (stream) => {
          streams.add(stream as SimStream);
          onStream(stream);
        },
      };
      const port = network.bind(address, listener);
      if (port === null) {
        const where = `${address.host}:${address.port}`;
        return failed(new DwcpError('ERR_DWCP_LISTEN', `${where} is taken`));
      }
      bound.push({ host: address.host, port });
      return succeeded({ port });
    },
    dial: (options) => {
      const stream = new SimStream(network, nodeId, options);
      streams.add(stream);
      return stream;
    },
    openLink: (options) => new SimBulkLink(network, nodeId, options),
    contentCache: () => null,
    close: () => {
      for (const { host, port } of bound) network.unbind(host, port);
      for (const stream of streams) stream.close();
      streams.clear();
    },
  };
}

class SimStream implements BulkStream, SimConnection {
  readonly id: number;
  readonly remote: string;
  readonly a: string;
  b = '';
  /** Of the model's load. */
  ackedBytes = 0;
  readonly #network: SimNetwork;
  congestionControl: CongestionControl;
  #challenge: Uint8Array = new Uint8Array(0);
  #other: SimStream | null = null;
  #listener: ((event: BulkStreamEvent) => void) | null = null;
  #waiting: BulkStreamEvent[] = [];
  #link: SimBulkLink | null = null;
  #closed = false;
  #bytesSent = 0;
  #bytesReceived = 0;

  constructor(network: SimNetwork, nodeId: string, dial: BulkDialOptions | null) {
    this.#network = network;
    this.id = new DataView(network.uniqueBytes(4).buffer).getUint32(0);
    this.a = nodeId;
    this.remote = dial === null ? 'dialler' : `${dial.address.host}:${dial.address.port}`;
    this.congestionControl = dial?.congestionControl ?? 'cubic';
    if (dial !== null) this.#connect(dial);
  }

  subscribe(listener: (event: BulkStreamEvent) => void): void {
    assert(this.#listener === null, 'a stream is subscribed once');
    this.#listener = listener;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const event of waiting) this.#network.soon(() => listener(event));
  }

  sendJoin(message: Uint8Array): void {
    assert(message.length <= MAX_JOIN_BYTES, 'a join of at most 256 bytes');
    assert(this.#link === null, 'a join before the attachment');
    const other = this.#other;
    if (this.#closed || other === null) return;
    this.#bytesSent += message.length;
    this.#network.deliver(this.a, this.b, () => {
      other.#bytesReceived += message.length;
      other.#emit({ type: 'join', message, challenge: this.#challenge });
    });
  }

  setCongestionControl(name: CongestionControl): void {
    this.congestionControl = name;
  }

  attach(link: BulkLink): void {
    assert(link instanceof SimBulkLink, 'a link of this network');
    if (this.#closed) return;
    this.#link = link;
    link.add(this);
  }

  info(): TcpInfo | null {
    if (this.#closed) return null;
    return {
      congestionControl: this.congestionControl,
      rttUs: 2 * this.#network.latencyUs,
      rttVarUs: 0,
      congestionWindowBytes: 64 * 1024,
      retransmits: 0,
      deliveryRateBytesPerSec: 0,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      pacingRateBytesPerSec: 0,
    };
  }

  close(): void {
    const other = this.#other;
    if (!this.#closed && other !== null) {
      this.#network.deliver(this.a, this.b, () => other.#end(null));
    }
    this.#end(null);
  }

  reset(): void {
    const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'the connection was reset');
    const other = this.#other;
    if (other !== null) other.#end(error);
    this.#end(error);
  }

  #connect(dial: BulkDialOptions): void {
    const listener = this.#network.listenerAt<SimListener>(dial.address);
    if (listener === null || this.#network.blocksBulk(this.a, listener.nodeId)) {
      this.#network.soon(() => this.#end(refused(this.remote)));
      return;
    }
    this.b = listener.nodeId;
    const timeout = this.#network.clock.setTimer(
      this.#network.clock.nowUs() + dial.connectTimeoutMs * 1000,
      () => this.#end(refused(this.remote)),
    );
    this.#network.deliver(this.a, this.b, () => {
      timeout.cancel();
      if (this.#closed) return;
      if (this.#network.listenerAt(dial.address) !== listener) {
        this.#end(refused(this.remote));
        return;
      }
      const other = new SimStream(this.#network, listener.nodeId, null);
      other.b = this.a;
      other.#other = this;
      this.#other = other;
      this.#challenge = this.#network.uniqueBytes(CHALLENGE_BYTES);
      other.#challenge = this.#challenge;
      this.#network.add(this);
      listener.onStream(other);
      this.#network.deliver(this.b, this.a, () =>
        this.#emit({
          ...{ type: 'challenge', challenge: this.#challenge },
          congestionControl: this.congestionControl,
        }),
      );
    });
  }

  #end(error: DwcpError | null): void {
    if (this.#closed) return;
    this.#emit({ type: 'closed', error });
    this.#closed = true;
    this.#link?.remove(this);
    this.#network.remove(this);
  }

  #emit(event: BulkStreamEvent): void {
    if (this.#closed) return;
    if (this.#listener === null) this.#waiting.push(event);
    else this.#network.soon(() => this.#listener?.(event));
  }
}

class SimBulkLink implements BulkLink {
  readonly peer: string;
  readonly streams = new Set<SimStream>();
  #rdma = NO_RDMA_COUNTERS;
  maxBytesPerSec = 0;
  /** What was asked, in order. */
  readonly tunings: BulkLinkTuning[] = [];
  readonly #network: SimNetwork;
  readonly #nodeId: string;
  #idlePulls = 0;
  #busyUs = 0;
  #chunkBytes: number;
  #flowedUs: number;

  constructor(network: SimNetwork, nodeId: string, options: BulkLinkOptions) {
    this.peer = options.peer;
    this.#network = network;
    this.#nodeId = nodeId;
    this.#chunkBytes = options.chunkBytes;
    this.#flowedUs = network.clock.nowUs();
  }

  add(stream: SimStream): void {
    this.#flow();
    this.streams.add(stream);
  }

  remove(stream: SimStream): void {
    this.#flow();
    this.streams.delete(stream);
  }

  lanes(): BulkLinkLanes {
    this.#flow();
    const lanes = [...this.streams].map(({ id, ackedBytes, congestionControl }) => ({
      ...{ stream: id, ackedBytes, congestionControl },
    }));
    return { idlePulls: this.#idlePulls, lanes };
  }

  /** What the model's load carried since the last look, in equal shares. */
  #flow(): void {
    const nowUs = this.#network.clock.nowUs();
    const passedUs = nowUs - this.#flowedUs;
    const seconds = passedUs / 1e6;
    this.#flowedUs = nowUs;
    const load = this.#network.loadOf(this.#nodeId, this.peer);
    if (load === null) {
      this.#idlePulls += 1;
      return;
    }
    this.#busyUs += passedUs;
    const share = Math.min(load.laneBytesPerSec, load.wireBytesPerSec / this.streams.size);
    for (const stream of this.streams) stream.ackedBytes += Math.round(share * seconds);
  }

  setCodecPolicy(): void {}

  codecPolicy(): CodecPolicy {
    return { kind: 'raw' };
  }

  shareContent(): void {}

  setRdma(wish: RdmaWish, why: string): void {
    this.#rdma = withoutDevice(wish, why);
  }

  setMaxBandwidth(bytesPerSec: number): void {
    this.maxBytesPerSec = bytesPerSec;
  }

  /** Nothing is carried, so there is nothing to seal. */
  setKeys(): boolean {
    for (const stream of [...this.streams]) stream.close();
    return true;
  }

  /** Every stream says what the network was told to refuse, and is effective at once. */
  tune(tuning: BulkLinkTuning): string | null {
    this.tunings.push(tuning);
    this.#chunkBytes = tuning.chunkBytes;
    if (this.#network.refusedCongestion === tuning.congestionControl) return 'ENOENT';
    for (const stream of this.streams) stream.setCongestionControl(tuning.congestionControl);
    return null;
  }

  tuning(): BulkTuning {
    const { size } = this.streams;
    return {
      chunkBytes: this.#chunkBytes,
      streams: size,
      effectiveStreams: this.tunings.length > 0 ? size : 0,
      ...{ effectiveUs: 0, stallUs: 0 },
    };
  }

  pathFacts(): BulkPathFacts {
    this.#flow();
    const streams = [...this.streams];
    const rttUs = 2 * this.#network.latencyUs;
    return {
      ...{ streams: streams.length, rttUs, rttMinUs: rttUs, rttVarUs: 0 },
      ...{ segmentsSent: 0, segmentsResent: 0, busyUs: this.#busyUs * streams.length, heldUs: 0 },
      ackedBytes: streams.reduce((sum, { ackedBytes }) => sum + ackedBytes, 0),
      idlePulls: this.#idlePulls,
    };
  }

  counters(): ReturnType<BulkLink['counters']> {
    const wire = [...this.streams].map((stream) => stream.info());
    return {
      streams: this.streams.size,
      wireBytesSent: wire.reduce((sum, info) => sum + (info?.bytesSent ?? 0), 0),
      wireBytesReceived: wire.reduce((sum, info) => sum + (info?.bytesReceived ?? 0), 0),
      ...{ chunksSent: 0, chunksReinjected: 0, chunksLanded: 0, chunksDuplicate: 0 },
      ...{ chunksCorrupt: 0, keyBits: 0, framesForged: 0, framesReplayed: 0, chunksResealed: 0 },
      rdma: this.#rdma,
      stagingBytes: 0,
    };
  }

  sendPages(): never {
    throw noTransfers();
  }

  receivePages(): never {
    throw noTransfers();
  }

  sendBytes(): never {
    throw noTransfers();
  }

  receiveBytes(): never {
    throw noTransfers();
  }

  close(): void {
    for (const stream of [...this.streams]) stream.close();
  }
}

function noTransfers(): DwcpError {
  return new DwcpError('ERR_DWCP_UNSUPPORTED', 'simulated bulk streams carry no chunks', {
    hint: 'Use the native transport for transfers.',
  });
}

function refused(remote: string): DwcpError {
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `cannot reach ${remote}`);
}
