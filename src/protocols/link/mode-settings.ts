/** What each mode of a link tunes. What the operator fixed stays as it is in every mode. */
import type { LinkMode } from '../../ports/link-mode.ts';
import type { CodecPolicy, CongestionControl } from '../../ports/transport.ts';

/** What the operator said of every link; `auto` leaves it to the mode. */
export interface AskedSettings {
  readonly streams: number | 'auto';
  readonly congestionControl: CongestionControl | 'auto';
  readonly chunkBytes: number | 'auto';
}

export interface StreamBounds {
  readonly start: number;
  readonly min: number;
  readonly max: number;
}

export interface ChunkBounds {
  readonly startBytes: number;
  readonly minBytes: number;
  readonly maxBytes: number;
}

export interface LinkSettings {
  readonly mode: LinkMode;
  readonly streams: StreamBounds;
  readonly congestionControl: CongestionControl;
  readonly chunk: ChunkBounds;
  readonly codec: CodecPolicy;
  /** Bytes that the peer's host left unacknowledged for so long end their stream. */
  readonly unreadTimeoutMs: number;
  /** What a socket may hold and not have sent yet; 0: as the kernel likes. */
  readonly unsentBytes: number;
  /** A link whose peer says nothing for so long is lost. */
  readonly silenceMs: number;
}

const KIB = 2 ** 10;
const MIB = 2 ** 20;

const SETTINGS: Readonly<Record<LinkMode, LinkSettings>> = {
  datacenter: {
    mode: 'datacenter',
    streams: { start: 4, min: 1, max: 64 },
    // Short ways, deep enough buffers: loss means congestion, and every kernel has it.
    congestionControl: 'cubic',
    // Few, large chunks: a chunk costs a turn of a thread, and a lost stream costs little here.
    chunk: { startBytes: MIB, minBytes: 256 * KIB, maxBytes: MIB },
    // The wire is faster than a codec: pages go as they are.
    codec: { kind: 'raw' },
    // A full socket keeps the thread away longest, and its bytes are gone in a moment.
    unsentBytes: 0,
    unreadTimeoutMs: 15_000,
    silenceMs: 5_000,
  },
  hybrid: {
    mode: 'hybrid',
    streams: { start: 6, min: 2, max: 64 },
    congestionControl: 'bbr',
    chunk: { startBytes: 512 * KIB, minBytes: 64 * KIB, maxBytes: MIB },
    codec: { kind: 'adaptive' },
    unsentBytes: 128 * KIB,
    unreadTimeoutMs: 20_000,
    silenceMs: 10_000,
  },
  internet: {
    mode: 'internet',
    streams: { start: 8, min: 4, max: 128 },
    // Loss says little about congestion on a long way: BBR follows what is delivered instead.
    congestionControl: 'bbr',
    // What a broken stream must send again, and what the next chunk waits for, stays small.
    chunk: { startBytes: 256 * KIB, minBytes: 16 * KIB, maxBytes: 512 * KIB },
    codec: { kind: 'adaptive' },
    // A route may change and heal in that time, and the streams carry on where they were.
    // What waits in a socket here waits for long, and every change with it.
    unsentBytes: 64 * KIB,
    unreadTimeoutMs: 30_000,
    silenceMs: 15_000,
  },
};

export function settingsOf(mode: LinkMode, asked: AskedSettings): LinkSettings {
  const tuned = SETTINGS[mode];
  const { streams, chunkBytes, congestionControl } = asked;
  return {
    ...tuned,
    streams: streams === 'auto' ? tuned.streams : { start: streams, min: streams, max: streams },
    congestionControl: congestionControl === 'auto' ? tuned.congestionControl : congestionControl,
    chunk:
      chunkBytes === 'auto'
        ? tuned.chunk
        : { startBytes: chunkBytes, minBytes: chunkBytes, maxBytes: chunkBytes },
  };
}
